//! The command line, and the document with its fallbacks.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use network_api::{Document, ParseError, SIZE_MAX_BYTES};
use runtime::Chain;
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
    /// The document.
    pub config: PathBuf,
    /// Where this service puts what others read.
    pub run: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}; try --help")]
pub struct UsageError(String);

/// Why a document cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("there is no {0}")]
    Missing(PathBuf),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{path} is no text")]
    NotText { path: PathBuf },
    #[error("{path} has mistakes")]
    Parse {
        path: PathBuf,
        #[source]
        cause: ParseError,
    },
}

/// The document in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub document: Document,
    /// Where it comes from, for a person.
    pub source: String,
    /// Why it is not the one that was asked for.
    pub problem: Option<String>,
    /// Its text, where it is the one that was asked for.
    pub text: Option<String>,
}

pub const USAGE: &str = "\
network: links, addresses and routes of an x0tta6bl4 router

  network                   run the service
  network --show            print as JSON what it would do now
  network --check FILE      tell what is wrong with a document

  --config FILE             the document (/data/config/x0.toml)
  --run DIRECTORY           for status.json and resolv.conf (/run/x0/network)
";

impl Command {
    /// # Errors
    /// When an argument is unknown or lacks its value.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut options = Options {
            config: PathBuf::from("/data/config/x0.toml"),
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
                "--config" => options.config = value()?,
                "--help" | "-h" => return Ok(Self::Help),
                "--run" => options.run = value()?,
                "--show" => show = true,
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

/// Reads and checks one document.
///
/// # Errors
/// When it is missing, unreadable or wrong.
pub fn read(path: &Path) -> Result<Document, LoadError> {
    let (_, document) = read_text(path)?;
    Ok(document)
}

/// The document at `options.config`, or what stands in for it: the last one that was good since the
/// machine started, or the built-in one. The service never stays without.
#[must_use]
pub fn load(options: &Options) -> Loaded {
    let error = match read_text(&options.config) {
        Ok((text, document)) => {
            let source = options.config.display().to_string();
            return Loaded {
                document,
                source,
                problem: None,
                text: Some(text),
            };
        }
        Err(LoadError::Missing(_)) => {
            let source = "built-in".to_owned();
            return Loaded {
                document: Document::default(),
                source,
                problem: None,
                text: None,
            };
        }
        Err(error) => error,
    };
    let problem = Some(Chain(&error).to_string().replace('\n', "; "));
    match read(&options.run.join(LAST_GOOD)) {
        Ok(document) => Loaded {
            document,
            source: "the last good one".to_owned(),
            problem,
            text: None,
        },
        Err(_) => Loaded {
            document: Document::default(),
            source: "built-in".to_owned(),
            problem,
            text: None,
        },
    }
}

/// Keeps a good document for later starts, should the next one be broken.
///
/// # Errors
/// When the directory cannot be written to.
pub fn remember(options: &Options, loaded: &Loaded) -> io::Result<()> {
    match &loaded.text {
        Some(text) => fs::write(options.run.join(LAST_GOOD), text),
        None => Ok(()),
    }
}

fn read_text(path: &Path) -> Result<(String, Document), LoadError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => LoadError::Missing(path.to_owned()),
        _ => LoadError::Read {
            path: path.to_owned(),
            cause,
        },
    };
    let mut bytes = Vec::new();
    // One byte more than a document may have, so that the parser sees that it is too long.
    let limit = u64::try_from(SIZE_MAX_BYTES).expect("1 MiB") + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| LoadError::NotText {
        path: path.to_owned(),
    })?;
    let parsed = Document::parse(&text);
    let document = parsed.map_err(|cause| LoadError::Parse {
        path: path.to_owned(),
        cause,
    })?;
    Ok((text, document))
}

const LAST_GOOD: &str = "last-good.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn options(directory: &Path) -> Options {
        Options {
            config: directory.join("x0.toml"),
            run: directory.to_owned(),
        }
    }

    #[test]
    fn understands_its_arguments() {
        let parse = |text: &str| Command::parse(text.split_whitespace().map(OsString::from));
        assert!(matches!(parse(""), Ok(Command::Run(_))));
        assert!(
            matches!(parse("--show --config a"), Ok(Command::Show(options)) if options.config == Path::new("a"))
        );
        assert_eq!(parse("--check x"), Ok(Command::Check("x".into())));
        assert_eq!(
            parse("--config").unwrap_err().to_string(),
            "--config needs a value; try --help"
        );
        assert!(parse("--frobnicate").is_err());
    }

    #[test]
    fn a_broken_document_falls_back_to_the_last_good_one() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path());
        assert_eq!(load(&options).source, "built-in");
        fs::write(&options.config, "[system]\nhostname = \"edge-1\"").unwrap();
        let loaded = load(&options);
        assert_eq!(loaded.problem, None);
        remember(&options, &loaded).unwrap();
        for broken in [
            &b"[system]\nhostnme = 1"[..],
            &[0xff, 0xfe],
            &[b'#'; SIZE_MAX_BYTES + 9],
        ] {
            fs::write(&options.config, broken).unwrap();
            let loaded = load(&options);
            assert_eq!(loaded.document.system.hostname.unwrap().as_str(), "edge-1");
            assert_eq!(loaded.source, "the last good one");
            assert!(loaded.problem.unwrap().contains("x0.toml"));
        }
        fs::remove_file(directory.path().join("last-good.toml")).unwrap();
        let loaded = load(&options);
        assert_eq!(
            (loaded.source.as_str(), loaded.problem.is_some()),
            ("built-in", true)
        );
    }
}
