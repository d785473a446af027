//! The record of who did what, in the store's event log. It is written behind the call: an
//! administrator must be able to restart the store while the store is away.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use runtime::Chain;
use serde_json::{Map, Value, json};
use store_api::Client;

use crate::caller::Caller;

/// Records that wait for the store.
const QUEUE: usize = 256;
const PAUSE: Duration = Duration::from_millis(500);
/// A record that could not be written for so long is only in this service's log.
const PATIENCE: Duration = Duration::from_secs(60);

/// One record.
#[derive(Debug)]
pub(crate) struct Note {
    kind: String,
    payload: Map<String, Value>,
}

impl Note {
    /// `caller` asked for a change, and may.
    pub(crate) fn change(caller: &Caller, action: &str, what: &str) -> Self {
        Self::new(
            caller,
            "admin.change",
            json!({ "action": action, "what": what }),
        )
    }

    /// `caller` asked for something, and may not.
    pub(crate) fn refusal(caller: &Caller, action: &str, rule: &str) -> Self {
        Self::new(
            caller,
            "admin.refusal",
            json!({ "action": action, "rule": rule }),
        )
    }

    fn new(caller: &Caller, kind: &str, payload: Value) -> Self {
        let Value::Object(mut payload) = payload else {
            unreachable!("the callers above give objects");
        };
        payload.insert("who".into(), caller.title().into());
        payload.insert("uid".into(), caller.uid.into());
        payload.insert("pid".into(), caller.pid.into());
        payload.insert("connection".into(), caller.name.clone().into());
        Self {
            kind: kind.to_owned(),
            payload,
        }
    }
}

/// Starts the thread that writes; it ends with the sender.
pub(crate) fn start(store: PathBuf) -> SyncSender<Note> {
    let (sender, receiver) = sync_channel(QUEUE);
    let started = thread::Builder::new()
        .name("record".into())
        .spawn(move || write(&store, &receiver));
    if let Err(error) = started {
        tracing::error!(%error, "no thread for the event log: nothing will be recorded");
    }
    sender
}

fn write(store: &PathBuf, notes: &Receiver<Note>) {
    for note in notes {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = record(store, &note) {
            if Instant::now() >= end {
                tracing::warn!(kind = note.kind, why = %Chain(&error), "not recorded");
                break;
            }
            thread::sleep(PAUSE);
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Call(#[from] store_api::CallError),
    #[error(transparent)]
    Connect(#[from] store_api::ConnectError),
}

fn record(store: &PathBuf, note: &Note) -> Result<(), RecordError> {
    Client::connect(store)?.record(&note.kind, note.payload.clone())?;
    Ok(())
}
