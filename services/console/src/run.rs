//! The loop over terminals, answers and the clock.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::asker::{Answer, Asker};
use crate::config::Config;
use crate::gate::Gate;
use crate::model::Snapshot;
use crate::seat::{Room, Seat};
use crate::throttle::Throttle;

/// Why the console ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen for a request to stop")]
    Signals(#[source] io::Error),
    #[error("cannot start the thread that asks PID 1")]
    Thread(#[source] io::Error),
    #[error("cannot start the threads that know who may log in")]
    Gate(#[source] io::Error),
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
    let kept =
        std::env::var_os("RUNTIME_DIRECTORY").map(|folder| PathBuf::from(folder).join("login"));
    let gate = Gate::start(config.store, kept, asker.sender.clone()).map_err(RunError::Gate)?;
    let mut registry = runtime::metrics::Registry::default();
    gate.register(&mut registry);
    runtime::metrics::serve(registry);
    let mut seats: Vec<Seat> = config
        .devices
        .into_iter()
        .enumerate()
        .map(Seat::new)
        .collect();
    let mut room = Room {
        asker,
        gate,
        shell: config.shell,
        throttle: Throttle::default(),
    };
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
        for seat in &mut seats {
            seat.turn(now_ms, &snapshot, &mut room);
        }
        let due_ms = seats
            .iter()
            .filter_map(Seat::due_ms)
            .fold(pet_at_ms, u64::min);
        let limit_ms = due_ms.saturating_sub(clock());
        if wait(&shutdown, &room.asker.wake, &seats, limit_ms).map_err(RunError::Poll)? {
            return Ok(());
        }
        let now_ms = clock();
        for answer in drain(&room.asker) {
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
                Answer::Access(access) => {
                    for seat in &mut seats {
                        seat.admit(&access);
                    }
                }
                Answer::Verdict { terminal, accepted } => {
                    seats[terminal].verdict(now_ms, accepted, &mut room);
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
    for (fd, flags) in seats.iter().flat_map(Seat::fds) {
        fds.push(PollFd::from_borrowed_fd(fd, flags));
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
