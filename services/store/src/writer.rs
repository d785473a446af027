//! The one thread that writes: whatever has been asked for while it was busy shares one durable
//! transaction, and nobody is answered before that is on disk.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use store_api::Refusal;

use crate::engine::{Batch, Engine, Fail, Notice};
use crate::figures::Figures;
use crate::moment;

/// Requests that wait for the disk: more than there can be callers.
const QUEUE: usize = 256;
/// Requests that share a transaction.
const BATCH_MAX: usize = 256;

/// A part of a transaction.
pub(crate) type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Result<Value, Fail> + Send>;

/// Whom an answer is for.
pub(crate) type Ticket = u64;
/// Nobody.
pub(crate) const NOBODY: Ticket = 0;

/// What a transaction led to.
pub(crate) struct Committed {
    pub(crate) answers: Vec<(Ticket, Result<Value, Refusal>)>,
    pub(crate) notices: Vec<Notice>,
    /// The disk failed: the store cannot go on with this file.
    pub(crate) failure: Option<String>,
}

/// Where to send writes.
///
/// When it is dropped, what was asked for is still written.
pub(crate) struct Writer {
    queue: Option<SyncSender<(Ticket, Job)>>,
    thread: Option<JoinHandle<()>>,
    busy_since: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread. `tell` is called after each transaction.
    pub(crate) fn start(
        engine: Arc<Engine>,
        figures: Arc<Mutex<Figures>>,
        tell: impl Fn(Committed) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let busy_since = Arc::new(Mutex::new(None));
        let busy = Arc::clone(&busy_since);
        let work = move || run(&engine, &jobs, &busy, &figures, &tell);
        let thread = thread::Builder::new().name("writer".into()).spawn(work)?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            busy_since,
        })
    }

    /// Queues a write; false when the queue is full.
    #[must_use]
    pub(crate) fn send(&self, ticket: Ticket, job: Job) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.try_send((ticket, job)).is_ok())
    }

    /// How long the present transaction has been under way.
    pub(crate) fn busy_for(&self) -> Duration {
        let since = self
            .busy_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but that it panicked, which the log has said.
            thread.join().ok();
        }
    }
}

fn run(
    engine: &Engine,
    jobs: &Receiver<(Ticket, Job)>,
    busy: &Mutex<Option<Instant>>,
    figures: &Mutex<Figures>,
    tell: &impl Fn(Committed),
) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(BATCH_MAX - 1));
        let started = Instant::now();
        *busy.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        let committed = commit(engine, batch);
        *busy.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let writes = committed
            .answers
            .iter()
            .filter(|(_, answer)| answer.is_ok());
        figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .commit(started.elapsed(), writes.count());
        let is_over = committed.failure.is_some();
        tell(committed);
        if is_over {
            return;
        }
    }
}

fn commit(engine: &Engine, jobs: Vec<(Ticket, Job)>) -> Committed {
    let mut tickets: Vec<Ticket> = jobs.iter().map(|(ticket, _)| *ticket).collect();
    let done = engine.write(&moment::stamp(), |batch| {
        let mut answers = Vec::with_capacity(jobs.len());
        for (ticket, job) in jobs {
            match job(batch) {
                Ok(value) => answers.push((ticket, Ok(value))),
                Err(Fail::Refused(refusal)) => answers.push((ticket, Err(refusal))),
                Err(other) => return Err(other),
            }
        }
        Ok((answers, batch.take_notices()))
    });
    match done {
        Ok((answers, notices)) => Committed {
            answers,
            notices,
            failure: None,
        },
        Err(error) => {
            let reason = runtime::Chain(&error).to_string();
            let refusal = Refusal::StorageFailed {
                reason: reason.clone(),
            };
            Committed {
                answers: tickets
                    .drain(..)
                    .map(|ticket| (ticket, Err(refusal.clone())))
                    .collect(),
                notices: Vec::new(),
                failure: Some(reason),
            }
        }
    }
}
