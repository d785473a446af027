//! A D-Bus client for tests and measurements: one that may also misbehave.
//!
//! Responsible for: connecting as any user, messages byte by byte, one at a time, without a
//! runtime, threads or queues that a measurement would see; starting what serves the bus in the
//! way PID 1 does.
//! Not responsible for: anything that a program should use. There are libraries for that.
//! Talks to: whatever serves a bus on a Unix socket.
#![forbid(unsafe_code)]

mod activated;
mod message;
mod user;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use zbus::wire::DynamicType;

pub use activated::Activated;
pub use message::{Kind, Message, Outgoing};
pub use user::{User, run_as};
pub use zbus::wire::Variant;

/// Until an answer has to be there.
const DEADLINE: Duration = Duration::from_secs(20);

/// A connection to a bus.
#[derive(Debug)]
pub struct Peer {
    stream: BufReader<UnixStream>,
    serial: NonZeroU32,
    name: String,
}

impl Peer {
    /// Connects as the user who calls, shakes hands, and says hello.
    ///
    /// # Errors
    /// When there is no bus, or it does not want this user.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        Self::on(UnixStream::connect(socket)?)
    }

    /// Shakes hands on `stream`, and says hello.
    ///
    /// # Errors
    /// When the other side refuses.
    pub fn on(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut peer = Self {
            stream: BufReader::new(stream),
            serial: NonZeroU32::MIN,
            name: String::new(),
        };
        peer.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        for expected in ["DATA", "OK "] {
            let line = peer.line()?;
            if !line.starts_with(expected) {
                return Err(io::Error::other(format!("not `{expected}` but `{line}`")));
            }
        }
        peer.name = peer.driver("Hello", &())?.body::<String>()?;
        Ok(peer)
    }

    /// The unique name that the bus gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls the bus itself.
    ///
    /// # Errors
    /// When there is no answer, or it is an error: then with its name.
    pub fn driver<B: Serialize + DynamicType>(
        &mut self,
        member: &str,
        body: &B,
    ) -> io::Result<Message> {
        let call = Outgoing::driver(member);
        self.call(&call, body)?.into_result()
    }

    /// Sends `message`, and waits for the answer to it, whatever comes in between.
    ///
    /// # Errors
    /// When there is none.
    pub fn call<B: Serialize + DynamicType>(
        &mut self,
        message: &Outgoing<'_>,
        body: &B,
    ) -> io::Result<Message> {
        let serial = self.send(message, body)?;
        loop {
            let answer = self.receive()?;
            if answer.reply_serial == Some(serial) {
                return Ok(answer);
            }
        }
    }

    /// Sends a message, and returns its serial number.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send<B: Serialize + DynamicType>(
        &mut self,
        message: &Outgoing<'_>,
        body: &B,
    ) -> io::Result<u32> {
        self.serial = self.serial.saturating_add(1);
        let bytes = message.encode(self.serial, body)?;
        self.write(&bytes)?;
        Ok(self.serial.get())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When they cannot be sent.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the connection ends, or what comes is no message.
    pub fn receive(&mut self) -> io::Result<Message> {
        Message::read(&mut self.stream)
    }

    /// Waits for the next message into `bytes`, and does not look at it.
    ///
    /// # Errors
    /// When the connection ends, or what comes is no message.
    pub fn receive_bytes(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        message::read_bytes(&mut self.stream, bytes).map(drop)
    }

    /// Reads what is there until the other side closes.
    ///
    /// # Errors
    /// When it does not close in time.
    pub fn until_closed(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(rest),
            result => result.map(|_| rest),
        }
    }

    /// The stream, for what is not foreseen here.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
