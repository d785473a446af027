//! One page of measurements for Prometheus: `GET /metrics`.
//!
//! Responsible for: the node's figures, PID 1's and the store's, and every service's exposition
//! merged into one page, in OpenMetrics 1.0 or the older text format, whichever is asked for;
//! serving it over HTTP on the addresses that the configuration names, and always on
//! `/run/x0/metrics/http.sock`.
//! Not responsible for: measuring inside of services (`runtime::metrics`), keeping a history,
//! encryption (`docs/adr-0001-plain-http.md`).
//! Talks to: every service (`/run/x0/*/metrics.sock`), PID 1, the store, whoever scrapes.
#![forbid(unsafe_code)]

mod collect;
pub mod exposition;
mod http;
mod listen;
mod machine;
mod node;
pub mod page;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

pub use collect::{Collector, Sources};

use crate::http::Server;
use crate::listen::{Change, Listeners};

/// Why the service ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen for a request to stop")]
    Signals(#[source] io::Error),
    #[error("cannot start")]
    Start(#[source] io::Error),
    #[error("cannot listen on {path}")]
    Socket { path: PathBuf, source: io::Error },
}

/// Serves until it is asked to stop.
///
/// # Errors
/// When it cannot begin to. What fails later is missing on the page.
pub fn run(sources: Sources) -> Result<(), RunError> {
    runtime::metrics::serve(runtime::metrics::Registry::default());
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Pages are collected one after the other, with calls that block.
        .max_blocking_threads(1)
        .build()
        .map_err(RunError::Start)?
        .block_on(serve(sources))
}

async fn serve(sources: Sources) -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Signals)?;
    let shutdown = UnixStream::from_std(shutdown).map_err(RunError::Signals)?;
    let (changes, mut changed) = mpsc::channel::<Change>(1);
    listen::follow(sources.store.clone(), changes).map_err(RunError::Start)?;
    let path = socket_path(&sources);
    let mut listeners = Listeners::new(Server::new(Collector::new(sources)));
    listeners
        .unix(&path)
        .map_err(|source| RunError::Socket { path, source })?;
    runtime::notify::ready();
    let pet = runtime::notify::watchdog_interval().unwrap_or(Duration::from_secs(60));
    let mut pet = tokio::time::interval(pet / 2);
    loop {
        tokio::select! {
            _ = pet.tick() => runtime::notify::watchdog(),
            _ = shutdown.readable() => return Ok(()),
            Some(change) = changed.recv() => {
                let outcome = listeners.apply(&change.addresses, change.allow_wan);
                runtime::notify::status(&listeners.describe());
                // Whoever asked may have given up.
                change.answer.send(outcome).ok();
            }
        }
    }
}

fn socket_path(sources: &Sources) -> PathBuf {
    let folder = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    folder
        .unwrap_or_else(|| sources.run.join("metrics"))
        .join("http.sock")
}
