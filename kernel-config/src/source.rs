//! What goes into a build: Debian's source, the tools' versions, the fragments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::build::KernelRequest;
use crate::config::{FragmentError, Requests};
use crate::key;

const PACKAGE: &str = "linux-source-6.12";

/// Everything that decides over the bytes of the kernel.
#[derive(Debug)]
pub struct Inputs {
    /// Debian's version of the source package.
    pub source_version: String,
    pub requests: Requests,
    /// The cache's name for this build: 64 hexadecimal digits.
    pub key: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("no *.config in {}", path.display())]
    NoFragments { path: PathBuf },
    #[error("fragment of the kernel configuration")]
    Fragment(#[from] FragmentError),
    #[error("the kernel's source {} is missing: apt-get install {PACKAGE} (ci/setup does it)", path.display())]
    NoSource { path: PathBuf },
    #[error("cannot run {program}: run ci/setup, which installs it")]
    Run { program: String, source: io::Error },
    #[error("`{command}` failed: {message}")]
    Failed { command: String, message: String },
}

impl Inputs {
    /// Reads fragments and versions; builds nothing.
    pub fn gather(request: &KernelRequest) -> Result<Self, InputError> {
        let requests = read_fragments(&request.fragments)?;
        if !request.source.exists() {
            return Err(InputError::NoSource {
                path: request.source.clone(),
            });
        }
        let source_version = query("dpkg-query", &["-W", "-f=${Version}", PACKAGE])?;
        let compiler = first_line(&query("gcc", &["--version"])?);
        let linker = first_line(&query("ld", &["--version"])?);
        // BTF is pahole's work.
        let pahole = first_line(&query("pahole", &["--version"])?);
        let key = key::key(&[
            ("source", &source_version),
            ("compiler", &compiler),
            ("linker", &linker),
            ("pahole", &pahole),
            ("requests", &requests.normalised()),
        ]);
        Ok(Self {
            source_version,
            requests,
            key,
        })
    }
}

fn read_fragments(folder: &Path) -> Result<Requests, InputError> {
    let read_error = |path: &Path| {
        let path = path.to_owned();
        move |source| InputError::Read { path, source }
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(read_error(folder))? {
        let path = entry.map_err(read_error(folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "config")
        {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(InputError::NoFragments {
            path: folder.to_owned(),
        });
    }
    paths.sort();
    let mut requests = Requests::default();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(read_error(&path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        requests.add(&name, &text)?;
    }
    Ok(requests)
}

fn query(program: &str, arguments: &[&str]) -> Result<String, InputError> {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .map_err(|source| InputError::Run {
            program: program.to_owned(),
            source,
        })?;
    if status.success() {
        Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
    } else {
        Err(InputError::Failed {
            command: format!("{program} {}", arguments.join(" ")),
            message: String::from_utf8_lossy(&stderr).trim().to_owned(),
        })
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_fragments_parse_and_contradict_nowhere() {
        let requests = read_fragments(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let text = requests.normalised();
        for line in [
            "CONFIG_DM_VERITY=y",
            "CONFIG_EROFS_FS=y",
            "CONFIG_I6300ESB_WDT=y",
            "# CONFIG_MODULES is not set",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}");
        }
    }

    #[test]
    fn a_folder_without_fragments_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_fragments(folder.path()),
            Err(InputError::NoFragments { .. })
        ));
    }

    #[test]
    fn a_program_that_fails_is_told_with_its_own_words() {
        let error = query("sh", &["-c", "echo no such package >&2; exit 1"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo no such package >&2; exit 1` failed: no such package"
        );
    }
}
