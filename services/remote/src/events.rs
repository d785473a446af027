//! Writes events to the store, on a thread of its own: a slow store keeps nobody out.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use runtime::Chain;
use serde_json::{Map, Value};
use store_api::Client;

/// Events that may wait.
const QUEUE: usize = 64;
const DEADLINE: Duration = Duration::from_secs(2);
const STACK_BYTES: usize = 256 * 1024;

/// The way to the thread.
#[derive(Debug, Clone)]
pub(crate) struct Events(SyncSender<(&'static str, Map<String, Value>)>);

impl Events {
    pub(crate) fn start(store: PathBuf) -> io::Result<Self> {
        let (sender, events) = sync_channel::<(&'static str, Map<String, Value>)>(QUEUE);
        std::thread::Builder::new()
            .name("events".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                while let Ok((kind, payload)) = events.recv() {
                    let recorded = Client::connect(&store)
                        .map_err(|error| Chain(&error).to_string())
                        .and_then(|client| {
                            let recorded = client.deadline(DEADLINE).record(kind, payload);
                            recorded.map_err(|error| Chain(&error).to_string())
                        });
                    if let Err(error) = recorded {
                        tracing::warn!(kind, error, "the store did not record this event");
                    }
                }
            })?;
        Ok(Self(sender))
    }

    /// Records it; the service's log has it in any case.
    pub(crate) fn record(&self, kind: &'static str, payload: Value) {
        tracing::info!(kind, %payload, "recorded");
        let Value::Object(payload) = payload else {
            return;
        };
        if self.0.try_send((kind, payload)).is_err() {
            tracing::warn!(kind, "too many events wait: this one is in this log only");
        }
    }
}
