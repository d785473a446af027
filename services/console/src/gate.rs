//! Who may log in: what the configuration says, whether a password is right, and the record of it.
//!
//! Two threads, so that neither a slow store nor a costly hash freezes a terminal: one follows the
//! configuration, the other verifies and records.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use password::Hash;
use runtime::Chain;
use runtime::metrics::{Counter, Family, Registry};
use serde_json::{Map, Value};
use store_api::{Client, Configuration};

use crate::asker::{Answer, Answers};
use crate::core::Access;
use crate::entry::Secret;

/// Attempts and records that may wait.
const QUEUE: usize = 64;
/// A store that is busy for longer gets no record; PID 1 has the same line in the service's log.
const RECORD_DEADLINE: Duration = Duration::from_secs(2);
/// Verification keeps its memory on the heap.
const STACK_BYTES: usize = 512 * 1024;
/// A section is far smaller.
const MAX_KEPT_BYTES: u64 = 64 * 1024;

#[derive(Debug)]
enum Work {
    Verify {
        terminal: usize,
        secret: Secret,
    },
    Record {
        kind: &'static str,
        payload: Map<String, Value>,
    },
}

/// What a log-in needs.
#[derive(Debug, Default)]
enum Key {
    /// The store has not said yet.
    #[default]
    Unknown,
    Free,
    Hash(Hash),
    /// What the configuration holds is no hash. Nobody gets in by that mistake.
    Broken(String),
}

/// The loop's end of the threads.
#[derive(Debug)]
pub(crate) struct Gate {
    work: SyncSender<Work>,
    /// By kind.
    events: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Gate {
    /// Starts both threads. `kept` is where the configuration's section outlives the console's
    /// process, but not the machine's boot: a store that does not answer then opens no terminal.
    pub(crate) fn start(
        store: PathBuf,
        kept: Option<PathBuf>,
        answers: Answers,
    ) -> io::Result<Self> {
        let key = Arc::new(Mutex::new(Key::default()));
        let (work, to_thread) = sync_channel(QUEUE);
        let mut clerk = Clerk {
            store: store.clone(),
            key: Arc::clone(&key),
            answers: answers.clone(),
        };
        std::thread::Builder::new()
            .name("gate".into())
            .stack_size(STACK_BYTES)
            .spawn(move || clerk.run(&to_thread))?;

        if let Some(section) = kept.as_deref().and_then(read_kept) {
            change(&key, &answers, read_key(&section));
        }
        store_api::follow(store, move |configuration| {
            match configuration {
                Ok(configuration) => {
                    let section = login_section(configuration);
                    if let Some(kept) = &kept
                        && let Err(error) = keep(kept, &section)
                    {
                        tracing::warn!(%error, "cannot keep who may log in");
                    }
                    change(&key, &answers, read_key(&section));
                }
                Err(error) => tracing::warn!(error = %Chain(&error), "no configuration"),
            }
            Ok(())
        })?;
        Ok(Self {
            work,
            events: Family::default(),
        })
    }

    /// Adds what is worth counting.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Log-ins that were accepted, refused and ended";
        registry.register("x0_console_login_events", help, self.events.clone());
    }

    /// Has a password verified; false when too much waits already.
    pub(crate) fn verify(&self, terminal: usize, secret: Secret) -> bool {
        self.work
            .try_send(Work::Verify { terminal, secret })
            .is_ok()
    }

    /// Writes to the event log, if the store takes it.
    pub(crate) fn record(&self, kind: &'static str, payload: Map<String, Value>) {
        self.events.get_or_create(&[("kind", kind)]).inc();
        tracing::info!(kind, payload = %serde_json::Value::from(payload.clone()), "recorded");
        if self.work.try_send(Work::Record { kind, payload }).is_err() {
            tracing::warn!(kind, "too many events wait: this one is in this log only");
        }
    }
}

struct Clerk {
    store: PathBuf,
    key: Arc<Mutex<Key>>,
    answers: Answers,
}

impl Clerk {
    fn run(&mut self, work: &Receiver<Work>) {
        while let Ok(work) = work.recv() {
            match work {
                Work::Verify { terminal, secret } => {
                    let hash = match &*lock(&self.key) {
                        Key::Hash(hash) => Some(hash.clone()),
                        _ => None,
                    };
                    let accepted = hash.is_some_and(|hash| hash.verify(secret.bytes()));
                    self.answers.send(Answer::Verdict { terminal, accepted });
                }
                Work::Record { kind, payload } => {
                    let recorded = Client::connect(&self.store)
                        .map_err(|error| Chain(&error).to_string())
                        .and_then(|client| {
                            let mut client = client.deadline(RECORD_DEADLINE);
                            let recorded = client.record(kind, payload);
                            recorded.map_err(|error| Chain(&error).to_string())
                        });
                    if let Err(error) = recorded {
                        tracing::warn!(kind, error, "the store did not record this event");
                    }
                }
            }
        }
    }
}

fn change(place: &Mutex<Key>, answers: &Answers, key: Key) {
    let access = match &key {
        Key::Unknown => return,
        Key::Free => Access::Free,
        Key::Hash(_) => Access::Password,
        Key::Broken(reason) => Access::Closed(reason.clone()),
    };
    *lock(place) = key;
    answers.send(Answer::Access(access));
}

fn lock(key: &Mutex<Key>) -> MutexGuard<'_, Key> {
    // A whole value is put there at once: a panic elsewhere cannot have left half of one.
    key.lock().unwrap_or_else(PoisonError::into_inner)
}

fn login_section(configuration: Configuration) -> Value {
    let mut sections = configuration.sections;
    sections.remove("login").unwrap_or_default()
}

fn read_key(login: &Value) -> Key {
    match login.get("password_hash") {
        None | Some(Value::Null) => Key::Free,
        Some(Value::String(text)) => match Hash::parse(text) {
            Ok(hash) => Key::Hash(hash),
            Err(error) => Key::Broken(error.to_string()),
        },
        Some(_) => Key::Broken("password_hash is no text".to_owned()),
    }
}

fn read_kept(path: &Path) -> Option<Value> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_KEPT_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn keep(path: &Path, section: &Value) -> io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::remove_file(&fresh).ok();
    // For this user alone, from its first moment.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(section.to_string().as_bytes())?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_missing_hash_means_free() {
        assert!(matches!(read_key(&json!({})), Key::Free));
        assert!(matches!(read_key(&Value::Null), Key::Free));
        assert!(matches!(
            read_key(&json!({ "password_hash": null })),
            Key::Free
        ));
        for broken in [json!(""), json!("secret"), json!(7), json!(["$6$"])] {
            let key = read_key(&json!({ "password_hash": broken }));
            assert!(matches!(key, Key::Broken(_)), "{key:?}");
        }
    }

    #[test]
    fn what_is_kept_is_nobody_elses_business() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        for number in [1, 2] {
            keep(&path, &json!({ "password_hash": number })).unwrap();
            assert_eq!(read_kept(&path), Some(json!({ "password_hash": number })));
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
