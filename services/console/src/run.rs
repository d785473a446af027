//! The loop over terminals, answers and the clock.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::asker::{Answer, Asker, Question};
use crate::config::Config;
use crate::core::Wish;
use crate::input::Key;
use crate::model::Snapshot;
use crate::terminal::{Slot, Terminal};

/// The page is sent in full so often, for whatever the kernel may have written across it.
const REPAINT_MS: u64 = 30_000;
/// A key after a longer silence means that somebody has come, perhaps with another terminal.
const SILENCE_MS: u64 = 15_000;
/// How often a log is fetched that somebody looks at.
const LOG_MS: u64 = 1_000;
/// An ESC that nothing follows for so long is a key. At 9600 baud a byte takes one millisecond.
const ESCAPE_MS: u64 = 100;

/// Why the console ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen for a request to stop")]
    Signals(#[source] io::Error),
    #[error("cannot start the thread that asks PID 1")]
    Thread(#[source] io::Error),
    #[error("cannot wait for terminals")]
    Poll(#[source] io::Error),
}

/// Shows the page on every device until the service is asked to stop.
///
/// # Errors
/// When not even waiting works; a terminal that fails is no error.
pub fn run(config: Config) -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Signals)?;
    let asker = Asker::start(config.init, config.network).map_err(RunError::Thread)?;
    let mut seats: Vec<Seat> = config.devices.into_iter().map(Seat::new).collect();
    let mut snapshot = Arc::new(Snapshot::default());
    let begin = Instant::now();
    let clock = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Twice as often as asked for: a host that is overloaded may not run this machine for seconds.
    let pet_ms = runtime::notify::watchdog_interval().map_or(5_000, |pet| {
        u64::try_from(pet.as_millis() / 2).unwrap_or(5_000).max(1)
    });
    let mut pet_at_ms = 0;
    runtime::notify::ready();
    loop {
        let now_ms = clock();
        // Not with every key: a flood of them must not become one of messages to PID 1.
        if now_ms >= pet_at_ms {
            pet_at_ms = now_ms.saturating_add(pet_ms);
            runtime::notify::watchdog();
        }
        for (number, seat) in seats.iter_mut().enumerate() {
            seat.turn(now_ms, number, &snapshot, &asker);
        }
        let due_ms = seats
            .iter()
            .filter_map(Seat::due_ms)
            .fold(pet_at_ms, u64::min);
        let limit_ms = due_ms.saturating_sub(clock());
        if wait(&shutdown, &asker.wake, &seats, limit_ms).map_err(RunError::Poll)? {
            return Ok(());
        }
        let now_ms = clock();
        for answer in drain(&asker) {
            match answer {
                Answer::Facts(facts) => {
                    let health = |snapshot: &Snapshot| snapshot.status().map(|s| s.health.state);
                    let turned = health(&facts) != health(&snapshot);
                    snapshot = facts;
                    for seat in &mut seats {
                        seat.changed = true;
                        // PID 1 writes a line of its own on the console when its verdict changes.
                        seat.repaint_at_ms = if turned { 0 } else { seat.repaint_at_ms };
                    }
                }
                Answer::Log {
                    terminal,
                    service,
                    lines,
                } => {
                    seats[terminal].log_pending = false;
                    seats[terminal].core(|core| core.log(&service, lines));
                }
                Answer::Done {
                    terminal,
                    command,
                    result,
                } => {
                    seats[terminal].core(|core| core.done(now_ms, &command, result));
                }
            }
        }
    }
}

