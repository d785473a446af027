//! PID 1 replaces its own program while it works: everything that it knows goes into a record
//! ([`crate::state`]), every descriptor stays open across execve(2), and the next program goes on
//! there. Callers wait, as they would for a slow answer; services notice nothing.
//!
//! Another program than the running one is asked first whether it can read the record. One that
//! can't is refused while nothing has happened yet.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use api::wire::{ReexecFailed, Reply, encode};
use api::{INTERFACE, Power};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value};

use crate::args;
use crate::crash;
use crate::event::{Level, Moment};
use crate::process::pid;
use crate::shell::Shell;
use crate::state::{Fds, State, StateError};
use crate::sys::{self, Program};

/// A hand-over that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Reexec {
    probe: Option<Probe>,
    /// The program said that it can read the record.
    probed: bool,
}

/// The next program, asked whether it can take over.
#[derive(Debug)]
struct Probe {
    pid: u32,
    deadline: Moment,
    answer: OwnedFd,
}

/// A program that takes longer to read a record is none that PID 1 should become.
const PROBE_MS: u64 = 5_000;
const ANSWER_BYTES: usize = 512;

/// Monotonic, finer than [`Moment`].
pub(crate) fn now_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let us = time.tv_sec * 1_000_000 + time.tv_nsec / 1000;
    u64::try_from(us).unwrap_or(0)
}

impl Reexec {
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.probe.as_ref().map(|probe| probe.deadline)
    }
}

impl Shell {
    /// Begins a hand-over; it happens between two turns of the loop.
    pub(crate) fn request_reexec(&mut self) {
        self.reexec.get_or_insert_default();
    }

    /// Everything that the next program has to know.
    pub(crate) fn save(&self, handover: bool) -> State {
        State {
            format: crate::state::FORMAT,
            handover,
            soft_reboot: false,
            began_us: if handover { now_us() } else { 0 },
            counters: self.counters.clone(),
            core: self.core.save(),
            processes: self.save_processes(),
            clients: if handover {
                self.control
                    .save(|id| self.core.units()[id.0].service.name.clone())
            } else {
                Vec::new()
            },
            records: self.records.clone(),
            jobs: self.verdict.open_jobs(),
            health: self.verdict.health,
            fds: Fds {
                notify: self.notify.as_fd().as_raw_fd(),
                listener: self.control.listener().as_raw_fd(),
                logs: self.logs.fd().map(|fd| fd.as_raw_fd()),
            },
            watchdog: self.watchdog.as_ref().map(|watchdog| watchdog.save()),
            program: self.place.program.clone(),
        }
    }

    /// Keeps the record up to date that a crash falls back on.
    pub(crate) fn snapshot(&mut self) {
        if !std::mem::take(&mut self.dirty) || self.counters.crash.is_some() {
            return;
        }
        let state = self.save(false);
        let highest = state.fds().into_iter().max().unwrap_or(0);
        match self.state_file.write(&state) {
            Ok(()) => crash::arm(highest.max(self.state_file.fd().as_raw_fd())),
            // An old record would be worse than none: services would be started twice.
            Err(_) => crash::disarm(),
        }
    }

    pub(crate) fn advance_reexec(&mut self, now: Moment) {
        let Some(reexec) = &mut self.reexec else {
            return;
        };
        // Its answer would get lost; it has a deadline.
        if self.verdict.deadline().is_some() {
            return;
        }
        if let Some(probe) = reexec.probe.take_if(|probe| probe.deadline <= now) {
            if let Some(pid) = pid(probe.pid) {
                kill_process(pid, Signal::KILL).ok();
            }
            return self.reexec_failed("the new program did not answer in time");
        }
        if reexec.probe.is_some() {
            return;
        }
        let program = self.place.program.clone();
        if !reexec.probed && !is_running(&program) {
            match self.probe(now, &program) {
                Ok(probe) => {
                    self.reexec = Some(Reexec {
                        probe: Some(probe),
                        probed: false,
                    });
                }
                Err(reason) => self.reexec_failed(&reason),
            }
            return;
        }
        self.reexec = None;
        let mut state = self.save(true);
        for client in &mut state.clients {
            if std::mem::take(&mut client.awaits_reexec) {
                let reply = Reply {
                    parameters: Some(Map::new()),
                    continues: false,
                    error: None,
                };
                client
                    .output
                    .push_str(&crate::state::to_text(&encode(&reply)));
            }
        }
        let reason = self.hand_over(state);
        self.reexec_failed(&reason);
    }

    /// All services are stopped: start all of them again, in a program that knows nothing but the
    /// counters.
    pub(crate) fn soft_reboot(&mut self) {
        self.counters.soft_reboots += 1;
        crate::power::release_data(self.place.machine);
        let mut state = self.save(true);
        state.soft_reboot = true;
        let reason = self.hand_over(state);
        let text = format!("cannot restart userspace: {reason}; rebooting");
        self.teller.tell(Level::Error, &text);
        self.end = Some(Power::Reboot);
    }

    /// Does not return, or with the reason.
    fn hand_over(&mut self, state: State) -> String {
        if let Err(error) = self.state_file.write(&state) {
            return error.to_string();
        }
        // Whatever comes next, this record is not what a crash may fall back on.
        self.dirty = true;
        let mut fds = state.fds();
        fds.push(self.state_file.fd().as_raw_fd());
        let program = self.successor(&self.place.program, &[]);
        let Some(program) = program else {
            return "its path or arguments hold a NUL byte".into();
        };
        for fd in &fds {
            sys::keep_over_exec(*fd, true);
        }
        let Err(error) = sys::exec(&program);
        for fd in &fds {
            sys::keep_over_exec(*fd, false);
        }
        format!("{}: {error}", self.place.program.display())
    }

