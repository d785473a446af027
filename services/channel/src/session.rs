use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};

use crate::port::{self, Moved};
use crate::relay::Relay;

/// One host's session with the service behind a port.
#[derive(Debug)]
pub(crate) struct Session {
    relay: Box<dyn Relay>,
    back: Option<OwnedFd>,
}

impl Session {
    pub(crate) fn new(relay: Box<dyn Relay>) -> Self {
        Self { relay, back: None }
    }

    /// Adds what has to be waited for until something can be moved.
    pub(crate) fn wanted<'a>(&'a self, port: BorrowedFd<'a>, fds: &mut Vec<PollFd<'a>>) {
        let flags = |room: usize, waiting: &[u8]| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, room > 0);
            flags.set(PollFlags::OUT, !waiting.is_empty());
            flags
        };
        let relay = &self.relay;
        let of_port = flags(relay.room_from_host(), relay.to_host());
        fds.push(PollFd::from_borrowed_fd(port, of_port));
        if let Some(back) = &self.back {
            let of_back = flags(relay.room_from_back(), relay.to_back());
            // A hang-up is reported asked or not: it can wait until there is room for what the
            // service said before.
            if !of_back.is_empty() {
                fds.push(PollFd::new(back, of_back));
            }
        }
    }

    /// Moves what can be moved without waiting. Only the port's own errors are errors.
    pub(crate) fn relay(&mut self, port: impl AsFd, service: &Path) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let room = self.relay.room_from_host().min(buffer.len());
        if let Moved::Bytes(count) = port::read(&port, &mut buffer[..room])? {
            self.relay.host_sent(&buffer[..count]);
            if self.relay.begins_anew() {
                self.back = None;
            }
        }
        if let Err(error) = self.exchange(service, &mut buffer) {
            tracing::warn!(service = %service.display(), %error, "no answer");
            self.back = None;
            self.relay.back_lost(&error.to_string());
        }
        if let Moved::Bytes(count) = port::write(port, self.relay.to_host())? {
            self.relay.sent_to_host(count);
        }
        Ok(())
    }

    fn exchange(&mut self, service: &Path, buffer: &mut [u8]) -> io::Result<()> {
        let back = match self.back.take() {
            Some(back) => back,
            // A connection is made when there is something to say.
            None if self.relay.to_back().is_empty() => return Ok(()),
            None => port::connect(service)?,
        };
        let closed = || io::Error::other("the service closed the connection");
        // Answers first: they may be what the service said before it closed.
        let room = self.relay.room_from_back().min(buffer.len());
        match port::read(&back, &mut buffer[..room])? {
            Moved::Bytes(count) => {
                (self.relay.back_sent(&buffer[..count])).map_err(io::Error::other)?;
            }
            Moved::Nothing => {}
            Moved::End => return Err(closed()),
        }
        match port::write(&back, self.relay.to_back())? {
            Moved::Bytes(count) => self.relay.sent_to_back(count),
            Moved::Nothing => {}
            Moved::End => return Err(closed()),
        }
        self.back = Some(back);
        Ok(())
    }
}
