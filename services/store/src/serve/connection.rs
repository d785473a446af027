//! One caller: bytes in, bytes out, and what it waits for. Nobody is waited for.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use api::wire::{Reply, encode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use store_api::Refusal;
use store_api::wire::{CHUNK_BYTES, EventsCall, MAX_REQUEST_BYTES};

use super::caller::Caller;

/// The longest request of a service: a value of 64 KiB, escaped as wastefully as possible.
const MAX_SERVICE_REQUEST_BYTES: usize = 512 << 10;
/// A caller that leaves more than this unread while it follows something is dropped.
const MAX_UNREAD_BYTES: usize = 4 << 20;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) user: u32,
    pub(super) caller: Arc<Caller>,
    input: Vec<u8>,
    /// How much of `input` was searched for the end of a message.
    searched: usize,
    output: Vec<u8>,
    pub(super) state: State,
    /// What was uploaded, and its length.
    pub(super) upload: Option<(File, u64)>,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) enum State {
    /// It may call.
    Idle,
    /// Its call is under way.
    Waiting { oneway: bool },
    /// It takes news until it hangs up.
    Following(Follow),
    /// It takes a file.
    Sending(File),
}

/// What a connection follows.
#[derive(Debug)]
pub(super) enum Follow {
    /// Keys; `since`: the version up to which it knows everything.
    Keys { prefix: String, since: u64 },
    /// Events; `since`: the last one that it was asked about.
    Events { filter: EventsCall, since: u64 },
    /// The configuration; the generation that it has.
    Configuration { generation: u64 },
    /// Its status; what it was told last.
    Status { last: Value },
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Close,
    Keep,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, user: u32, caller: Arc<Caller>) -> Self {
        Self {
            stream,
            user,
            caller,
            input: Vec::new(),
            searched: 0,
            output: Vec::new(),
            state: State::Idle,
            upload: None,
        }
    }

    pub(super) fn wants_to_read(&self) -> bool {
        !matches!(self.state, State::Waiting { .. } | State::Sending(_))
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reads what has come, up to the longest message that is allowed.
    pub(super) fn receive(&mut self) -> Outcome {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Outcome::Close,
            // Whoever follows something has nothing more to say.
            Ok(_) if matches!(self.state, State::Following(_)) => Outcome::Close,
            Ok(length) => {
                self.input.extend_from_slice(&chunk[..length]);
                Outcome::Keep
            }
            Err(error) if waits(&error) => Outcome::Keep,
            Err(_) => Outcome::Close,
        }
    }

    /// The next whole message. `Err(())`: it is longer than allowed.
    pub(super) fn next_message(&mut self) -> Option<Result<Vec<u8>, ()>> {
        let unsearched = &self.input[self.searched..];
        if let Some(length) = unsearched.iter().position(|byte| *byte == 0) {
            let end = self.searched + length;
            self.searched = 0;
            let mut message: Vec<u8> = self.input.drain(..=end).collect();
            message.pop();
            if self.input.is_empty() {
                self.input.shrink_to(4096);
            }
            return Some(Ok(message));
        }
        self.searched = self.input.len();
        let limit = if self.caller.is_administrator() || self.caller.service == "provision" {
            MAX_REQUEST_BYTES
        } else {
            MAX_SERVICE_REQUEST_BYTES
        };
        (self.input.len() > limit).then_some(Err(()))
    }

    /// Whether a whole message may lie in the buffer.
    pub(super) fn has_unsearched(&self) -> bool {
        matches!(self.state, State::Idle) && self.input.len() > self.searched
    }

    /// Answers the call that is under way.
    pub(super) fn answer(&mut self, answer: Result<Value, Refusal>) -> Outcome {
        let state = std::mem::replace(&mut self.state, State::Idle);
        if matches!(state, State::Waiting { oneway: true }) {
            return Outcome::Keep;
        }
        let (parameters, error) = match answer {
            Ok(parameters) => (parameters, None),
            Err(refusal) => {
                let (name, parameters) = refusal.to_wire();
                (parameters, Some(name))
            }
        };
        self.push(&Reply {
            parameters: Some(parameters),
            continues: false,
            error,
        });
        self.flush()
    }

    /// One more reply to the call that is under way; the caller is dropped when it reads too slowly.
    pub(super) fn news(&mut self, parameters: Value) -> Outcome {
        if self.output.len() > MAX_UNREAD_BYTES {
            return Outcome::Close;
        }
        self.push(&Reply {
            parameters: Some(parameters),
            continues: true,
            error: None,
        });
        self.flush()
    }

    /// Writes as much as the caller takes.
    pub(super) fn flush(&mut self) -> Outcome {
        loop {
            let mut sent = 0;
            while sent < self.output.len() {
                match self.stream.write(&self.output[sent..]) {
                    Ok(0) => return Outcome::Close,
                    Ok(length) => sent += length,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if waits(&error) => {
                        self.output.drain(..sent);
                        return Outcome::Keep;
                    }
                    Err(_) => return Outcome::Close,
                }
            }
            self.output.clear();
            self.output.shrink_to(4096);
            if !self.refill() {
                return Outcome::Keep;
            }
        }
    }

    /// The next part of the file that is being sent.
    fn refill(&mut self) -> bool {
        let State::Sending(file) = &mut self.state else {
            return false;
        };
        let mut chunk = Vec::new();
        let read = file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
        let reply = match read {
            Ok(length) => Reply {
                parameters: Some(json!({ "chunk": BASE64.encode(&chunk) })),
                continues: length > 0,
                error: None,
            },
            Err(error) => {
                let reason = error.to_string();
                let (name, parameters) = Refusal::StorageFailed { reason }.to_wire();
                Reply {
                    parameters: Some(parameters),
                    continues: false,
                    error: Some(name),
                }
            }
        };
        if !reply.continues {
            self.state = State::Idle;
        }
        self.push(&reply);
        true
    }

    fn push(&mut self, reply: &Reply) {
        self.output.extend_from_slice(&encode(reply));
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
