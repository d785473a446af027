//! Breaks the appliance from inside, as root, when a test asks for it.
//!
//! Responsible for: signals to any process, reading and writing kernel and other files, filling a
//! file system, messages to PID 1 in somebody else's name.
//! Not responsible for: what comes of it; the harness (`tests/`) watches that from outside. It is
//! in no image that is flashed.
//! Talks to: the harness, through the virtio port `org.x0tta6bl4.test`; a line of JSON each way.
#![forbid(unsafe_code)]

mod act;
mod port;

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// Where the hypervisor's port appears.
const PORT: &str = "/dev/virtio-ports/org.x0tta6bl4.test";

/// What the agent can be asked to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Request {
    /// Sends `text` to the datagram socket `socket` from the control group `group`.
    Datagram {
        group: String,
        socket: String,
        text: String,
    },
    /// Writes to the new file `path` until the file system is full.
    Fill { path: String },
    /// Lists a directory.
    List { path: String },
    /// Reads a text file.
    Read { path: String },
    /// Removes a file.
    Remove { path: String },
    /// Sends a signal, by number, to a process.
    Signal { pid: i32, signal: i32 },
    /// Writes a file in one go, as the kernel's own files want it.
    Write { path: String, text: String },
}

/// What came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// What was read, or nothing.
    Done(String),
    /// Why it could not be done.
    Failed(String),
}

/// Why the agent ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen for a request to stop")]
    Signals(#[source] io::Error),
    #[error("cannot open {PORT}")]
    Open(#[source] io::Error),
    #[error("{PORT} failed")]
    Port(#[source] io::Error),
}

/// Serves the harness until it is asked to stop. A machine without the port is no error.
///
/// # Errors
/// When the port cannot be opened or breaks.
pub fn run() -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Signals)?;
    runtime::notify::ready();
    let Some(mut port) = port::Port::wait_for(PORT, &shutdown).map_err(RunError::Open)? else {
        runtime::notify::status("nobody wants faults here");
        return Ok(());
    };
    while let Some(line) = port.line(&shutdown).map_err(RunError::Port)? {
        let reply = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => {
                tracing::info!(?request, "a fault was asked for");
                act::act(request)
            }
            Err(error) => Err(error.into()),
        };
        let reply = match reply {
            Ok(text) => Reply::Done(text),
            Err(error) => Reply::Failed(error.to_string()),
        };
        let mut answer = serde_json::to_vec(&reply).expect("text is always valid JSON");
        answer.push(b'\n');
        port.write(&answer).map_err(RunError::Port)?;
    }
    Ok(())
}

/// Joins the control group `group` and sends `text` to `socket` from there.
#[must_use]
pub fn send_from(group: &str, socket: &str, text: &str) -> ExitCode {
    let joined = std::fs::write(format!("{group}/cgroup.procs"), "0");
    let sent = joined.and_then(|()| UnixDatagram::unbound()?.send_to(text.as_bytes(), socket));
    match sent {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot send to {socket} from {group}: {error}");
            ExitCode::FAILURE
        }
    }
}
