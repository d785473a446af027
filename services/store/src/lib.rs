//! Sole owner of what the appliance remembers: each service's state, the event log, and the
//! generations of the configuration.
//!
//! Responsible for: the one database file on DATA; versions, compare-and-set and watches; the hash
//! chain of the event log; which generation of the configuration applies, and the deadline by which
//! a new one has to be confirmed; backups and snapshots.
//! Not responsible for: what a document means (`config`), applying it (each service), who a person
//! is (`admin`).
//! Talks to: DATA; every service through its socket (`store-api`).
#![forbid(unsafe_code)]

pub mod backup;
mod config;
pub mod core;
pub mod engine;
pub mod event;
mod figures;
pub mod fuzz;
mod measurements;
mod moment;
pub mod open;
pub mod serve;
pub mod snapshot;
mod worker;
mod writer;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

pub use crate::config::Config;
pub use serve::{Callers, ServeError, Server};

use crate::open::StartError;

/// Why the store stops.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file.
    #[error("cannot open the store")]
    Open(#[source] StartError),
    /// The socket.
    #[error("cannot listen at {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    /// The signals.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// The work.
    #[error("cannot go on")]
    Serve(#[from] ServeError),
}

/// Opens the store and serves it until SIGTERM.
///
/// # Errors
/// When another store is at work, the socket cannot be made, or the disk fails.
pub fn run(config: &Config) -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Signals)?;
    serve(config, &shutdown)
}

/// Opens the store and serves it until `shutdown` becomes readable.
///
/// # Errors
/// As [`run`].
pub fn serve(config: &Config, shutdown: &UnixStream) -> Result<(), RunError> {
    let opened = open::open(&config.folder, &moment::stamp()).map_err(RunError::Open)?;
    let listener = listen(config)?;
    let callers = Callers::load(&config.services);
    let folder = config.folder.clone();
    let mut server = Server::start(listener, opened, callers, folder)?;
    Ok(server.run(shutdown)?)
}

/// Whoever may enter the folder may connect; who it is decides what it may do.
fn listen(config: &Config) -> Result<UnixListener, RunError> {
    let path = &config.socket;
    let failed = |source| RunError::Listen {
        path: path.clone(),
        source,
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}
