use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::wire::{Call, Reply, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{INTERFACE, Refusal};

/// The longest reply that a client reads.
const MAX_REPLY_BYTES: usize = api::wire::MAX_REPLY_BYTES;
/// A time-out of zero means "for ever" to setsockopt(2).
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Calls and their answers over one socket.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    pub(crate) deadline: Duration,
    received: Vec<u8>,
    /// A reply may still be under way from a call that ran out of time.
    out_of_step: bool,
}

impl Connection {
    pub(crate) fn open(path: &Path, deadline: Duration) -> Result<Self, ConnectError> {
        let stream = UnixStream::connect(path).map_err(|source| ConnectError {
            path: path.into(),
            source,
        })?;
        Ok(Self::over(stream, deadline))
    }

    pub(crate) fn over(stream: UnixStream, deadline: Duration) -> Self {
        Self {
            stream,
            deadline,
            received: Vec::new(),
            out_of_step: false,
        }
    }

    pub(crate) fn call<R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<R, CallError> {
        if self.out_of_step {
            return Err(CallError::OutOfStep);
        }
        self.out_of_step = true;
        let end = Instant::now() + self.deadline;
        self.send(method, parameters, false, end)?;
        let reply = self.receive(end)?;
        self.out_of_step = false;
        interpret(reply)
    }

    pub(crate) fn stream<T>(
        mut self,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<Stream<T>, CallError> {
        if self.out_of_step {
            return Err(CallError::OutOfStep);
        }
        let end = Instant::now() + self.deadline;
        self.send(method, parameters, true, end)?;
        Ok(Stream {
            connection: self,
            is_over: false,
            item: PhantomData,
        })
    }

    fn send(
        &mut self,
        method: &str,
        parameters: impl Serialize,
        more: bool,
        end: Instant,
    ) -> Result<(), CallError> {
        let message = encode(&Call {
            method: format!("{INTERFACE}.{method}"),
            parameters: Some(parameters),
            more,
            oneway: false,
        });
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            let wait = Some(remaining(end)?);
            self.stream
                .set_write_timeout(wait)
                .map_err(CallError::Send)?;
            match self.stream.write(rest) {
                Ok(0) => return Err(CallError::Send(io::ErrorKind::WriteZero.into())),
                Ok(written) => rest = &rest[written..],
                Err(error) if waits(&error) => {}
                Err(error) => return Err(CallError::Send(error)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, end: Instant) -> Result<Reply, CallError> {
        let mut searched = 0;
        loop {
            let unsearched = &self.received[searched..];
            if let Some(length) = unsearched.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.received.drain(..=searched + length).collect();
                let json = &message[..message.len() - 1];
                return serde_json::from_slice(json).map_err(CallError::Syntax);
            }
            searched = self.received.len();
            if searched > MAX_REPLY_BYTES {
                return Err(CallError::TooLong);
            }
            let wait = Some(remaining(end)?);
            self.stream
                .set_read_timeout(wait)
                .map_err(CallError::Receive)?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(CallError::HungUp),
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) if waits(&error) => {}
                Err(error) => return Err(CallError::Receive(error)),
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Replies that keep coming. Its descriptor becomes readable when there may be one.
#[derive(Debug)]
pub struct Stream<T> {
    connection: Connection,
    is_over: bool,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Stream<T> {
    /// The next one; `None` when none came within `wait`, or after the last one. Several may lie
    /// ready: after the descriptor became readable call it with [`Duration::ZERO`] until `None`.
    ///
    /// # Errors
    /// When the store hung up (connect again), or refused the call.
    pub fn next(&mut self, wait: Duration) -> Result<Option<T>, CallError> {
        if self.is_over {
            return Ok(None);
        }
        match self
            .connection
            .receive(Instant::now() + wait.max(SHORTEST_WAIT))
        {
            Ok(reply) => {
                self.is_over = !reply.continues;
                interpret(reply).map(Some)
            }
            Err(CallError::Deadline) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the last one was taken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

impl<T> AsFd for Stream<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to the store at {path}")]
pub struct ConnectError {
    path: PathBuf,
    source: io::Error,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in time.
    #[error("the store did not answer in time")]
    Deadline,
    /// The other side closed the connection.
    #[error("the store closed the connection")]
    HungUp,
    /// The connection was used again after a call that ran out of time.
    #[error("an earlier call ran out of time: connect again")]
    OutOfStep,
    /// Reading failed.
    #[error("cannot read from the store")]
    Receive(#[source] io::Error),
    /// The store said no.
    #[error("the store refused")]
    Refused(#[source] Refusal),
    /// Writing failed.
    #[error("cannot write to the store")]
    Send(#[source] io::Error),
    /// The answer is no Varlink reply, or not the one that belongs to the call.
    #[error("the store's answer makes no sense")]
    Syntax(#[source] serde_json::Error),
    /// The answer is too long.
    #[error("the store's answer is longer than {MAX_REPLY_BYTES} bytes")]
    TooLong,
}

impl CallError {
    /// What the store said, when it answered at all.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

fn interpret<R: DeserializeOwned>(reply: Reply) -> Result<R, CallError> {
    let parameters = reply
        .parameters
        .unwrap_or_else(|| Value::Object(Map::new()));
    match reply.error {
        Some(error) => Err(CallError::Refused(Refusal::from_wire(error, parameters))),
        None => serde_json::from_value(parameters).map_err(CallError::Syntax),
    }
}

fn remaining(end: Instant) -> Result<Duration, CallError> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(CallError::Deadline);
    }
    Ok(left)
}

fn waits(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose other end has said `answer`.
    fn answered(answer: &[u8]) -> (Connection, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answer).unwrap();
        (Connection::over(ours, Duration::from_millis(50)), theirs)
    }

    #[test]
    fn refusals_are_errors_of_their_own() {
        let answer = br#"{"error":"org.x0tta6bl4.Store.NotPending","parameters":{"generation":7}}"#;
        let (mut connection, _theirs) = answered(&[answer, b"\0".as_slice()].concat());
        let error = connection.call::<Value>("Confirm", ()).unwrap_err();
        assert_eq!(
            error.refusal(),
            Some(&Refusal::NotPending { generation: 7 })
        );
    }

    #[test]
    fn silence_ends_at_the_deadline_and_the_connection_says_so() {
        let (mut connection, _theirs) = answered(b"{\"parameters\"");
        let error = connection.call::<Value>("Get", ()).unwrap_err();
        assert!(matches!(error, CallError::Deadline), "{error}");
        let error = connection.call::<Value>("Get", ()).unwrap_err();
        assert!(matches!(error, CallError::OutOfStep), "{error}");
    }

    #[test]
    fn nonsense_and_hang_ups_are_errors() {
        let (mut connection, _theirs) = answered(b"nonsense\0");
        let error = connection.call::<Value>("Get", ()).unwrap_err();
        assert!(matches!(error, CallError::Syntax(_)), "{error}");
        let (connection, theirs) = answered(b"");
        let mut stream = connection.stream::<Value>("Watch", ()).unwrap();
        assert!(stream.next(Duration::ZERO).unwrap().is_none());
        drop(theirs);
        let error = stream.next(Duration::ZERO).unwrap_err();
        assert!(
            matches!(error, CallError::HungUp | CallError::Receive(_)),
            "{error}"
        );
    }
}
