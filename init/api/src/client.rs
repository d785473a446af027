use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::wire::{
    Call, DescriptionCall, DescriptionReply, EventsCall, EventsReply, ExplainReply, LogsCall,
    LogsReply, MAX_REPLY_BYTES, PowerCall, Reply, ServiceCall, StatusReply, encode,
};
use crate::{Blame, Event, Explanation, Follow, FollowEvents, INTERFACE, LogLine, Power, Status};

const DEADLINE: Duration = Duration::from_secs(5);

/// What a [`Client`] speaks over.
pub trait Stream: Read + Write {
    /// Makes reads and writes fail with [`io::ErrorKind::WouldBlock`] or
    /// [`io::ErrorKind::TimedOut`] when they take longer.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn limit(&mut self, wait: Duration) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn limit(&mut self, wait: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(wait))?;
        self.set_write_timeout(Some(wait))
    }
}

/// A connection to PID 1. Every call has a deadline, 5 s unless [`Client::deadline`] says
/// otherwise.
#[derive(Debug)]
pub struct Client<S = UnixStream> {
    stream: S,
    deadline: Duration,
    received: Vec<u8>,
    /// A reply may still be under way from a call that ran out of time.
    out_of_step: bool,
}

impl Client<UnixStream> {
    /// Connects to PID 1's socket.
    ///
    /// # Errors
    /// When nobody listens there, or the caller may not.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).map_err(|source| ConnectError {
            path: path.into(),
            source,
        })?;
        Ok(Self::over(stream))
    }
}

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to PID 1 at {path}")]
pub struct ConnectError {
    path: PathBuf,
    source: io::Error,
}

