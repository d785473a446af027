use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml_edit::{DocumentMut, Item, Key, Table, TableLike, Value};

use super::apply;
use super::config::{problems, read};
use crate::bus::{Bus, CONFIG, Options};
use crate::cli::{Change, Global};
use crate::output::Output;
use crate::prompt::words;
use crate::{Error, ask};

/// Restricted: it opens, and writes, no other file.
const EDITOR: &str = "nano -R";

/// Lets a person edit what applies, as often as it takes, and applies it.
pub(crate) fn edit(
    global: &Global,
    bus: Bus,
    change: &Change,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    if !ask::is_person() {
        return Err(Error::NoTerminal(
            "there is no terminal for an editor: use config show and config apply",
        ));
    }
    let (session, _, old): (String, u64, String) =
        bus.call(CONFIG, "BeginEdit", &(Options::new(),))?;
    match edited(&bus, &old, output) {
        Ok(text) => apply::apply(global, bus, &text, Some(&session), change, output),
        Err(error) => {
            // The session would end with this connection anyway.
            bus.call::<()>(CONFIG, "EndEdit", &(session.as_str(), Options::new()))?;
            Err(error)
        }
    }
}

fn edited(bus: &Bus, old: &str, output: &mut Output<'_>) -> Result<String, Error> {
    let folder = tempfile::Builder::new()
        .prefix("x0ctl-")
        .tempdir_in(private())?;
    let path = folder.path().join("x0.toml");
    let failed = |what| {
        let path = path.clone();
        move |source| Error::File { what, path, source }
    };
    fs::write(&path, old).map_err(failed("write"))?;
    loop {
        run_editor(&path)?;
        let text = read(&path)?;
        if text == old {
            return Err(Error::Declined);
        }
        match problems(bus, &text, output)? {
            0 => return Ok(text),
            count => {
                if !ask::yes_or_no("Edit again? Else the changes are lost.")? {
                    return Err(Error::Invalid(count));
                }
            }
        }
    }
}

/// A service's own folder where there is one; the temporary folder is made for its user alone.
fn private() -> PathBuf {
    let own = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    own.filter(|path| path.is_dir())
        .unwrap_or_else(std::env::temp_dir)
}

fn run_editor(path: &Path) -> Result<(), Error> {
    let wanted = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let line = wanted
        .filter(|line| !line.trim().is_empty())
        .unwrap_or(EDITOR.into());
    let words = words(&line).unwrap_or_default();
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::Other("EDITOR names no program".into()));
    };
    let status = Command::new(program).args(arguments).arg(path).status();
    let status = status.map_err(|source| Error::File {
        what: "run the editor",
        path: program.into(),
        source,
    })?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::Other(format!(
            "the editor {program} failed: {status}"
        ))),
    }
}

/// The document with `key` set; comments and order stay.
pub(crate) fn set(text: &str, key: &str, value: &str) -> Result<String, Error> {
    let mut document = parse(text)?;
    let keys = path(key)?;
    let (last, parents) = keys.split_last().ok_or_else(|| bad_key(key))?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for parent in parents {
        let mut missing = Table::new();
        missing.set_implicit(true);
        let item = table.entry(parent.get()).or_insert(Item::Table(missing));
        table = item.as_table_like_mut().ok_or_else(|| {
            Error::Other(format!("`{parent}` in `{key}` is a value, not a table"))
        })?;
    }
    // What TOML does not understand is meant as text: `config set system.hostname edge-1`.
    let value: Value = value.parse().unwrap_or_else(|_| value.into());
    let decor = table
        .get(last.get())
        .and_then(Item::as_value)
        .map(|old| old.decor().clone());
    let mut value = value;
    if let Some(decor) = decor {
        *value.decor_mut() = decor;
    }
    table.insert(last.get(), Item::Value(value));
    Ok(document.to_string())
}

/// The document without `key`.
pub(crate) fn unset(text: &str, key: &str) -> Result<String, Error> {
    let mut document = parse(text)?;
    let keys = path(key)?;
    let (last, parents) = keys.split_last().ok_or_else(|| bad_key(key))?;
    let absent = || Error::Answer {
        kind: "NotFound".into(),
        message: format!("the configuration has no `{key}`"),
    };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for parent in parents {
        let item = table.get_mut(parent.get()).ok_or_else(absent)?;
        table = item.as_table_like_mut().ok_or_else(absent)?;
    }
    table.remove(last.get()).ok_or_else(absent)?;
    Ok(document.to_string())
}

fn parse(text: &str) -> Result<DocumentMut, Error> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        Error::Other(format!("the configuration is no TOML: {error}"))
    })
}

fn path(key: &str) -> Result<Vec<Key>, Error> {
    Key::parse(key).map_err(|_| bad_key(key))
}

fn bad_key(key: &str) -> Error {
    Error::Other(format!(
        "`{key}` is no key, which is like network.link.eth1.mtu"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\n[system]\nhostname = \"a\" # short\n";

    #[test]
    fn set_keeps_what_is_around() {
        let text = set(TEXT, "system.hostname", "edge-1").unwrap();
        assert_eq!(text, "# mine\n[system]\nhostname = \"edge-1\" # short\n");
        let text = set(TEXT, "network.link.\"eth0.5\".mtu", "1400").unwrap();
        assert_eq!(
            text,
            format!("{TEXT}\n[network.link.\"eth0.5\"]\nmtu = 1400\n")
        );
        let text = set(TEXT, "system.hostname", "\"5\"").unwrap();
        assert!(text.contains("hostname = \"5\" # short"), "{text}");
    }

    #[test]
    fn set_does_not_turn_values_into_tables() {
        assert!(set(TEXT, "system.hostname.x", "1").is_err());
        assert!(set(TEXT, "", "1").is_err());
        assert!(set(TEXT, "a..b", "1").is_err());
    }

    #[test]
    fn unset_says_what_is_not_there() {
        assert_eq!(
            unset(TEXT, "system.hostname").unwrap(),
            "# mine\n[system]\n"
        );
        let error = unset(TEXT, "system.name").unwrap_err();
        assert_eq!(error.to_string(), "the configuration has no `system.name`");
    }
}
