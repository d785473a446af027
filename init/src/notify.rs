//! The socket to which services say how they are (`sd_notify(3)`).

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, socket_with, sockopt,
};

use crate::event::Notification;

/// Longer messages are dropped.
const MESSAGE_BYTES: usize = 4096;
/// What is kept of a `STATUS=` text.
const STATUS_CHARS: usize = 200;

/// The bound socket.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: OwnedFd,
    path: PathBuf,
}

/// One datagram.
#[derive(Debug)]
pub(crate) struct Message {
    /// The sender as the kernel vouches for it; 0 when it is of another PID namespace.
    pub(crate) pid: u32,
    pub(crate) notifications: Vec<Notification>,
}

impl NotifySocket {
    pub(crate) fn bind(path: &Path) -> Result<Self, Errno> {
        rustix::fs::unlink(path).ok();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_passcred(&socket, true)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        // Every service has to reach it; who sent a message is checked message by message.
        rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
        let path = path.into();
        Ok(Self { socket, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next message, if one is there. `Err(())`: one was there and was unusable.
    pub(crate) fn next(&self) -> Option<Result<Message, ()>> {
        let mut bytes = [0; MESSAGE_BYTES];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8), ScmCredentials(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(&self.socket, &mut slices, &mut ancillary, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN) => return None,
            Err(_) => return Some(Err(())),
        };
        let mut pid = 0;
        for message in ancillary.drain() {
            // Descriptors that were sent along are closed by being dropped.
            if let RecvAncillaryMessage::ScmCredentials(sender) = message {
                pid = sender.pid.as_raw_pid().unsigned_abs();
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Some(Err(()));
        }
        let notifications = parse(&bytes[..received.bytes]);
        Some(Ok(Message { pid, notifications }))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a message says, as far as PID 1 knows the words.
#[must_use]
pub fn parse(message: &[u8]) -> Vec<Notification> {
    let line = |line: &[u8]| match line {
        b"READY=1" => Some(Notification::Ready),
        b"WATCHDOG=1" => Some(Notification::Watchdog),
        b"WATCHDOG=trigger" => Some(Notification::WatchdogTrigger),
        line => {
            let text = String::from_utf8_lossy(line.strip_prefix(b"STATUS=")?);
            let printable = |c: char| if c.is_control() { ' ' } else { c };
            let text = text.chars().map(printable).take(STATUS_CHARS).collect();
            Some(Notification::Status(text))
        }
    };
    message
        .split(|byte| *byte == b'\n')
        .filter_map(line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_may_have_several_lines() {
        let parsed = parse(b"READY=1\nSTATUS=serving \x1b[1m3 links\nMAINPID=1\nWATCHDOG=1\n");
        let status = Notification::Status("serving  [1m3 links".into());
        assert_eq!(
            parsed,
            [Notification::Ready, status, Notification::Watchdog]
        );
        assert!(parse(b"READY=0\nREADY\n\n=\n").is_empty());
    }

    #[test]
    fn status_texts_are_bounded() {
        let long = [b"STATUS=".as_slice(), &vec![b'x'; 4000]].concat();
        let status = Notification::Status("x".repeat(STATUS_CHARS));
        assert_eq!(parse(&long), [status]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&bytes);
        }
    }
}