impl<S: Stream> Client<S> {
    /// Speaks over an open stream.
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            deadline: DEADLINE,
            received: Vec::new(),
            out_of_step: false,
        }
    }

    /// Sets the deadline of each call.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The stream below, e.g. to poll it while following a log.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The state of the machine and of every service.
    ///
    /// # Errors
    /// When the call fails.
    pub fn status(&mut self) -> Result<Status, CallError> {
        let reply: StatusReply = self.call(&method("Status"), Map::new())?;
        Ok(reply.status)
    }

    /// The last lines of a service's log.
    ///
    /// # Errors
    /// When the call fails or there is no such service.
    pub fn logs(&mut self, service: &str, lines: u32) -> Result<Vec<LogLine>, CallError> {
        let parameters = LogsCall {
            service: service.into(),
            lines: Some(lines),
        };
        let reply: LogsReply = self.call(&method("Logs"), parameters)?;
        Ok(reply.lines)
    }

    /// The last lines of a service's log, and then each new one. The connection serves nothing else
    /// from here on.
    ///
    /// # Errors
    /// When the call cannot be sent.
    pub fn follow(mut self, service: &str, lines: u32) -> Result<Follow<S>, CallError> {
        let parameters = LogsCall {
            service: service.into(),
            lines: Some(lines),
        };
        let end = self.begin()?;
        self.send(&method("Logs"), parameters, true, end)?;
        Ok(Follow::over(self))
    }

    /// Starts a service, also one that was given up, and what it needs.
    ///
    /// # Errors
    /// When the call fails or there is no such service.
    pub fn start(&mut self, service: &str) -> Result<(), CallError> {
        self.service_call("StartService", service)
    }

    /// Stops a service; what needs it keeps running.
    ///
    /// # Errors
    /// When the call fails or there is no such service.
    pub fn stop(&mut self, service: &str) -> Result<(), CallError> {
        self.service_call("StopService", service)
    }

    /// Restarts a service.
    ///
    /// # Errors
    /// When the call fails or there is no such service.
    pub fn restart(&mut self, service: &str) -> Result<(), CallError> {
        self.service_call("RestartService", service)
    }

    /// Reboots or switches off, after stopping every service.
    ///
    /// # Errors
    /// When the call fails.
    pub fn power(&mut self, action: Power) -> Result<(), CallError> {
        self.call::<Value>(&method("Power"), PowerCall { action })?;
        Ok(())
    }

    /// What took how long at the boot.
    ///
    /// # Errors
    /// When the call fails.
    pub fn blame(&mut self) -> Result<Blame, CallError> {
        self.call(&method("Blame"), Map::new())
    }

    /// What a service may do, and what it was denied.
    ///
    /// # Errors
    /// When the call fails or there is no such service.
    pub fn explain(&mut self, service: &str) -> Result<Explanation, CallError> {
        let service = service.into();
        let reply: ExplainReply = self.call(&method("Explain"), ServiceCall { service })?;
        Ok(reply.explanation)
    }

    /// What PID 1 noted, from event number `first` on.
    ///
    /// # Errors
    /// When the call fails.
    pub fn events(&mut self, first: u64) -> Result<Vec<Event>, CallError> {
        let first = Some(first);
        let reply: EventsReply = self.call(&method("Events"), EventsCall { first })?;
        Ok(reply.events)
    }

    /// What PID 1 noted, from event number `first` on, and then each new event. The connection
    /// serves nothing else from here on.
    ///
    /// # Errors
    /// When the call cannot be sent.
    pub fn follow_events(mut self, first: u64) -> Result<FollowEvents<S>, CallError> {
        let end = self.begin()?;
        let first = Some(first);
        self.send(&method("Events"), EventsCall { first }, true, end)?;
        Ok(FollowEvents::over(self))
    }

    /// Replaces PID 1's program by the one in its place. Returns when the new one works; this
    /// connection stays usable.
    ///
    /// # Errors
    /// When the call fails or PID 1 goes on as it is.
    pub fn reexec(&mut self) -> Result<(), CallError> {
        self.call::<Value>(&method("Reexec"), Map::new()).map(drop)
    }

    /// The description of an interface in Varlink's own notation.
    ///
    /// # Errors
    /// When the call fails or there is no such interface.
    pub fn description(&mut self, interface: &str) -> Result<String, CallError> {
        let parameters = DescriptionCall {
            interface: interface.into(),
        };
        let method = "org.varlink.service.GetInterfaceDescription";
        let reply: DescriptionReply = self.call(method, parameters)?;
        Ok(reply.description)
    }

    /// Calls any method.
    ///
    /// # Errors
    /// When the call fails.
    pub fn call<R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: impl Serialize,
    ) -> Result<R, CallError> {
        let end = self.begin()?;
        self.send(method, parameters, false, end)?;
        let reply = self.receive(end)?;
        self.out_of_step = false;
        interpret(reply)
    }

    fn service_call(&mut self, name: &str, service: &str) -> Result<(), CallError> {
        let parameters = ServiceCall {
            service: service.into(),
        };
        self.call::<Value>(&method(name), parameters)?;
        Ok(())
    }

    fn begin(&mut self) -> Result<Instant, CallError> {
        if self.out_of_step {
            return Err(CallError::OutOfStep);
        }
        self.out_of_step = true;
        Ok(Instant::now() + self.deadline)
    }

    fn send(
        &mut self,
        method: &str,
        parameters: impl Serialize,
        more: bool,
        end: Instant,
    ) -> Result<(), CallError> {
        let message = encode(&Call {
            method: method.into(),
            parameters: Some(parameters),
            more,
            oneway: false,
        });
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            self.stream
                .limit(remaining(end)?)
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

    pub(crate) fn receive(&mut self, end: Instant) -> Result<Reply, CallError> {
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
            self.stream
                .limit(remaining(end)?)
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

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in time.
    #[error("PID 1 did not answer in time")]
    Deadline,
    /// The other side closed the connection.
    #[error("PID 1 closed the connection")]
    HungUp,
    /// The connection was used again after a call that ran out of time.
    #[error("an earlier call ran out of time: connect again")]
    OutOfStep,
    /// Reading failed.
    #[error("cannot read from PID 1")]
    Receive(#[source] io::Error),
    /// PID 1 said no.
    #[error("PID 1 refused: {error} {parameters}")]
    Refused {
        /// The error's name, e.g. `org.x0tta6bl4.Init.ServiceNotFound`.
        error: String,
        /// The error's parameters.
        parameters: Value,
    },
    /// Writing failed.
    #[error("cannot write to PID 1")]
    Send(#[source] io::Error),
    /// The answer is no Varlink reply, or not the one that belongs to the call.
    #[error("PID 1's answer makes no sense")]
    Syntax(#[source] serde_json::Error),
    /// The answer is too long.
    #[error("PID 1's answer is longer than {MAX_REPLY_BYTES} bytes")]
    TooLong,
}

fn method(name: &str) -> String {
    format!("{INTERFACE}.{name}")
}

pub(crate) fn interpret<R: DeserializeOwned>(reply: Reply) -> Result<R, CallError> {
    let parameters = reply
        .parameters
        .unwrap_or_else(|| Value::Object(Map::new()));
    match reply.error {
        Some(error) => Err(CallError::Refused { error, parameters }),
        None => serde_json::from_value(parameters).map_err(CallError::Syntax),
    }
}

fn remaining(end: Instant) -> Result<Duration, CallError> {
    let left = end.saturating_duration_since(Instant::now());
    // A time-out of zero means "for ever" to setsockopt(2).
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
    use std::thread;

    /// A PID 1 that reads one call and sends `answer`.
    fn served(answer: &'static [u8]) -> (Client, thread::JoinHandle<Vec<u8>>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let mut call = Vec::new();
            let mut byte = [0];
            while theirs.read_exact(&mut byte).is_ok() && byte != [0] {
                call.push(byte[0]);
            }
            theirs.write_all(answer).unwrap();
            // Stays open until the client hangs up.
            let hung_up = theirs.read(&mut byte);
            assert!(!matches!(hung_up, Ok(1)), "one call only");
            call
        });
        (
            Client::over(ours).deadline(Duration::from_millis(300)),
            server,
        )
    }

    #[test]
    fn a_call_and_its_answer() {
        let answer = b"{\"parameters\":{\"lines\":[{\"uptime_ms\":7,\"text\":\"hello\"}],\"dropped_bytes\":0}}\0";
        let (mut client, server) = served(answer);
        let lines = client.logs("network", 3).unwrap();
        assert_eq!(lines[0].text, "hello");
        drop(client);
        let call = String::from_utf8(server.join().unwrap()).unwrap();
        let expected =
            r#"{"method":"org.x0tta6bl4.Init.Logs","parameters":{"service":"network","lines":3}}"#;
        assert_eq!(call, expected);
    }

    #[test]
    fn an_empty_answer_is_enough_where_none_is_needed() {
        for answer in [b"{}\0".as_slice(), b"{\"parameters\":{}}\0"] {
            served(answer).0.start("network").unwrap();
        }
    }

    #[test]
    fn refusals_carry_their_name() {
        let (mut client, _server) =
            served(b"{\"error\":\"org.x0tta6bl4.Init.ServiceNotFound\",\"parameters\":{\"service\":\"x\"}}\0");
        let error = client.stop("x").unwrap_err();
        let CallError::Refused { error, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(error, "org.x0tta6bl4.Init.ServiceNotFound");
    }

    #[test]
    fn silence_ends_at_the_deadline_and_the_client_says_so() {
        let (mut client, _server) = served(b"{\"parameters\"");
        assert!(matches!(client.status().unwrap_err(), CallError::Deadline));
        assert!(matches!(client.status().unwrap_err(), CallError::OutOfStep));
    }

    #[test]
    fn nonsense_and_hang_ups_are_errors() {
        let (mut client, _server) = served(b"nonsense\0");
        assert!(matches!(client.status().unwrap_err(), CallError::Syntax(_)));
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let error = Client::over(ours).status().unwrap_err();
        assert!(
            matches!(error, CallError::Send(_) | CallError::HungUp),
            "{error}"
        );
    }
}
