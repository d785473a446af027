//! Remote shell over SSH, with keys only: `x0ctl` on a pseudo-terminal, or one command of it.
//!
//! Responsible for: listening where the section `remote` of the configuration says, and nowhere
//! without it; limits per source; one process per connection; recording who came and went.
//! Not responsible for: what a person may do (`admin`). There are no passwords, no shell, no files
//! to copy, no forwarding, and no environment beyond TERM and LANG.
//! Talks to: SSH clients, the store (section `remote`, events).
#![forbid(unsafe_code)]

mod config;
mod connection;
mod events;
mod host_key;
mod limits;
mod pump;
mod server;
mod session;
mod settings;
pub mod words;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

pub use config::Config;
pub use connection::{ConnectionError, connection};
pub use host_key::HostKeyError;
pub use session::become_session;

use crate::events::Events;
use crate::server::Server;
use crate::settings::Section;

/// Binding a socket takes no time; this is for a loop that is stuck.
const APPLY_DEADLINE: Duration = Duration::from_secs(5);

/// Why the service ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen for a request to stop")]
    Signals(#[source] io::Error),
    #[error("cannot start")]
    Start(#[source] io::Error),
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
}

/// Another configuration applies.
struct Change {
    section: Section,
    answer: SyncSender<Result<(), String>>,
}

/// Serves until it is asked to stop.
///
/// # Errors
/// When it cannot begin to.
pub fn run(config: Config) -> Result<(), RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Start)?
        .block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Signals)?;
    let shutdown = UnixStream::from_std(shutdown).map_err(RunError::Signals)?;
    let host_key = host_key::load(&config.state)?;
    let events = Events::start(config.store.clone()).map_err(RunError::Start)?;
    let (changes, mut changed) = mpsc::channel(1);
    follow(config.store.clone(), changes).map_err(RunError::Start)?;
    let mut server = Server::new(config, events, host_key);
    let mut registry = runtime::metrics::Registry::default();
    server.register(&mut registry);
    runtime::metrics::serve(registry);
    runtime::notify::status(&server.describe());
    runtime::notify::ready();
    let pet = runtime::notify::watchdog_interval().unwrap_or(Duration::from_secs(60));
    let mut pet = tokio::time::interval(pet / 2);
    loop {
        tokio::select! {
            _ = pet.tick() => runtime::notify::watchdog(),
            _ = shutdown.readable() => return Ok(()),
            Some(Change { section, answer }) = changed.recv() => {
                let outcome = server.apply(section);
                runtime::notify::status(&server.describe());
                // Whoever asked may have given up.
                answer.send(outcome).ok();
            }
        }
    }
}

/// Passes each configuration on, and its outcome back to the store.
fn follow(store: PathBuf, changes: mpsc::Sender<Change>) -> io::Result<()> {
    store_api::follow(store, move |configuration| {
        let mut configuration = match configuration {
            Ok(configuration) => configuration,
            Err(error) => {
                // What was configured last stays.
                tracing::warn!(error = %runtime::Chain(&error), "no configuration");
                return Ok(());
            }
        };
        let section = configuration.sections.remove("remote").unwrap_or_default();
        let section: Option<Section> = serde_json::from_value(section)
            .map_err(|error| format!("the section remote makes no sense: {error}"))?;
        let (answer, outcome) = std::sync::mpsc::sync_channel(1);
        let section = section.unwrap_or_default();
        changes
            .blocking_send(Change { section, answer })
            .map_err(|_| "the service is about to stop".to_owned())?;
        let outcome = outcome.recv_timeout(APPLY_DEADLINE);
        outcome.unwrap_or_else(|_| Err("the service did not listen in time".to_owned()))
    })
}
