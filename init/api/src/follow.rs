use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::client::{CallError, Client, Stream, interpret};
use crate::wire::{EventsReply, LogsReply};
use crate::{Event, LogLine};

/// A log that is being followed.
#[derive(Debug)]
pub struct Follow<S = UnixStream> {
    client: Client<S>,
}

impl<S: Stream> Follow<S> {
    pub(crate) fn over(client: Client<S>) -> Self {
        Self { client }
    }

    /// The next lines; none when no line came within `wait`. The first lot are the lines that were
    /// there already.
    ///
    /// # Errors
    /// When PID 1 hung up, e.g. since this reader was too slow.
    pub fn next_lines(&mut self, wait: Duration) -> Result<Vec<LogLine>, CallError> {
        let reply = next::<LogsReply, S>(&mut self.client, wait)?;
        Ok(reply.map_or_else(Vec::new, |reply| reply.lines))
    }
}

/// PID 1's notes that are being followed.
#[derive(Debug)]
pub struct FollowEvents<S = UnixStream> {
    client: Client<S>,
}

impl<S: Stream> FollowEvents<S> {
    pub(crate) fn over(client: Client<S>) -> Self {
        Self { client }
    }

    /// The stream below, to poll it.
    pub fn stream(&self) -> &S {
        self.client.stream()
    }

    /// The next events; none when none came within `wait`. The first lot are those that were there
    /// already. A gap in the numbers means that events were lost.
    ///
    /// # Errors
    /// When PID 1 hung up, e.g. since this reader was too slow: connect again and ask from the next
    /// number on.
    pub fn next_events(&mut self, wait: Duration) -> Result<Vec<Event>, CallError> {
        let reply = next::<EventsReply, S>(&mut self.client, wait)?;
        Ok(reply.map_or_else(Vec::new, |reply| reply.events))
    }
}

fn next<R: DeserializeOwned, S: Stream>(
    client: &mut Client<S>,
    wait: Duration,
) -> Result<Option<R>, CallError> {
    match client.receive(Instant::now() + wait) {
        Ok(reply) => interpret(reply).map(Some),
        Err(CallError::Deadline) => Ok(None),
        Err(error) => Err(error),
    }
}
