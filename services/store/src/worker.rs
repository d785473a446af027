//! The thread for what takes long: documents, backups, snapshots, checks of the whole log. One at a
//! time, and only a few wait.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use serde_json::Value;
use store_api::Refusal;

use crate::engine::Engine;
use crate::writer::{Job, Ticket};

const QUEUE: usize = 8;

/// Something that takes long.
pub(crate) type Task = Box<dyn FnOnce(&Engine) -> Done + Send>;

/// What it led to.
pub(crate) enum Done {
    /// An answer.
    Reply(Result<Value, Refusal>),
    /// Something to write, which gives the answer.
    Write(Job),
    /// A file to send.
    File(File),
}

/// Where to send what takes long.
///
/// When it is dropped, what was asked for is still done.
pub(crate) struct Worker {
    queue: Option<SyncSender<(Ticket, Task)>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the thread. `tell` is called after each task.
    pub(crate) fn start(
        engine: Arc<Engine>,
        tell: impl Fn(Ticket, Done) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, tasks): (_, Receiver<(Ticket, Task)>) = sync_channel(QUEUE);
        let work = move || {
            for (ticket, task) in tasks {
                tell(ticket, task(&engine));
            }
        };
        let thread = thread::Builder::new().name("worker".into()).spawn(work)?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Queues a task; false when too many wait.
    #[must_use]
    pub(crate) fn send(&self, ticket: Ticket, task: Task) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.try_send((ticket, task)).is_ok())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but that it panicked, which the log has said.
            thread.join().ok();
        }
    }
}
