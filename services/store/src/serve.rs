//! The socket: one thread, many callers. It answers reads itself, and hands writes to the writer and
//! what takes long to the worker; so nobody waits for anybody but the disk.

mod answer;
mod caller;
mod connection;
mod editor;
mod effective;
mod limit;
mod maintenance;
pub mod request;
mod spread;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runtime::{Chain, notify};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::sockopt::socket_peercred;
use store_api::Refusal;

pub use caller::{Caller, Callers};

use crate::engine::Engine;
use crate::figures::Figures;
use crate::measurements::Measurements;
use crate::worker::{Done, Worker};
use crate::writer::{Committed, Job, NOBODY, Ticket, Writer};
use connection::{Connection, Outcome, State};
use editor::Editing;
use effective::Effective;
use limit::Limits;

/// Connections at a time, for all callers.
const MAX_CONNECTIONS: usize = 96;
/// Connections of one user.
const MAX_PER_USER: usize = 24;
/// The loop looks around at least so often.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A transaction that takes longer than this means that the disk hangs; PID 1 is not told any more
/// that all is well.
const STUCK: Duration = Duration::from_secs(30);

/// Everything the loop needs.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    connections: BTreeMap<Ticket, Connection>,
    next_ticket: Ticket,
    refused_connections: u64,
    engine: Arc<Engine>,
    writer: Writer,
    worker: Worker,
    news: Receiver<News>,
    wake: Arc<OwnedFd>,
    figures: Arc<Mutex<Figures>>,
    callers: Callers,
    effective: Effective,
    editing: Editing,
    limits: Limits,
    folder: PathBuf,
    measurements: Measurements,
    durable: bool,
    note: String,
    upkeep: maintenance::Upkeep,
}

/// What the other threads have to say.
enum News {
    Committed(Committed),
    Done(Ticket, Done),
}

