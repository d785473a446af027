//! What PID 1 notes goes into the event log, where it outlives the boot. PID 1 itself depends on
//! nobody, so it does not write there.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use runtime::Chain;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

use super::{News, PAUSE, WAIT};

/// Under this key the store keeps how far the forwarding is, so that a restart of this service
/// neither repeats nor loses anything.
const KEY: &str = "init-events";

#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("PID 1")]
    Init(#[from] api::CallError),
    #[error("PID 1")]
    NoInit(#[from] api::ConnectError),
    #[error("the store")]
    NoStore(#[from] store_api::ConnectError),
    #[error("the store")]
    Store(#[from] store_api::CallError),
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Position {
    boot: String,
    next: u64,
}

pub(super) fn run(init: &PathBuf, store: &PathBuf, news: &Sender<News>) {
    let boot = boot_id(Path::new("/proc/sys/kernel/random/boot_id"));
    while !news.is_closed() {
        if let Err(error) = forward(init, store, &boot, news) {
            tracing::debug!(why = %Chain(&error), "not forwarding PID 1's events");
        }
        thread::sleep(PAUSE);
    }
}

/// Without it the events of the boot are recorded once more after a restart of this service.
fn boot_id(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn forward(
    init: &PathBuf,
    store: &PathBuf,
    boot: &str,
    news: &Sender<News>,
) -> Result<(), ForwardError> {
    let mut store = store_api::Client::connect(store)?;
    let mut next = match store.get(KEY)?.map(store_api::Entry::parse::<Position>) {
        Some(Ok(position)) if position.boot == boot && !boot.is_empty() => position.next,
        _ => 0,
    };
    let mut events = api::Client::connect(init)?.follow_events(next)?;
    loop {
        let batch = events.next_events(WAIT)?;
        if news.is_closed() {
            return Ok(());
        }
        if batch.is_empty() {
            continue;
        }
        news.try_send(News::Services).ok();
        for event in batch {
            let lost = event.number.saturating_sub(next);
            if lost > 0 {
                record(&mut store, "init.lost", json!({ "count": lost }))?;
            }
            next = event.number + 1;
            let kind = format!("init.{}", event.kind.replace('_', "-"));
            let payload = json!({
                "number": event.number,
                "service": event.service,
                "reason": event.reason,
                "uptime_ms": event.uptime_ms,
            });
            record(&mut store, &kind, payload)?;
        }
        let boot = boot.to_owned();
        store.put(KEY, &Position { boot, next }, None)?;
    }
}

fn record(
    store: &mut store_api::Client,
    kind: &str,
    payload: Value,
) -> Result<(), store_api::CallError> {
    let payload = payload.as_object().cloned().unwrap_or_default();
    store.record(kind, payload).map(drop)
}
