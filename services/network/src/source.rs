//! The configuration with its fallbacks: the store's, else the last one that was good since the
//! machine started, else the built-in one. The service never stays without.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use config::{Document, Hostname, Network, Problems, SIZE_MAX_BYTES, Section, System};
use runtime::Chain;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store_api::Configuration;
use thiserror::Error;

use crate::config::{From, Options};
use crate::report;

/// The configuration in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    pub network: Network,
    pub hostname: Option<Hostname>,
    /// The store's number for it.
    pub generation: Option<u64>,
    /// Where it comes from, for a person.
    pub source: String,
    /// Why it is not the one that was asked for.
    pub problem: Option<String>,
}

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
        cause: Problems,
    },
    #[error("{path} is damaged")]
    Damaged {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
}

/// A generation of the store that was applied, as `last-good.json` keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct LastGood {
    generation: u64,
    sections: Map<String, Value>,
}

impl Loaded {
    /// What applies when nobody says anything.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            source: "built-in".to_owned(),
            ..Self::default()
        }
    }

    /// The meaning of what the store handed out.
    ///
    /// # Errors
    /// When it is not what this service understands: the store is of another version.
    pub fn generation(configuration: &Configuration) -> Result<Self, Problems> {
        let Configuration {
            generation,
            sections,
        } = configuration;
        let source = format!("generation {generation}");
        Ok(Self {
            generation: Some(*generation),
            ..Self::sections(sections, source)?
        })
    }

    fn sections(sections: &Map<String, Value>, source: String) -> Result<Self, Problems> {
        Ok(Self {
            network: Network::read(sections)?,
            hostname: System::read(sections)?.hostname,
            source,
            ..Self::default()
        })
    }

    /// The document in a file.
    ///
    /// # Errors
    /// When it is missing, unreadable or wrong.
    pub fn file(path: &Path) -> Result<Self, LoadError> {
        let document = read(path)?;
        Ok(Self {
            network: document.read(),
            hostname: document.read::<System>().hostname,
            source: path.display().to_string(),
            ..Self::default()
        })
    }

    /// What stands in for a configuration that cannot be had.
    #[must_use]
    pub fn fallback(run: &Path, problem: String) -> Self {
        let loaded = match last_good(run) {
            Ok(loaded) => loaded,
            Err(LoadError::Missing(_)) => Self::built_in(),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the last good configuration is of no use");
                Self::built_in()
            }
        };
        Self {
            problem: Some(problem),
            ..loaded
        }
    }
}

/// What the service would begin with now; for `--show`.
#[must_use]
pub fn load(options: &Options) -> Loaded {
    let result = match &options.from {
        From::File(path) => Loaded::file(path).map_err(|error| Chain(&error).to_string()),
        From::Store(socket) => ask(socket),
    };
    result.unwrap_or_else(|problem| Loaded::fallback(&options.run, problem))
}

fn ask(socket: &Path) -> Result<Loaded, String> {
    let configuration = store_api::Client::connect(socket)
        .map_err(|error| Chain(&error).to_string())?
        .configuration()
        .map_err(|error| Chain(&error).to_string())?;
    Loaded::generation(&configuration).map_err(|error| error.to_string())
}

fn last_good(run: &Path) -> Result<Loaded, LoadError> {
    let path = run.join(LAST_GOOD);
    let text = read_text(&path)?;
    let LastGood {
        generation,
        sections,
    } = serde_json::from_str(&text).map_err(|cause| LoadError::Damaged {
        path: path.clone(),
        cause,
    })?;
    let source = format!("generation {generation}, the last good one");
    let loaded =
        Loaded::sections(&sections, source).map_err(|cause| LoadError::Parse { path, cause })?;
    Ok(Loaded {
        generation: Some(generation),
        ..loaded
    })
}

/// Keeps a generation that was applied, for a start without the store.
///
/// # Errors
/// When the directory cannot be written to.
pub fn remember(run: &Path, configuration: &Configuration) -> io::Result<()> {
    let last_good = LastGood {
        generation: configuration.generation,
        sections: configuration.sections.clone(),
    };
    let json = serde_json::to_string(&last_good)?;
    report::replace(&run.join(LAST_GOOD), &json)
}

/// Reads and checks one document.
///
/// # Errors
/// When it is missing, unreadable or wrong.
pub fn read(path: &Path) -> Result<Document, LoadError> {
    let text = read_text(path)?;
    Document::parse(&text).map_err(|problems| LoadError::Parse {
        path: path.to_owned(),
        cause: Problems(problems),
    })
}

fn read_text(path: &Path) -> Result<String, LoadError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => LoadError::Missing(path.to_owned()),
        _ => LoadError::Read {
            path: path.to_owned(),
            cause,
        },
    };
    let mut bytes = Vec::new();
    // One byte more than a document may have, so that the parser sees that it is too long. JSON
    // needs more room for the same.
    let limit = u64::try_from(2 * SIZE_MAX_BYTES).expect("2 MiB");
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| LoadError::NotText {
        path: path.to_owned(),
    })
}

const LAST_GOOD: &str = "last-good.json";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::fs;

    use super::*;

    fn configuration(generation: u64, sections: &Value) -> Configuration {
        Configuration {
            generation,
            sections: sections.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn falls_back_to_the_last_good_one_and_then_to_the_built_in_one() {
        let run = tempfile::tempdir().unwrap();
        let fallback = || Loaded::fallback(run.path(), "no store".to_owned());
        assert_eq!(fallback().source, "built-in");
        assert_eq!(fallback().problem.as_deref(), Some("no store"));
        let good = configuration(7, &json!({ "system": { "hostname": "edge-1" } }));
        remember(run.path(), &good).unwrap();
        let loaded = fallback();
        assert_eq!(loaded.hostname.unwrap().as_str(), "edge-1");
        assert_eq!(loaded.generation, Some(7));
        assert_eq!(loaded.source, "generation 7, the last good one");
        let path = run.path().join(LAST_GOOD);
        let oversized = vec![b' '; 3 * SIZE_MAX_BYTES];
        for broken in [
            &b"{"[..],
            br#"{"generation":7,"sections":{"network":{"lnik":{}}}}"#,
            &[0xff, 0xfe],
            &oversized,
        ] {
            fs::write(&path, broken).unwrap();
            assert_eq!(fallback().source, "built-in");
        }
    }

    #[test]
    fn a_section_of_another_version_is_refused_with_its_key() {
        let newer = configuration(8, &json!({ "network": { "warp": 9 } }));
        let error = Loaded::generation(&newer).unwrap_err().to_string();
        assert!(
            error.starts_with("network.warp: unknown field `warp`"),
            "{error}"
        );
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x0.toml");
        assert!(matches!(Loaded::file(&path), Err(LoadError::Missing(_))));
        fs::write(&path, vec![b'#'; SIZE_MAX_BYTES + 9]).unwrap();
        assert!(matches!(Loaded::file(&path), Err(LoadError::Parse { .. })));
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(
            Loaded::file(&path),
            Err(LoadError::NotText { .. })
        ));
        fs::write(&path, "[system]\nhostname = \"edge-1\"").unwrap();
        assert_eq!(
            Loaded::file(&path).unwrap().hostname.unwrap().as_str(),
            "edge-1"
        );
    }
}
