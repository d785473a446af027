//! The control socket: few callers, short messages, and nobody is waited for. A caller that does not
//! read its replies is dropped; one that opens too many connections blocks only itself.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use api::wire::{MAX_REQUEST_BYTES, Reply, encode};
use manifest::Name;
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    sockopt,
};

use serde::Serialize;

use crate::event::ServiceId;
use crate::state::{SavedClient, SavedFollow, to_bytes, to_text};

/// Connections at a time, for all callers.
pub(crate) const MAX_CLIENTS: usize = 32;
/// Connections of one user.
const MAX_PER_USER: usize = 12;
/// A caller that leaves more than this unread while following a log is dropped.
const MAX_UNREAD_BYTES: usize = 256 * 1024;

/// The listening socket and its connections.
#[derive(Debug)]
pub(crate) struct Control {
    listener: OwnedFd,
    clients: Vec<Option<Client>>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: OwnedFd,
    user: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    follows: Option<Follow>,
    /// It is answered by the next program.
    pub(crate) awaits_reexec: bool,
}

/// What a client follows, and the number of the line or event that it gets next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Follow {
    pub(crate) what: Followed,
    pub(crate) next: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Followed {
    Events,
    Log(ServiceId),
}

/// What became of a connection.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Close,
    Keep,
}

impl Control {
    pub(crate) fn bind(path: &Path, group: Option<u32>) -> Result<Self, Errno> {
        rustix::fs::unlink(path).ok();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&listener, &SocketAddrUnix::new(path)?)?;
        if let Some(group) = group {
            rustix::fs::chown(path, Some(Uid::ROOT), Some(Gid::from_raw(group)))?;
        }
        rustix::fs::chmod(path, Mode::from_raw_mode(0o660))?;
        listen(&listener, 16)?;
        Ok(Self::adopt(listener))
    }

    /// One that an earlier PID 1 bound.
    pub(crate) fn adopt(listener: OwnedFd) -> Self {
        let clients = std::iter::repeat_with(|| None).take(MAX_CLIENTS).collect();
        Self { listener, clients }
    }

    /// Every connection, with the name of the log that it follows.
    pub(crate) fn save(&self, name: impl Fn(ServiceId) -> Name) -> Vec<SavedClient> {
        let save = |client: &Client| SavedClient {
            fd: client.stream.as_raw_fd(),
            user: client.user,
            input: to_text(&client.input),
            output: to_text(&client.output),
            awaits_reexec: client.awaits_reexec,
            follows: client.follows.map(|follow| SavedFollow {
                log: match follow.what {
                    Followed::Events => None,
                    Followed::Log(id) => Some(name(id)),
                },
                next: follow.next,
            }),
        };
        self.clients.iter().flatten().map(save).collect()
    }

    pub(crate) fn restore(&mut self, stream: OwnedFd, saved: SavedClient, what: Option<Followed>) {
        let next = saved.follows.map_or(0, |follow| follow.next);
        let mut input = to_bytes(&saved.input);
        input.truncate(MAX_REQUEST_BYTES);
        if let Some(place) = self.clients.iter_mut().find(|place| place.is_none()) {
            *place = Some(Client {
                stream,
                user: saved.user,
                input,
                output: to_bytes(&saved.output),
                follows: what.map(|what| Follow { what, next }),
                awaits_reexec: saved.awaits_reexec,
            });
        }
    }

    /// Every connection, by its place.
    pub(crate) fn connected(&self) -> Vec<usize> {
        self.places(|_| true)
    }

    /// The connections that called `Reexec`.
    pub(crate) fn awaiting_reexec(&self) -> Vec<usize> {
        self.places(|client| client.awaits_reexec)
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes a waiting connection. `Some(None)`: it was one too many and is closed.
    pub(crate) fn accept(&mut self) -> Option<Option<usize>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stream = match accept_with(&self.listener, flags) {
            Ok(stream) => stream,
            Err(Errno::AGAIN) => return None,
            Err(_) => return Some(None),
        };
        let user = sockopt::socket_peercred(&stream).map_or(u32::MAX, |c| c.uid.as_raw());
        let of_user = |client: &&Client| client.user == user;
        if self.clients.iter().flatten().filter(of_user).count() >= MAX_PER_USER {
            return Some(None);
        }
        let Some(place) = self.clients.iter().position(Option::is_none) else {
            return Some(None);
        };
        self.clients[place] = Some(Client {
            stream,
            user,
            input: Vec::new(),
            output: Vec::new(),
            follows: None,
            awaits_reexec: false,
        });
        Some(Some(place))
    }

    pub(crate) fn client(&mut self, place: usize) -> Option<&mut Client> {
        self.clients.get_mut(place).and_then(Option::as_mut)
    }

    /// Closing the descriptor takes it out of the epoll set as well.
    pub(crate) fn close(&mut self, place: usize) {
        if let Some(client) = self.clients.get_mut(place) {
            *client = None;
        }
    }

    /// The connections that follow `what`.
    pub(crate) fn followers(&self, what: Followed) -> Vec<usize> {
        self.places(|client| client.follows.is_some_and(|follow| follow.what == what))
    }

    /// The connections with a call that was read and not answered yet.
    pub(crate) fn pending(&self) -> Vec<usize> {
        self.places(Client::pending)
    }

    fn places(&self, wanted: impl Fn(&Client) -> bool) -> Vec<usize> {
        let places = self.clients.iter().enumerate();
        places
            .filter(|(_, client)| client.as_ref().is_some_and(&wanted))
            .map(|(place, _)| place)
            .collect()
    }
}

