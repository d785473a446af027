//! Long work: what it is, how far it is, the bytes that go in or come out.
//!
//! Bytes are fetched and brought by calls (`Read`, `Write`), not sent: so the slower side sets the
//! pace, nothing piles up, and it works over a bus that can't pass descriptors, e.g. one that is
//! reached through a virtual machine's port.

mod pipe;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::Error;
use crate::caller::Caller;
use crate::hub::lock;
pub(crate) use pipe::{Source, Target};

/// Jobs at a time, of everybody together and of one user.
const RUNNING: usize = 8;
const RUNNING_PER_USER: usize = 4;
/// Chunks between the two sides.
const CHUNKS: usize = 4;
/// A call brings or takes at most so many bytes.
pub(crate) const CHUNK_MAX_BYTES: usize = 256 << 10;

/// All jobs that have not been forgotten.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    last: AtomicU64,
    list: Mutex<Vec<Arc<Job>>>,
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) number: u64,
    /// E.g. `backup`.
    pub(crate) kind: &'static str,
    pub(crate) owner: Arc<Caller>,
    bytes: AtomicU64,
    state: Mutex<State>,
    /// What comes out; gone when the job is cancelled.
    output: AsyncMutex<Option<Receiver<Vec<u8>>>>,
    /// What goes in; gone when all is in, or the job is cancelled.
    input: Mutex<Option<Sender<Option<Vec<u8>>>>>,
}

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Running,
    /// With its result, as JSON.
    Done(String),
    /// With the error's name and text.
    Failed(String),
    Cancelled,
}

impl State {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Its result, or why there is none.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Done(text) | Self::Failed(text) => text,
            Self::Running | Self::Cancelled => "",
        }
    }
}

/// The job's own side of its two pipes.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) source: Source,
    pub(crate) target: Target,
}

impl Jobs {
    /// Makes a job, if there are not too many.
    pub(crate) fn begin(
        &self,
        kind: &'static str,
        owner: Arc<Caller>,
    ) -> Result<(Arc<Job>, Ends), Error> {
        let mut list = lock(&self.list);
        let running = list.iter().filter(|job| job.state() == State::Running);
        let of_user = running.clone().filter(|job| job.owner.uid == owner.uid);
        if of_user.count() >= RUNNING_PER_USER || running.count() >= RUNNING {
            return Err(Error::LimitExceeded(
                "too many jobs are running: wait for one, or cancel it".into(),
            ));
        }
        let (to_owner, output) = channel(CHUNKS);
        let (input, from_owner) = channel(CHUNKS);
        let job = Arc::new(Job {
            number: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            kind,
            owner,
            bytes: AtomicU64::new(0),
            state: Mutex::new(State::Running),
            output: AsyncMutex::new(Some(output)),
            input: Mutex::new(Some(input)),
        });
        list.push(Arc::clone(&job));
        let ends = Ends {
            source: Source::new(from_owner),
            target: Target::new(to_owner),
        };
        Ok((job, ends))
    }

    /// Its age is up.
    pub(crate) fn forget(&self, number: u64) {
        lock(&self.list).retain(|job| job.number != number);
    }

    /// The owner's connection is gone.
    pub(crate) fn abandon(&self, owner: &str) {
        for job in lock(&self.list)
            .iter()
            .filter(|job| job.owner.name == owner)
        {
            job.cancel();
        }
    }

    pub(crate) fn abandon_all(&self) {
        for job in lock(&self.list).iter() {
            job.cancel();
        }
    }
}

impl Job {
    pub(crate) fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// Bytes that went in or came out so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The first end counts: a job that was cancelled does not fail as well.
    pub(crate) fn end(&self, state: State) {
        let mut current = lock(&self.state);
        if *current == State::Running {
            *current = state;
        }
    }

    /// Closes both pipes; the work ends at the next byte.
    pub(crate) fn cancel(&self) {
        self.end(State::Cancelled);
        lock(&self.input).take();
        if let Ok(mut output) = self.output.try_lock() {
            output.take();
        }
    }

    /// The next bytes; none: the end. Waits for them.
    pub(crate) async fn read(&self) -> Result<Vec<u8>, Error> {
        let mut output = self.output.try_lock().map_err(|_| {
            Error::Conflict("another call reads this job already: wait for its answer".into())
        })?;
        let chunk = match output.as_mut() {
            Some(output) => output.recv().await.unwrap_or_default(),
            None => Vec::new(),
        };
        if self.state() == State::Cancelled {
            output.take();
        }
        self.count(chunk.len());
        Ok(chunk)
    }

    /// Brings bytes; waits until there is room.
    pub(crate) async fn write(&self, chunk: Vec<u8>) -> Result<(), Error> {
        let over = || Error::Conflict("this job takes no more bytes".into());
        if chunk.len() > CHUNK_MAX_BYTES {
            return Err(Error::InvalidArgument(format!(
                "at most {CHUNK_MAX_BYTES} bytes at a time"
            )));
        }
        let input = lock(&self.input).clone().ok_or_else(over)?;
        self.count(chunk.len());
        input.send(Some(chunk)).await.map_err(|_| over())
    }

    /// All bytes were brought. An input that ends without this was cut off.
    pub(crate) async fn finish(&self) {
        let input = lock(&self.input).take();
        if let Some(input) = input {
            input.send(None).await.ok();
        }
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn owner(uid: u32) -> Arc<Caller> {
        Arc::new(Caller::new(&format!(":1.{uid}"), uid, vec![], None))
    }

    #[test]
    fn one_user_does_not_take_every_job() {
        let jobs = Jobs::default();
        for _ in 0..RUNNING_PER_USER {
            jobs.begin("verify", owner(1)).unwrap();
        }
        assert!(matches!(
            jobs.begin("verify", owner(1)),
            Err(Error::LimitExceeded(_))
        ));
        let (other, _) = jobs.begin("verify", owner(2)).unwrap();
        jobs.abandon(":1.1");
        jobs.begin("verify", owner(1)).unwrap();
        assert_eq!(other.state(), State::Running);
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_end() {
        let jobs = Jobs::default();
        let (job, mut ends) = jobs.begin("echo", owner(1)).unwrap();
        let work = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            ends.source.read_to_end(&mut all).unwrap();
            ends.target.write_all(&all).unwrap();
        });
        job.write(vec![1, 2]).await.unwrap();
        job.write(vec![3]).await.unwrap();
        job.finish().await;
        assert_eq!(job.read().await.unwrap(), [1, 2, 3]);
        assert_eq!(job.read().await.unwrap(), [0_u8; 0]);
        work.await.unwrap();
        assert!(job.write(vec![4]).await.is_err());
        assert!(job.write(vec![0; CHUNK_MAX_BYTES + 1]).await.is_err());
    }

    #[tokio::test]
    async fn a_cancelled_job_lets_go_of_its_worker() {
        let jobs = Jobs::default();
        let (job, mut ends) = jobs.begin("backup", owner(1)).unwrap();
        let work = tokio::task::spawn_blocking(move || {
            while ends.target.write_all(&[0; 1000]).is_ok() {}
            ends.source.read(&mut [0])
        });
        assert_eq!(job.read().await.unwrap().len(), 1000);
        job.cancel();
        let error = work.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
        job.end(State::Done(String::new()));
        assert_eq!(job.state(), State::Cancelled);
    }
}