/// Waits for something to do; true: the service shall stop.
fn wait(
    shutdown: &UnixStream,
    wake: &UnixStream,
    seats: &[Seat],
    limit_ms: u64,
) -> io::Result<bool> {
    let mut fds = vec![
        PollFd::new(shutdown, PollFlags::IN),
        PollFd::new(wake, PollFlags::IN),
    ];
    let open: Vec<&Terminal> = seats
        .iter()
        .filter_map(|seat| seat.slot.terminal.as_ref())
        .collect();
    let handles: Vec<_> = open.iter().map(|terminal| terminal.fd()).collect();
    for (terminal, handle) in open.iter().zip(&handles) {
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, terminal.is_busy());
        fds.push(PollFd::new(handle, flags));
    }
    let limit = Duration::from_millis(limit_ms);
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    match poll(&mut fds, Some(&limit)) {
        Ok(_) => Ok(fds[0].revents().contains(PollFlags::IN)),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn drain(asker: &Asker) -> Vec<Answer> {
    let mut bytes = [0; 64];
    while rustix::io::read(asker.wake.as_fd(), &mut bytes).is_ok_and(|count| count > 0) {}
    asker.answers.try_iter().collect()
}

/// A terminal and what is due there.
#[derive(Debug)]
struct Seat {
    slot: Slot,
    /// The page may look different now.
    changed: bool,
    repaint_at_ms: u64,
    last_key_ms: u64,
    /// When the ESC that waits is taken for a key.
    escape_at_ms: Option<u64>,
    log_at_ms: u64,
    log_pending: bool,
}

impl Seat {
    fn new(path: std::path::PathBuf) -> Self {
        Self {
            slot: Slot::new(path),
            changed: true,
            repaint_at_ms: 0,
            last_key_ms: 0,
            escape_at_ms: None,
            log_at_ms: 0,
            log_pending: false,
        }
    }

    fn core(&mut self, work: impl FnOnce(&mut crate::core::Core)) {
        if let Some(terminal) = &mut self.slot.terminal {
            work(&mut terminal.core);
            self.changed = true;
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self, now_ms: u64, number: usize, snapshot: &Snapshot, asker: &Asker) {
        let was_open = self.slot.terminal.is_some();
        self.slot.open(now_ms);
        if !was_open {
            self.changed = true;
            self.log_pending = false;
            self.repaint_at_ms = now_ms.saturating_add(REPAINT_MS);
        }
        let mut keys = Vec::new();
        self.slot.with(now_ms, |terminal| {
            keys = terminal.keys()?;
            Ok(())
        });
        self.escape(now_ms, &mut keys);
        for key in keys {
            self.key(now_ms, number, key, snapshot, asker);
        }
        self.fetch_log(now_ms, number, asker);
        let repaint = now_ms >= self.repaint_at_ms;
        if repaint {
            self.repaint_at_ms = now_ms.saturating_add(REPAINT_MS);
            self.changed = true;
        }
        let changed = &mut self.changed;
        self.slot.with(now_ms, |terminal| {
            if repaint {
                terminal.repaint();
            }
            terminal.flush()?;
            // A busy device gets its page when it has taken the one before.
            if *changed && !terminal.is_busy() {
                *changed = false;
                terminal.draw(now_ms, snapshot)?;
            }
            Ok(())
        });
    }

    /// When the next turn is due, if nothing happens before.
    fn due_ms(&self) -> Option<u64> {
        if let Some(retry) = self.slot.due_ms() {
            return Some(retry);
        }
        let terminal = self.slot.terminal.as_ref()?;
        let log = terminal.core.log_wanted().filter(|_| !self.log_pending);
        [
            Some(self.repaint_at_ms),
            self.escape_at_ms,
            log.map(|_| self.log_at_ms),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn escape(&mut self, now_ms: u64, keys: &mut Vec<Key>) {
        let Some(terminal) = self.slot.terminal.as_mut().filter(|t| t.waits()) else {
            self.escape_at_ms = None;
            return;
        };
        let at = *self
            .escape_at_ms
            .get_or_insert(now_ms.saturating_add(ESCAPE_MS));
        if now_ms >= at {
            keys.extend(terminal.pause());
            self.escape_at_ms = None;
        }
    }

    fn key(&mut self, now_ms: u64, number: usize, key: Key, snapshot: &Snapshot, asker: &Asker) {
        let Some(terminal) = &mut self.slot.terminal else {
            return;
        };
        let silence = now_ms.saturating_sub(self.last_key_ms);
        self.last_key_ms = now_ms;
        self.changed = true;
        if silence > SILENCE_MS {
            terminal.repaint();
        }
        let size = terminal.size();
        match terminal.core.key(now_ms, key, snapshot, size) {
            None => {}
            Some(Wish::Redraw) => terminal.repaint(),
            Some(Wish::ToggleColours) => terminal.toggle_colours(),
            Some(Wish::Do(command)) => {
                let question = Question::Do {
                    terminal: number,
                    command: command.clone(),
                    asked: Instant::now(),
                };
                if !asker.ask(question) {
                    let busy = Err("PID 1 is busy; try again".to_owned());
                    terminal.core.done(now_ms, &command, busy);
                }
            }
        }
    }

    fn fetch_log(&mut self, now_ms: u64, number: usize, asker: &Asker) {
        let Some(terminal) = &self.slot.terminal else {
            return;
        };
        let Some(service) = terminal.core.log_wanted() else {
            // A log that is opened later is fetched at once.
            self.log_at_ms = 0;
            return;
        };
        if self.log_pending || now_ms < self.log_at_ms {
            return;
        }
        self.log_at_ms = now_ms.saturating_add(LOG_MS);
        self.log_pending = asker.ask(Question::Log {
            terminal: number,
            service: service.to_owned(),
        });
    }
}
