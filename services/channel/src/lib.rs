//! The hypervisor's way to PID 1: relays the virtio port `org.x0tta6bl4.control` to the Varlink
//! socket.
//!
//! Responsible for: one session at a time, with bounded buffers; forgetting a session when the host
//! disconnects; an error for every call that PID 1 cannot answer.
//! Not responsible for: the meaning of messages, or who may use them. The hypervisor owns the
//! machine anyway.
//! Talks to: the hypervisor (virtio port), PID 1 (`/run/x0/init.sock`).
#![forbid(unsafe_code)]

mod config;
pub mod core;
mod port;
mod session;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

pub use config::Config;

use crate::port::Moved;
use crate::session::Session;

/// Ports are announced by the hypervisor one by one after the kernel has started.
const PORT_MAY_TAKE: Duration = Duration::from_secs(5);

/// How often is looked whether a host has connected. There is no event to wait for: without a host
/// a port reports its hang-up at once, whenever it is asked.
const HOST_LOOK: Duration = Duration::from_millis(200);

/// Why the channel ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen for a request to stop")]
    Signals(#[source] io::Error),
    #[error(
        "cannot open the port {path}; is it this service's own, and does nobody else have it open?"
    )]
    Open { path: PathBuf, source: io::Error },
    #[error("the port {path} failed")]
    Port { path: PathBuf, source: io::Error },
}

/// Relays until it is asked to stop. A machine without such a port is no error.
///
/// # Errors
/// When the port cannot be opened or breaks.
pub fn run(config: &Config) -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Signals)?;
    runtime::notify::ready();
    let failed = |source| RunError::Port {
        path: config.port.clone(),
        source,
    };
    if !wait_for_port(config, &shutdown, PORT_MAY_TAKE).map_err(failed)? {
        tracing::info!(port = %config.port.display(), "no management channel here");
        runtime::notify::status("no management channel here");
        return Ok(());
    }
    let port = port::open(&config.port).map_err(|source| RunError::Open {
        path: config.port.clone(),
        source,
    })?;
    serve(&port, config, &shutdown).map_err(failed)
}

