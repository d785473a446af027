//! What every service does in the same way: log, tell PID 1 how it is, and stop when told to.
//!
//! Responsible for: log lines on standard error (PID 1 keeps them in the service's ring and stamps
//! them), the `sd_notify` messages, a descriptor that becomes readable when the service shall stop,
//! the socket that offers measurements, and the one formatter that prints an error with all its
//! causes.
//! Not responsible for: what a service does, its configuration, its async runtime.
//! Talks to: PID 1, through `NOTIFY_SOCKET`; whoever connects to `metrics.sock`.
#![forbid(unsafe_code)]

mod chain;
pub mod metrics;
pub mod notify;
mod shutdown;

use std::error::Error;
use std::process::ExitCode;

pub use chain::Chain;
pub use shutdown::shutdown;

/// Runs a service: sets logging up, calls `service`, and turns its error into one log line and
/// exit status 1.
pub fn run<E: Error>(service: impl FnOnce() -> Result<(), E>) -> ExitCode {
    logging();
    match service() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %Chain(&error), "giving up");
            notify::status(&Chain(&error).to_string());
            ExitCode::FAILURE
        }
    }
}

/// Sends `tracing` events to standard error, without time stamps or colours.
///
/// `X0_LOG` (`error`, `warn`, `info`, `debug` or `trace`) sets the level; `info` is the default.
/// Calling it twice is harmless.
pub fn logging() {
    let level = std::env::var("X0_LOG")
        .ok()
        .and_then(|level| level.parse().ok());
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_max_level(level.unwrap_or(tracing::Level::INFO))
        .with_writer(std::io::stderr)
        .finish();
    // Only the first subscriber can be installed; a second call finds the first one at work.
    tracing::subscriber::set_global_default(subscriber).ok();
}