    fn successor(&self, program: &Path, more: &[String]) -> Option<Program> {
        successor(
            program,
            &self.place.arguments,
            self.state_file.fd().as_raw_fd(),
            more,
        )
    }

    /// Lets the signal handler know what to execute.
    pub(crate) fn prepare_for_crash(&self) {
        // The very program that wrote the record, whatever lies at its path by then.
        if let Some(program) = self.successor(Path::new("/proc/self/exe"), &[args::CRASHED.into()])
        {
            crash::prepare(program);
        }
    }

    fn probe(&mut self, now: Moment, path: &Path) -> Result<Probe, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot ask the new program: {error}");
        let mut state = self.save(true);
        state.began_us = 0;
        self.state_file
            .write(&state)
            .map_err(|error| failed(&error))?;
        self.dirty = true;
        let fd = self.state_file.fd();
        let arguments = [args::CHECK_STATE.into(), fd.as_raw_fd().to_string()];
        let path = path.to_str().ok_or("its path is no text")?;
        let program = Program::new(path, &arguments, &[]).ok_or("its path holds a NUL byte")?;
        let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let (answer, answerer) = pipe.map_err(|error| failed(&error))?;
        let child = || {
            sys::reset_signals();
            sys::keep_over_exec(fd.as_raw_fd(), true);
            rustix::stdio::dup2_stdout(&answerer).ok();
            sys::exec(&program).ok();
            127
        };
        let pid = sys::spawn(None, child).map_err(|error| failed(&error))?;
        let deadline = now.after_ms(PROBE_MS);
        Ok(Probe {
            pid,
            deadline,
            answer,
        })
    }

    /// Some process ended; perhaps it was the program that was asked.
    pub(crate) fn probe_ended(&mut self, pid: u32) -> bool {
        let Some(reexec) = &mut self.reexec else {
            return false;
        };
        let Some(probe) = reexec.probe.take_if(|probe| probe.pid == pid) else {
            return false;
        };
        let mut bytes = [0; ANSWER_BYTES];
        let length = rustix::io::read(&probe.answer, &mut bytes).unwrap_or(0);
        let answer = String::from_utf8_lossy(&bytes[..length]).trim().to_owned();
        if answer == args::STATE_IS_FINE {
            reexec.probed = true;
        } else {
            let answer = if answer.is_empty() {
                "it said nothing"
            } else {
                &answer
            };
            self.reexec_failed(&format!("the new program cannot take over: {answer}"));
        }
        true
    }

    fn reexec_failed(&mut self, reason: &str) {
        self.reexec = None;
        self.tell(Level::Error, None, &format!("not re-executed: {reason}"));
        self.note("reexec_failed", None, reason);
        let refusal = encode(&Reply::<Value> {
            parameters: serde_json::to_value(ReexecFailed {
                reason: reason.into(),
            })
            .ok(),
            continues: false,
            error: Some(format!("{INTERFACE}.ReexecFailed")),
        });
        for place in self.control.awaiting_reexec() {
            let Some(client) = self.control.client(place) else {
                continue;
            };
            client.awaits_reexec = false;
            let outcome = client.send(&refusal);
            self.settle_client(place, outcome);
        }
    }

    /// In the next program, when it is about to go on.
    pub(crate) fn note_reexec(&mut self, began_us: u64, soft_reboot: bool, crashed: Option<&str>) {
        self.counters.reexecs += 1;
        if let Some(reason) = crashed {
            self.counters.crash = Some(reason.into());
            self.tell(
                Level::Error,
                None,
                &format!("PID 1 crashed and is back: {reason}"),
            );
            self.note("crash", None, reason);
            return;
        }
        let away_us = now_us().saturating_sub(began_us);
        self.counters.last_reexec_us = Some(away_us);
        if soft_reboot {
            self.note("soft_reboot", None, "all services start again");
        } else {
            let text = format!("re-executed in {away_us} us");
            self.tell(Level::Info, None, &text);
            self.note("reexec", None, &text);
        }
    }
}

/// Reads a record that may be handed over, in a process of its own.
pub(crate) fn check(fd: i32) -> Result<(), StateError> {
    let file = sys::adopt_fd(fd).map_err(|_| StateError::Descriptor(fd))?;
    crate::state::StateFile::adopt(file).map(drop)
}

fn successor(path: &Path, arguments: &[String], state: i32, more: &[String]) -> Option<Program> {
    let mut all = arguments.to_vec();
    all.extend([args::STATE.into(), state.to_string()]);
    all.extend_from_slice(more);
    let pair = |(key, value): (OsString, OsString)| {
        let (key, value) = (key.into_string().ok()?, value.into_string().ok()?);
        Some(format!("{key}={value}"))
    };
    let environment: Vec<String> = std::env::vars_os().filter_map(pair).collect();
    Program::new(path.to_str()?, &all, &environment)
}

/// Whether the program at a path is the one that runs.
fn is_running(path: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(path).is_some_and(|other| identity(Path::new("/proc/self/exe")) == Some(other))
}
