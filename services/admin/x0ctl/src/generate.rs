//! Completions and man pages, from the definition of the commands.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Error;
use crate::cli::Cli;

/// Writes them below `root`, where Debian's shells and man look for them.
///
/// # Errors
/// When a file can't be written.
pub fn write_to(root: &Path) -> Result<(), Error> {
    for (path, content) in files() {
        let path = root.join(path);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, content));
        written.map_err(|source| Error::File {
            what: "write",
            path,
            source,
        })?;
    }
    Ok(())
}

/// Each file's path below the root, and what is in it.
#[must_use]
pub fn files() -> Vec<(String, Vec<u8>)> {
    let shells = [
        (Shell::Bash, "usr/share/bash-completion/completions/x0ctl"),
        (Shell::Zsh, "usr/share/zsh/vendor-completions/_x0ctl"),
        (
            Shell::Fish,
            "usr/share/fish/vendor_completions.d/x0ctl.fish",
        ),
    ];
    let mut files: Vec<(String, Vec<u8>)> = shells
        .into_iter()
        .map(|(shell, path)| {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "x0ctl", &mut text);
            (path.to_owned(), text)
        })
        .collect();
    let mut command = Cli::command().flatten_help(false);
    command.build();
    pages(&command, "x0ctl", &mut files);
    files
}

fn pages(command: &clap::Command, name: &str, files: &mut Vec<(String, Vec<u8>)>) {
    let page = command.clone().name(name.to_owned()).version("0.1.0");
    let mut text = Vec::new();
    let written: io::Result<()> = clap_mangen::Man::new(page).render(&mut text);
    written.expect("memory takes everything");
    files.push((format!("usr/share/man/man1/{name}.1"), text));
    let children = command.get_subcommands();
    for child in children.filter(|child| !child.is_hide_set() && child.get_name() != "help") {
        pages(child, &format!("{name}-{}", child.get_name()), files);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_a_completion() {
        let files = files();
        let text = |path: &str| {
            let file = files.iter().find(|(name, _)| name == path);
            String::from_utf8(file.unwrap_or_else(|| panic!("no {path}")).1.clone()).unwrap()
        };
        let page = text("usr/share/man/man1/x0ctl.1");
        assert!(page.contains("Exit status:"), "{page}");
        assert!(text("usr/share/man/man1/x0ctl-config-apply.1").contains("confirm\\-within"));
        let bash = text("usr/share/bash-completion/completions/x0ctl");
        for word in ["soft-reboot", "rollback", "--confirm-within"] {
            assert!(bash.contains(word), "{word}");
        }
        assert!(!files.iter().any(|(name, _)| name.contains("generate")));
    }
}
