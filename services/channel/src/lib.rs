//! The hypervisor's way in: relays the virtio port `org.x0tta6bl4.control` to PID 1's Varlink
//! socket, and `org.x0tta6bl4.bus` to the system bus.
//!
//! Responsible for: one session at a time on each port, with bounded buffers; forgetting a session
//! when the host disconnects; an error for every call that PID 1 cannot answer; the D-Bus handshake
//! with the host, and another with the bus.
//! Not responsible for: the meaning of messages, or who may use them. The hypervisor owns the
//! machine anyway.
//! Talks to: the hypervisor (virtio ports), PID 1 (`/run/x0/init.sock`), the bus
//! (`/run/dbus/system_bus_socket`).
#![forbid(unsafe_code)]

pub mod bus;
mod config;
mod frames;
mod link;
mod port;
mod relay;
mod sasl;
mod session;
pub mod varlink;

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

pub use config::{Config, Ends};
pub use relay::{CAPACITY, Refusal, Relay};

use crate::link::Link;

/// Ports are announced by the hypervisor one by one after the kernel has started.
const PORTS_MAY_TAKE: Duration = Duration::from_secs(5);

/// How often is looked whether a host has connected. There is no event to wait for: without a host
/// a port reports its hang-up at once, whenever it is asked.
const HOST_LOOK: Duration = Duration::from_millis(200);

/// Why the channel ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen for a request to stop")]
    Signals(#[source] io::Error),
    #[error("the port {path} failed; is it this service's own, and does nobody else have it open?")]
    Port { path: PathBuf, source: io::Error },
    #[error("cannot wait for a host")]
    Wait(#[source] io::Error),
}

/// Relays until it is asked to stop. A machine without such ports is no error.
///
/// # Errors
/// When a port cannot be opened or breaks.
pub fn run(config: &Config) -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Signals)?;
    runtime::notify::ready();
    let mut links = links(config);
    serve(&mut links, &shutdown, PORTS_MAY_TAKE)
}

fn links(config: &Config) -> [Link<'_>; 2] {
    [
        Link::new("control", &config.control, || {
            Box::new(varlink::Calls::default())
        }),
        Link::new(
            "bus",
            &config.bus,
            || Box::new(bus::Conversation::default()),
        ),
    ]
}

fn serve(
    links: &mut [Link<'_>],
    shutdown: impl AsFd,
    ports_may_take: Duration,
) -> Result<(), RunError> {
    let pet = runtime::notify::watchdog_interval().unwrap_or(Duration::from_secs(60));
    let deadline = Instant::now() + ports_may_take;
    let mut petted: Option<Instant> = None;
    let mut told = None;
    loop {
        // Not with every message: a busy host must not keep PID 1 busy, too.
        if petted.is_none_or(|last| last.elapsed() >= pet / 2) {
            petted = Some(Instant::now());
            runtime::notify::watchdog();
        }
        let may_come = Instant::now() < deadline;
        let mut hosts = 0;
        for link in links.iter_mut() {
            if may_come {
                link.open()?;
            }
            hosts += usize::from(link.look()?);
        }
        let ports = links.iter().filter(|link| link.port.is_some()).count();
        if ports == 0 && !may_come {
            tracing::info!("no management channel here");
            runtime::notify::status("no management channel here");
            return Ok(());
        }
        let status = describe(links);
        if told.as_ref() != Some(&status) {
            runtime::notify::status(&status);
            told = Some(status);
        }
        let complete = hosts == ports && (ports == links.len() || !may_come);
        let limit = if complete {
            pet / 2
        } else {
            HOST_LOOK.min(pet / 2)
        };
        let mut fds = vec![PollFd::new(&shutdown, PollFlags::IN)];
        for link in links.iter() {
            link.wanted(&mut fds);
        }
        port::wait(&mut fds, limit).map_err(RunError::Wait)?;
        if fds[0].revents().contains(PollFlags::IN) {
            return Ok(());
        }
        drop(fds);
        for link in links.iter_mut() {
            link.relay()?;
        }
    }
}

fn describe(links: &[Link<'_>]) -> String {
    let connected: Vec<&str> = links.iter().filter_map(Link::describe).collect();
    if connected.is_empty() {
        "no host".to_owned()
    } else {
        format!("host connected: {}", connected.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread::{self, JoinHandle};

    fn config(folder: &std::path::Path) -> Config {
        let ends = |port, service| Ends {
            port: folder.join(port),
            service: folder.join(service),
        };
        Config {
            control: ends("control", "init.sock"),
            bus: ends("bus", "bus.sock"),
        }
    }

    /// A channel at work, with a socket pair in place of the port.
    struct Bench {
        host: Option<UnixStream>,
        stop: UnixStream,
        folder: tempfile::TempDir,
        channel: JoinHandle<Result<(), RunError>>,
    }

    impl Bench {
        fn new() -> Self {
            Self::with(false)
        }

        fn with(bus: bool) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = config(folder.path());
            let (host, port) = UnixStream::pair().unwrap();
            let (stop, shutdown) = UnixStream::pair().unwrap();
            port.set_nonblocking(true).unwrap();
            host.set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let channel = thread::spawn(move || {
                let mut links = links(&config);
                links[usize::from(bus)].port = Some(port.into());
                serve(&mut links, &shutdown, Duration::ZERO)
            });
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
        let long = vec![b'x'; 20 * CAPACITY];
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
    fn a_host_talks_to_the_bus_after_two_handshakes() {
        let mut bench = Bench::with(true);
        let listener = UnixListener::bind(bench.folder.path().join("bus.sock")).unwrap();
        let (guid, call) = (
            "0123456789abcdef0123456789abcdef",
            b"l\x01\0\x01\0\0\0\0\x01\0\0\0\0\0\0\0",
        );
        bench.send(b"\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n");
        bench.send(call);
        let (mut bus, _) = listener.accept().unwrap();
        let mut hello = [0; 29];
        bus.read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
        bus.write_all(format!("DATA\r\nOK {guid}\r\n").as_bytes())
            .unwrap();
        let mut got = [0; 16];
        bus.read_exact(&mut got).unwrap();
        assert_eq!(&got, call);
        bus.write_all(call).unwrap();
        let mut answer = vec![0; 37 + 16];
        bench.host().read_exact(&mut answer).unwrap();
        assert_eq!(answer, [format!("OK {guid}\r\n").as_bytes(), call].concat());
        // The bus ends: so does what the host can read as messages.
        drop(bus);
        bench.host().read_exact(&mut got).unwrap();
        assert_eq!(got, [0; 16]);
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
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let (_stop, shutdown) = UnixStream::pair().unwrap();
        serve(&mut links(&config), &shutdown, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_port_that_is_no_port_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        std::fs::create_dir(&config.bus.port).unwrap();
        let (_stop, shutdown) = UnixStream::pair().unwrap();
        let limit = Duration::from_secs(10);
        let error = serve(&mut links(&config), &shutdown, limit).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&*config.bus.port.to_string_lossy())
        );
    }
}
