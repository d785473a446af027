use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::PollFd;

use crate::RunError;
use crate::config::Ends;
use crate::port::{self, Moved};
use crate::relay::Relay;
use crate::session::Session;

/// A port, with the session of the host that is connected.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    name: &'static str,
    ends: &'a Ends,
    relay: fn() -> Box<dyn Relay>,
    pub(crate) port: Option<OwnedFd>,
    host: bool,
    session: Session,
}

impl<'a> Link<'a> {
    /// `relay` makes what a new session begins with.
    pub(crate) fn new(name: &'static str, ends: &'a Ends, relay: fn() -> Box<dyn Relay>) -> Self {
        Self {
            name,
            ends,
            relay,
            port: None,
            host: false,
            session: Session::new(relay()),
        }
    }

    /// Opens the port if it is there.
    pub(crate) fn open(&mut self) -> Result<(), RunError> {
        if self.port.is_none() && self.ends.port.exists() {
            self.port = Some(port::open(&self.ends.port).map_err(|error| self.failed(error))?);
        }
        Ok(())
    }

    /// Looks whether a host is connected, and forgets the session of one that was.
    pub(crate) fn look(&mut self) -> Result<bool, RunError> {
        let Some(port) = &self.port else {
            return Ok(false);
        };
        let host = port::host_is_there(port).map_err(|error| self.failed(error))?;
        if host != self.host {
            self.host = host;
            tracing::info!(port = self.name, host, "management channel");
            if !host {
                // What a host sent before it left is forgotten with it. Later than now the bytes
                // could be those of the next one.
                while let Moved::Bytes(_) =
                    port::read(port, &mut [0; 4096]).map_err(|error| self.failed(error))?
                {
                }
                self.session = Session::new((self.relay)());
            }
        }
        Ok(host)
    }

    /// Adds what has to be waited for while a host is connected.
    pub(crate) fn wanted<'b>(&'b self, fds: &mut Vec<PollFd<'b>>) {
        if let Some(port) = self.port.as_ref().filter(|_| self.host) {
            self.session.wanted(port.as_fd(), fds);
        }
    }

    pub(crate) fn relay(&mut self) -> Result<(), RunError> {
        match &self.port {
            Some(port) if self.host => (self.session)
                .relay(port, &self.ends.service)
                .map_err(|error| self.failed(error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> RunError {
        RunError::Port {
            path: self.ends.port.clone(),
            source,
        }
    }

    /// For the status line.
    pub(crate) fn describe(&self) -> Option<&'static str> {
        self.host.then_some(self.name)
    }
}