/// Waits a little for the port to be there. False: it is not, or the service shall stop.
fn wait_for_port(config: &Config, shutdown: impl AsFd, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    while !config.port.exists() {
        if Instant::now() >= deadline || pause(&shutdown, HOST_LOOK)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn serve(port: &OwnedFd, config: &Config, shutdown: impl AsFd) -> io::Result<()> {
    let pet = runtime::notify::watchdog_interval().unwrap_or(Duration::from_secs(60));
    let mut session = Session::default();
    let mut connected = None;
    let mut petted: Option<Instant> = None;
    loop {
        // Not with every message: a busy host must not keep PID 1 busy, too.
        if petted.is_none_or(|last| last.elapsed() >= pet / 2) {
            petted = Some(Instant::now());
            runtime::notify::watchdog();
        }
        let host = port::host_is_there(port)?;
        if connected != Some(host) {
            connected = Some(host);
            tracing::info!(host, "management channel");
            runtime::notify::status(if host { "host connected" } else { "no host" });
            if !host {
                // What a host sent before it left is forgotten with it. Later than now the bytes
                // could be those of the next one.
                while let Moved::Bytes(_) = port::read(port, &mut [0; 4096])? {}
                session = Session::default();
            }
        }
        let stop = if host {
            session.wait(port, &shutdown, pet / 2)?
        } else {
            pause(&shutdown, HOST_LOOK.min(pet / 2))?
        };
        if stop {
            return Ok(());
        }
        if host {
            session.relay(port, config)?;
        }
    }
}

/// Waits for `limit` or until the service shall stop (true).
fn pause(shutdown: &impl AsFd, limit: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(shutdown, PollFlags::IN)];
    port::wait(&mut fds, limit)?;
    Ok(fds[0].revents().contains(PollFlags::IN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread::{self, JoinHandle};

    /// A channel at work, with a socket pair in place of the port.
    struct Bench {
        host: Option<UnixStream>,
        stop: UnixStream,
        folder: tempfile::TempDir,
        channel: JoinHandle<io::Result<()>>,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = Config {
                port: folder.path().join("port"),
                init: folder.path().join("init.sock"),
            };
            let (host, port) = UnixStream::pair().unwrap();
            let (stop, shutdown) = UnixStream::pair().unwrap();
            port.set_nonblocking(true).unwrap();
            host.set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let channel = thread::spawn(move || serve(&port.into(), &config, &shutdown));
            Self {
                host: Some(host),
                stop,
                folder,
                channel,
            }
        }

        fn listen(&self) -> UnixListener {
            UnixListener::bind(self.folder.path().join("init.sock")).unwrap()
        }

        fn host(&mut self) -> &mut UnixStream {
            self.host.as_mut().unwrap()
        }

        fn send(&mut self, bytes: &[u8]) {
            self.host().write_all(bytes).unwrap();
        }

        fn ends(mut self) {
            self.stop.write_all(b"!").unwrap();
            self.channel.join().unwrap().unwrap();
        }
    }

    fn message(from: &mut UnixStream) -> String {
        let (mut text, mut byte) = (Vec::new(), [0]);
        while from.read_exact(&mut byte).is_ok() && byte != [0] {
            text.push(byte[0]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_call_and_its_answer_pass() {
        let mut bench = Bench::new();
        let listener = bench.listen();
        bench.send(b"call\0");
        let (mut init, _) = listener.accept().unwrap();
        assert_eq!(message(&mut init), "call");
        init.write_all(b"answer\0").unwrap();
        assert_eq!(message(bench.host()), "answer");
        bench.ends();
    }

    #[test]
    fn more_than_the_buffers_hold_passes_unharmed() {
        let mut bench = Bench::new();
        let listener = bench.listen();
        let long = vec![b'x'; 20 * core::CAPACITY];
        let mut host = bench.host().try_clone().unwrap();
        let sent = long.clone();
        let sender = thread::spawn(move || {
            host.write_all(&sent).unwrap();
            host.write_all(&[0]).unwrap();
        });
        let (mut init, _) = listener.accept().unwrap();
        let mut got = vec![0; long.len() + 1];
        init.read_exact(&mut got).unwrap();
        assert!(got.starts_with(&long));
        sender.join().unwrap();
        bench.ends();
    }

    #[test]
    fn without_init_the_host_gets_an_error_and_later_an_answer() {
        let mut bench = Bench::new();
        bench.send(b"call\0");
        assert!(message(bench.host()).contains("InitUnreachable"));
        let listener = bench.listen();
        bench.send(b"again\0");
        let (mut init, _) = listener.accept().unwrap();
        assert_eq!(message(&mut init), "again");
        drop(init);
        assert!(message(bench.host()).contains("closed the connection"));
        bench.send(b"once more\0");
        let (mut init, _) = listener.accept().unwrap();
        assert_eq!(message(&mut init), "once more");
        bench.ends();
    }

    #[test]
    fn a_host_that_leaves_takes_its_session_with_it() {
        let mut bench = Bench::new();
        let listener = bench.listen();
        bench.send(b"half a mess");
        let (mut init, _) = listener.accept().unwrap();
        bench.host = None;
        let mut rest = Vec::new();
        init.read_to_end(&mut rest).unwrap();
        assert!(b"half a mess".starts_with(&rest[..]));
        bench.ends();
    }

    #[test]
    fn a_machine_without_a_port_is_no_error() {
        let config = Config {
            port: "/nonexistent/port".into(),
            init: "/nonexistent/init".into(),
        };
        let (_stop, shutdown) = UnixStream::pair().unwrap();
        let (begin, limit) = (Instant::now(), Duration::ZERO);
        assert!(!wait_for_port(&config, &shutdown, limit).unwrap());
        assert!(begin.elapsed() < PORT_MAY_TAKE);
    }
}
