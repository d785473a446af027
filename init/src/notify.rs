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
/// Descriptors in one message; with more it is dropped.
const MESSAGE_FDS: usize = 32;
/// The longest name of a descriptor (sd_notify(3)).
const NAME_BYTES: usize = 255;

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
    pub(crate) said: Said,
    /// What came along.
    pub(crate) fds: Vec<OwnedFd>,
}

/// The words of one datagram.
#[derive(Debug, Eq, PartialEq)]
pub struct Said {
    /// In their order.
    pub notifications: Vec<Notification>,
    /// What is to be done with descriptors.
    pub store: Option<Store>,
}

/// An order about descriptors (`FDSTORE=1`, `FDSTOREREMOVE=1`).
#[derive(Debug, Eq, PartialEq)]
pub enum Store {
    /// Keep those that came along. `watched`: until their other end hangs up.
    Keep {
        /// What the next process knows them by.
        name: String,
        /// Unless `FDPOLL=0`.
        watched: bool,
    },
    /// Drop those of this name.
    Remove {
        /// The name.
        name: String,
    },
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

    /// One that an earlier PID 1 bound.
    pub(crate) fn adopt(socket: OwnedFd, path: &Path) -> Self {
        let path = path.into();
        Self { socket, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next message, if one is there. `Err(())`: one was there and was unusable.
    pub(crate) fn next(&self) -> Option<Result<Message, ()>> {
        let mut bytes = [0; MESSAGE_BYTES];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS), ScmCredentials(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(&self.socket, &mut slices, &mut ancillary, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN) => return None,
            Err(_) => return Some(Err(())),
        };
        let mut pid = 0;
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            match message {
                RecvAncillaryMessage::ScmCredentials(sender) => {
                    pid = sender.pid.as_raw_pid().unsigned_abs();
                }
                RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
                _ => {}
            }
        }
        let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
        if received.flags.intersects(cut) {
            return Some(Err(()));
        }
        let said = parse(&bytes[..received.bytes]);
        Some(Ok(Message { pid, said, fds }))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a message says, as far as PID 1 knows the words.
#[must_use]
pub fn parse(message: &[u8]) -> Said {
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
    let lines = message.split(|byte| *byte == b'\n');
    Said {
        notifications: lines.filter_map(line).collect(),
        store: store(message),
    }
}

fn store(message: &[u8]) -> Option<Store> {
    let says = |words: &[u8]| {
        message
            .split(|byte| *byte == b'\n')
            .any(|line| line == words)
    };
    let mut lines = message.split(|byte| *byte == b'\n');
    let name = lines.find_map(|line| line.strip_prefix(b"FDNAME="));
    // They are joined by colons when they are passed on.
    let fits = |name: &&[u8]| {
        let fine = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b':';
        !name.is_empty() && name.len() <= NAME_BYTES && name.iter().all(fine)
    };
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    match name {
        Some(name) if !fits(&name) => None,
        Some(name) if says(b"FDSTOREREMOVE=1") => Some(Store::Remove { name: text(name) }),
        name if says(b"FDSTORE=1") => Some(Store::Keep {
            name: name.map_or_else(|| "stored".into(), text),
            watched: !says(b"FDPOLL=0"),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_may_have_several_lines() {
        let Said {
            notifications,
            store,
        } = parse(b"READY=1\nSTATUS=serving \x1b[1m3 links\nMAINPID=1\nWATCHDOG=1\n");
        let status = Notification::Status("serving  [1m3 links".into());
        assert_eq!(
            notifications,
            [Notification::Ready, status, Notification::Watchdog]
        );
        assert_eq!(store, None);
        assert!(parse(b"READY=0\nREADY\n\n=\n").notifications.is_empty());
    }

    #[test]
    fn descriptors_are_kept_and_dropped_by_name() {
        let keep = |name: &str, watched| {
            let name = name.into();
            Some(Store::Keep { name, watched })
        };
        assert_eq!(parse(b"FDSTORE=1").store, keep("stored", true));
        assert_eq!(
            parse(b"FDNAME=a b\nFDSTORE=1\nFDPOLL=0").store,
            keep("a b", false)
        );
        let remove = Store::Remove { name: "a".into() };
        assert_eq!(parse(b"FDSTOREREMOVE=1\nFDNAME=a\n").store, Some(remove));
        for nothing in [
            b"FDSTOREREMOVE=1".as_slice(),
            b"FDSTORE=1\nFDNAME=",
            b"FDSTORE=1\nFDNAME=a:b",
            b"FDSTORE=1\nFDNAME=\xff",
            b"FDSTORE=0\nFDNAME=a",
            &[b"FDSTORE=1\nFDNAME=".as_slice(), &[b'x'; 256]].concat(),
        ] {
            assert_eq!(parse(nothing).store, None, "{nothing:?}");
        }
    }

    #[test]
    fn status_texts_are_bounded() {
        let long = [b"STATUS=".as_slice(), &vec![b'x'; 4000]].concat();
        let status = Notification::Status("x".repeat(STATUS_CHARS));
        assert_eq!(parse(&long).notifications, [status]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&bytes);
        }
    }
}