/// Why the store stops.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Waiting for events failed.
    #[error("cannot wait for callers")]
    Poll(#[source] rustix::io::Errno),
    /// A thread or descriptor could not be made.
    #[error("cannot start")]
    Start(#[source] io::Error),
    /// The disk failed. PID 1 starts the store again, which opens the file at its last commit.
    #[error("the disk failed: {0}")]
    Storage(String),
}

/// What to do about a call.
enum Action {
    Answer(Result<serde_json::Value, Refusal>),
    Write(Job),
    Slow(crate::worker::Task),
    Follow(connection::Follow, Vec<serde_json::Value>),
}

impl Server {
    /// Starts the threads.
    ///
    /// # Errors
    /// When that fails.
    pub fn start(
        listener: UnixListener,
        opened: crate::open::Opened,
        callers: Callers,
        folder: PathBuf,
    ) -> Result<Self, ServeError> {
        listener.set_nonblocking(true).map_err(ServeError::Start)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(|error| ServeError::Start(error.into()))?;
        let wake = Arc::new(wake);
        let engine = Arc::new(opened.engine);
        let figures = Figures::default();
        let measurements = figures.measurements.clone();
        measurements.serve();
        let figures = Arc::new(Mutex::new(figures));
        let (told, news) = channel();
        let tell = teller(&wake, &told);
        let for_writer = move |committed| tell(News::Committed(committed));
        let tell = teller(&wake, &told);
        let for_worker = move |ticket, done| tell(News::Done(ticket, done));
        let writer = Writer::start(Arc::clone(&engine), Arc::clone(&figures), for_writer);
        let worker = Worker::start(Arc::clone(&engine), for_worker);
        let effective = Effective::load(&engine).map_err(ServeError::Storage)?;
        Ok(Self {
            listener,
            connections: BTreeMap::new(),
            next_ticket: NOBODY + 1,
            refused_connections: 0,
            engine,
            writer: writer.map_err(ServeError::Start)?,
            worker: worker.map_err(ServeError::Start)?,
            news,
            wake,
            figures,
            callers,
            effective,
            editing: Editing::default(),
            limits: Limits::default(),
            upkeep: maintenance::Upkeep::new(&folder),
            folder,
            measurements,
            durable: opened.durable,
            note: opened.note,
        })
    }

    /// Serves until `shutdown` becomes readable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn run(&mut self, shutdown: &UnixStream) -> Result<(), ServeError> {
        let watchdog = notify::watchdog_interval();
        let mut petted = Instant::now();
        self.tell_status();
        notify::ready();
        loop {
            self.keep_up();
            let wait = self.wait(watchdog);
            if self.turn(shutdown, wait)? {
                notify::stopping();
                return Ok(());
            }
            if watchdog.is_some_and(|every| petted.elapsed() >= every / 2)
                && self.writer.busy_for() < STUCK
            {
                notify::watchdog();
                petted = Instant::now();
            }
        }
    }

    fn wait(&self, watchdog: Option<Duration>) -> Duration {
        if self.connections.values().any(Connection::has_unsearched) {
            return Duration::ZERO;
        }
        let deadline = self.effective.remaining_ms().map(Duration::from_millis);
        let watchdog = watchdog.map(|every| every / 2);
        [deadline, watchdog]
            .into_iter()
            .flatten()
            .fold(LONGEST_WAIT, Duration::min)
    }

    /// Waits and does what there is to do; true when it is time to stop.
    fn turn(&mut self, shutdown: &UnixStream, wait: Duration) -> Result<bool, ServeError> {
        // Rounded up: a deadline that is a fraction of a millisecond away must not spin.
        let wait = Timespec::try_from(wait + Duration::from_millis(1)).ok();
        let wait = wait.filter(|_| !self.connections.values().any(Connection::has_unsearched));
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let (stop, knock, ready) = {
            let mut fds = vec![
                PollFd::new(&*self.wake, PollFlags::IN),
                PollFd::new(shutdown, PollFlags::IN),
                PollFd::new(&self.listener, PollFlags::IN),
            ];
            let callers = self.connections.values().map(|connection| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, connection.wants_to_read());
                flags.set(PollFlags::OUT, connection.wants_to_write());
                PollFd::from_borrowed_fd(connection.as_fd(), flags)
            });
            fds.extend(callers);
            match poll(&mut fds, Some(&wait.unwrap_or(zero))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(ServeError::Poll(error)),
            }
            let ready: Vec<(Ticket, PollFlags)> = self
                .connections
                .keys()
                .zip(&fds[3..])
                .map(|(ticket, fd)| (*ticket, fd.revents()))
                .collect();
            let is_set = |fd: &PollFd<'_>| !fd.revents().is_empty();
            (is_set(&fds[1]), is_set(&fds[2]), ready)
        };
        self.take_news()?;
        for (ticket, events) in ready {
            self.attend(ticket, events);
        }
        if knock {
            self.accept();
        }
        Ok(stop)
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let user = socket_peercred(&stream).map_or(u32::MAX, |c| c.uid.as_raw());
            let of_user = self.connections.values().filter(|c| c.user == user);
            let is_one_too_many =
                self.connections.len() >= MAX_CONNECTIONS || of_user.count() >= MAX_PER_USER;
            if is_one_too_many || stream.set_nonblocking(true).is_err() {
                self.refused_connections += 1;
                self.measurements.refused_connections.inc();
                continue;
            }
            let caller = self.callers.find(user);
            let connection = Connection::new(stream, user, caller);
            self.connections.insert(self.next_ticket, connection);
            self.next_ticket += 1;
        }
    }

    /// One message of each caller and turn: who sends many waits as long as who sends one.
    fn attend(&mut self, ticket: Ticket, events: PollFlags) {
        let Some(connection) = self.connections.get_mut(&ticket) else {
            return;
        };
        let mut outcome = Outcome::Keep;
        if events.contains(PollFlags::OUT) {
            outcome = connection.flush();
        }
        if outcome == Outcome::Keep && events.contains(PollFlags::IN) {
            outcome = connection.receive();
        } else if events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            outcome = Outcome::Close;
        }
        if outcome == Outcome::Keep && matches!(connection.state, State::Idle) {
            outcome = match connection.next_message() {
                Some(Ok(message)) => self.hear(ticket, &message),
                Some(Err(())) => Outcome::Close,
                None => Outcome::Keep,
            };
        }
        if outcome == Outcome::Close {
            self.close(ticket);
        }
    }

    fn hear(&mut self, ticket: Ticket, message: &[u8]) -> Outcome {
        let Some(connection) = self.connections.get_mut(&ticket) else {
            return Outcome::Keep;
        };
        // Not even Varlink: there is nothing to answer.
        let Some(request) = request::read(message) else {
            return Outcome::Close;
        };
        let caller = Arc::clone(&connection.caller);
        let action = match request {
            Ok(request) => {
                connection.state = State::Waiting {
                    oneway: request.oneway,
                };
                self.act(ticket, &caller, request)
            }
            Err(refusal) => Action::Answer(Err(refusal)),
        };
        match action {
            Action::Answer(answer) => self.answer(ticket, answer),
            Action::Write(job) => {
                if self.writer.send(ticket, job) {
                    return Outcome::Keep;
                }
                let what = "too much writing".into();
                self.answer(ticket, Err(Refusal::Busy { what }))
            }
            Action::Slow(task) => {
                if self.worker.send(ticket, task) {
                    return Outcome::Keep;
                }
                let what = "too much maintenance".into();
                self.answer(ticket, Err(Refusal::Busy { what }))
            }
            Action::Follow(follow, news) => {
                let Some(connection) = self.connections.get_mut(&ticket) else {
                    return Outcome::Keep;
                };
                connection.state = State::Following(follow);
                let mut outcomes = news.into_iter().map(|item| connection.news(item));
                if outcomes.any(|outcome| outcome == Outcome::Close) {
                    return Outcome::Close;
                }
                Outcome::Keep
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<serde_json::Value, Refusal>) -> Outcome {
        match self.connections.get_mut(&ticket) {
            Some(connection) => connection.answer(answer),
            None => Outcome::Keep,
        }
    }

    fn take_news(&mut self) -> Result<(), ServeError> {
        let mut count = [0; 8];
        rustix::io::read(&*self.wake, &mut count).ok();
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Committed(committed) => self.committed(committed)?,
                News::Done(ticket, done) => self.done(ticket, done),
            }
        }
        Ok(())
    }

    fn committed(&mut self, committed: Committed) -> Result<(), ServeError> {
        for (ticket, answer) in committed.answers {
            if let (NOBODY, Err(refusal)) = (ticket, &answer) {
                tracing::debug!(%refusal, "not done");
            }
            if self.answer(ticket, answer) == Outcome::Close {
                self.close(ticket);
            }
        }
        if let Some(reason) = committed.failure {
            return Err(ServeError::Storage(reason));
        }
        self.spread(committed.notices);
        Ok(())
    }

    fn done(&mut self, ticket: Ticket, done: Done) {
        let outcome = match done {
            Done::Reply(answer) => {
                if let (NOBODY, Err(refusal)) = (ticket, &answer) {
                    tracing::warn!(error = %Chain(refusal), "upkeep failed");
                }
                self.answer(ticket, answer)
            }
            Done::Write(job) => {
                if self.writer.send(ticket, job) {
                    return;
                }
                let what = "too much writing".into();
                self.answer(ticket, Err(Refusal::Busy { what }))
            }
            Done::File(file) => match self.connections.get_mut(&ticket) {
                Some(connection) => {
                    connection.state = State::Sending(file);
                    connection.flush()
                }
                None => Outcome::Keep,
            },
        };
        if outcome == Outcome::Close {
            self.close(ticket);
        }
    }

    fn close(&mut self, ticket: Ticket) {
        self.connections.remove(&ticket);
        if self.editing.gone(ticket) {
            self.spread_status();
        }
    }
}

fn teller(wake: &Arc<OwnedFd>, told: &Sender<News>) -> impl Fn(News) + Send + 'static {
    let (wake, told) = (Arc::clone(wake), told.clone());
    move |news| {
        // The loop is gone only when the process ends.
        told.send(news).ok();
        rustix::io::write(&*wake, &1u64.to_ne_bytes()).ok();
    }
}
