//! Brings documents to the store.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use runtime::Chain;
use store_api::{CallError, Client};

/// A document that waits to be imported.
#[derive(Debug)]
pub struct Waiting {
    pub text: String,
    /// Where it comes from, for a person.
    pub source: String,
}

/// What became of a document.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the store's new configuration.
    Imported { source: String, generation: u64 },
    /// It was imported before, and counts no more: what was changed since stays.
    Known { source: String },
    /// The store does not take it.
    Refused { source: String, reason: String },
}

/// Imports all that waits, in order, and returns what became of it. What the store could not be
/// asked about goes on waiting.
///
/// # Errors
/// When the store does not answer, and why.
pub fn import(store: &mut Client, waiting: &mut Vec<Waiting>) -> Result<Vec<Outcome>, CallError> {
    let mut outcomes = Vec::new();
    while let Some(Waiting { text, source }) = waiting.first() {
        let result = store.import(text, source);
        let source = source.clone();
        outcomes.push(match result {
            Ok(Some(generation)) => Outcome::Imported { source, generation },
            Ok(None) => Outcome::Known { source },
            Err(CallError::Refused(refusal)) => {
                let reason = Chain(&refusal).to_string();
                Outcome::Refused { source, reason }
            }
            Err(error) => return Err(error),
        });
        waiting.remove(0);
    }
    Ok(outcomes)
}

/// Connects to the store, which may be on its way up.
///
/// # Errors
/// When it is not there after `limit`, and why.
pub fn connect(socket: &Path, limit: Duration) -> Result<Client, String> {
    let deadline = Instant::now() + limit;
    loop {
        match Client::connect(socket) {
            Ok(store) => return Ok(store.deadline(CALL_LIMIT)),
            Err(error) if Instant::now() >= deadline => return Err(Chain(&error).to_string()),
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Imported { source, generation } => {
                write!(
                    f,
                    "configuration imported from {source} as generation {generation}"
                )
            }
            Self::Known { source } => {
                write!(f, "the configuration on {source} was imported before")
            }
            Self::Refused { source, reason } => {
                write!(f, "the configuration on {source} was refused: {reason}")
            }
        }
    }
}

/// Packets wait for this service: a store that hangs must not hold them up for long.
const CALL_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