impl Client {
    pub(crate) fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether it waits for room to write.
    pub(crate) fn blocked(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether a message waits for its turn. One message of each caller is answered per turn, so
    /// that a flood of calls delays its maker and nobody else.
    pub(crate) fn pending(&self) -> bool {
        !self.blocked()
            && !self.awaits_reexec
            && (self.input.contains(&0) || self.input.len() >= MAX_REQUEST_BYTES)
    }

    pub(crate) fn follows(&mut self) -> &mut Option<Follow> {
        &mut self.follows
    }

    /// Reads what has come, up to the longest message that is allowed.
    pub(crate) fn receive(&mut self) -> Outcome {
        let mut bytes = [0; MAX_REQUEST_BYTES];
        let room = MAX_REQUEST_BYTES - self.input.len();
        if room == 0 {
            // What came first has to be answered first.
            return Outcome::Keep;
        }
        match rustix::io::read(&self.stream, &mut bytes[..room]) {
            // A caller may have said all it had to say and still wait for the answers.
            Ok(0) if self.pending() => Outcome::Keep,
            Ok(0) => Outcome::Close,
            Ok(length) => {
                self.input.extend_from_slice(&bytes[..length]);
                Outcome::Keep
            }
            Err(Errno::AGAIN | Errno::INTR) => Outcome::Keep,
            Err(_) => Outcome::Close,
        }
    }

    /// The next whole message. `Err(())`: it is longer than allowed.
    pub(crate) fn next_message(&mut self) -> Option<Result<Vec<u8>, ()>> {
        match self.input.iter().position(|byte| *byte == 0) {
            Some(end) => {
                let mut message: Vec<u8> = self.input.drain(..=end).collect();
                message.pop();
                Some(Ok(message))
            }
            None if self.input.len() >= MAX_REQUEST_BYTES => Some(Err(())),
            None => None,
        }
    }

    pub(crate) fn send(&mut self, message: &[u8]) -> Outcome {
        self.output.extend_from_slice(message);
        self.flush()
    }

    /// Sends more of what is followed, unless the caller is too slow for it.
    pub(crate) fn send_more<P: Serialize>(&mut self, parameters: P) -> Outcome {
        if self.output.len() > MAX_UNREAD_BYTES {
            return Outcome::Close;
        }
        self.send(&encode(&Reply {
            parameters: Some(parameters),
            continues: true,
            error: None,
        }))
    }

    /// Writes as much as the caller takes.
    pub(crate) fn flush(&mut self) -> Outcome {
        let mut sent = 0;
        let outcome = loop {
            if sent == self.output.len() {
                break Outcome::Keep;
            }
            // A caller that hung up must not raise SIGPIPE: it is ignored in PID 1.
            match rustix::io::write(&self.stream, &self.output[sent..]) {
                Ok(length) => sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break Outcome::Keep,
                Err(_) => break Outcome::Close,
            }
        };
        self.output.drain(..sent);
        if self.output.is_empty() {
            self.output.shrink_to(MAX_REQUEST_BYTES);
        }
        outcome
    }
}
