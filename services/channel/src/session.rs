use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::Config;
use crate::core::Relay;
use crate::port::{self, Moved};

/// One host's session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    relay: Relay,
    init: Option<OwnedFd>,
}

impl Session {
    /// Waits until something can be moved. True: the service shall stop.
    pub(crate) fn wait(
        &self,
        port: &OwnedFd,
        shutdown: &impl AsFd,
        limit: Duration,
    ) -> io::Result<bool> {
        let flags = |room: usize, waiting: &[u8]| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, room > 0);
            flags.set(PollFlags::OUT, !waiting.is_empty());
            flags
        };
        let (relay, mut fds) = (&self.relay, Vec::with_capacity(3));
        fds.push(PollFd::new(shutdown, PollFlags::IN));
        let of_port = flags(relay.room_from_host(), relay.to_host());
        fds.push(PollFd::new(port, of_port));
        if let Some(init) = &self.init {
            let of_init = flags(relay.room_from_init(), relay.to_init());
            // A hang-up is reported asked or not: it can wait until there is room for what PID 1
            // said before.
            if !of_init.is_empty() {
                fds.push(PollFd::new(init, of_init));
            }
        }
        port::wait(&mut fds, limit)?;
        Ok(fds[0].revents().contains(PollFlags::IN))
    }

    /// Moves what can be moved without waiting. Only the port's own errors are errors.
    pub(crate) fn relay(&mut self, port: &OwnedFd, config: &Config) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let room = self.relay.room_from_host().min(buffer.len());
        if let Moved::Bytes(count) = port::read(port, &mut buffer[..room])? {
            self.relay.from_host(&buffer[..count]);
        }
        if let Err(error) = self.exchange_with_init(config, &mut buffer) {
            tracing::warn!(%error, "PID 1 does not answer");
            self.init = None;
            self.relay.init_lost(&error.to_string());
        }
        if let Moved::Bytes(count) = port::write(port, self.relay.to_host())? {
            self.relay.sent_to_host(count);
        }
        Ok(())
    }

    fn exchange_with_init(&mut self, config: &Config, buffer: &mut [u8]) -> io::Result<()> {
        let init = match self.init.take() {
            Some(init) => init,
            // A connection is made when there is something to say.
            None if self.relay.to_init().is_empty() => return Ok(()),
            None => port::connect_to_init(&config.init)?,
        };
        let closed = || io::Error::other("PID 1 closed the connection");
        // Answers first: they may be what PID 1 said before it closed.
        let room = self.relay.room_from_init().min(buffer.len());
        match port::read(&init, &mut buffer[..room])? {
            Moved::Bytes(count) => self.relay.from_init(&buffer[..count]),
            Moved::Nothing => {}
            Moved::End => return Err(closed()),
        }
        match port::write(&init, self.relay.to_init())? {
            Moved::Bytes(count) => self.relay.sent_to_init(count),
            Moved::Nothing => {}
            Moved::End => return Err(closed()),
        }
        self.init = Some(init);
        Ok(())
    }
}
