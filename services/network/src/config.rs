//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `--check FILE`
    Check(PathBuf),
    Help,
    Run(Options),
    /// `--show`: tell what would be done, and do nothing.
    Show(Options),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub from: From,
    /// Where this service puts what others read.
    pub run: PathBuf,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// `--config FILE`: a document, read once.
    File(PathBuf),
    /// The store's socket.
    Store(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}; try --help")]
pub struct UsageError(String);

pub const USAGE: &str = "\
network: links, addresses and routes of an x0tta6bl4 router

  network                   run the service
  network --show            print as JSON what it would do now
  network --check FILE      tell what is wrong with a document

  --store SOCKET            the store (/run/x0/store/store.sock)
  --config FILE             a document to take instead of the store's
  --run DIRECTORY           for status.json and resolv.conf (/run/x0/network)
";

impl Command {
    /// # Errors
    /// When an argument is unknown or lacks its value.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut options = Options {
            from: From::Store(PathBuf::from(store_api::SOCKET)),
            run: PathBuf::from("/run/x0/network"),
        };
        let (mut check, mut show) = (None, false);
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let name = argument.to_string_lossy().into_owned();
            let mut value = || {
                let missing = || UsageError(format!("{name} needs a value"));
                arguments.next().map(PathBuf::from).ok_or_else(missing)
            };
            match name.as_str() {
                "--check" => check = Some(value()?),
                "--config" => options.from = From::File(value()?),
                "--help" | "-h" => return Ok(Self::Help),
                "--run" => options.run = value()?,
                "--show" => show = true,
                "--store" => options.from = From::Store(value()?),
                _ => return Err(UsageError(format!("unknown argument {name}"))),
            }
        }
        Ok(match (check, show) {
            (Some(file), _) => Self::Check(file),
            (None, true) => Self::Show(options),
            (None, false) => Self::Run(options),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn understands_its_arguments() {
        let parse = |text: &str| Command::parse(text.split_whitespace().map(OsString::from));
        let store = From::Store(store_api::SOCKET.into());
        assert!(matches!(parse(""), Ok(Command::Run(options)) if options.from == store));
        assert!(
            matches!(parse("--show --config a"), Ok(Command::Show(options)) if options.from == From::File("a".into()))
        );
        assert!(
            matches!(parse("--run r --store s"), Ok(Command::Run(options)) if options.run == Path::new("r"))
        );
        assert_eq!(parse("--check x"), Ok(Command::Check("x".into())));
        assert_eq!(
            parse("--config").unwrap_err().to_string(),
            "--config needs a value; try --help"
        );
        assert!(parse("--frobnicate").is_err());
    }
}
