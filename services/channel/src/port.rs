//! The two ends: a virtio port and a service's socket.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

/// Opens the port without waiting for anything. Only one process may have it open.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::NONBLOCK.union(OFlags::NOCTTY);
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    Ok(port.into())
}

/// Connects to a service. A full backlog is an error rather than a wait.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Waits for one of `fds`, at most for `limit`.
pub(crate) fn wait(fds: &mut [PollFd<'_>], limit: Duration) -> io::Result<()> {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    match poll(fds, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the hypervisor's side of the port is open right now. Without a host the port
/// reports a hang-up at once, whenever it is asked (Linux `drivers/char/virtio_console.c`).
pub(crate) fn host_is_there(port: impl AsFd) -> io::Result<bool> {
    let mut wanted = [PollFd::new(&port, PollFlags::OUT)];
    poll(&mut wanted, Some(&Timespec::default()))?;
    Ok(!wanted[0].revents().contains(PollFlags::HUP))
}

/// What a read or write without waiting came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Bytes(usize),
    /// Not now.
    Nothing,
    /// The other side is not there (any more).
    End,
}

/// Reads at most `buffer.len()` bytes.
pub(crate) fn read(from: impl AsFd, buffer: &mut [u8]) -> io::Result<Moved> {
    if buffer.is_empty() {
        return Ok(Moved::Nothing);
    }
    moved(rustix::io::read(from, buffer))
}

/// Writes what can be written at once.
pub(crate) fn write(to: impl AsFd, bytes: &[u8]) -> io::Result<Moved> {
    if bytes.is_empty() {
        return Ok(Moved::Nothing);
    }
    moved(rustix::io::write(to, bytes))
}

fn moved(result: rustix::io::Result<usize>) -> io::Result<Moved> {
    use rustix::io::Errno;
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Nothing),
        // EIO is what a pseudo-terminal says, the stand-in for a port in tests.
        Err(Errno::PIPE | Errno::CONNRESET | Errno::IO) => Ok(Moved::End),
        Err(error) => Err(error.into()),
    }
}
