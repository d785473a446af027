//! The processes of services: making them, reading what they write, noticing their end.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use manifest::Name;
use rustix::event::epoll;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait,
};

use crate::cgroup::Cgroup;
use api::wire::LogsReply;

use crate::control::{Followed, Outcome};
use crate::event::{Event, Exit, Level, Moment, ServiceId};
use crate::keep::{self, Kept, Named};
use crate::log::Log;
use crate::resources;
use crate::resume::Inherited;
use crate::sandbox::Watch;
use crate::shell::{Shell, Token, now, watch};
use crate::spawn::{self, Report, read_report};
use crate::state::{SavedFd, SavedProcess};

/// What PID 1 holds for one service.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) log: Log,
    pub(crate) kept: Kept,
    /// Read and write end of its output. Both stay open, so that no restart loses a line.
    output: Option<(OwnedFd, OwnedFd)>,
    cgroup: Option<Cgroup>,
    main: Option<Pid>,
    report: Option<OwnedFd>,
    /// What its sandbox refuses it. The listener must outlive a re-execution.
    pub(crate) sandbox: Watch,
    setup_error: Option<String>,
    /// Its main process ended, others are being killed.
    ending: Option<Ending>,
    /// As many have been noted.
    oom_kills: u64,
}

#[derive(Debug)]
struct Ending {
    exit: Exit,
    deadline: Moment,
}

/// How long the rest of a service's processes may take to die.
const REST_MS: u64 = 2_000;
/// What is read from one service before others get their turn.
const READ_BYTES: usize = 16 * 1024;
/// What is read of a service's last words: more than a pipe holds by default.
const LAST_WORDS_BYTES: usize = 128 * 1024;

pub(crate) fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

impl Process {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            kept: Kept::default(),
            output: None,
            cgroup: None,
            main: None,
            report: None,
            sandbox: Watch::default(),
            setup_error: None,
            ending: None,
            oom_kills: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.ending.as_ref().map(|ending| ending.deadline)
    }

    pub(crate) fn resources(&self) -> Option<api::Resources> {
        let group = self.cgroup.as_ref()?;
        Some(resources::read(group.folder()))
    }

    pub(crate) fn limits_felt(&self) -> Vec<(&'static str, u64)> {
        let group = self.cgroup.as_ref();
        group.map_or_else(Vec::new, |group| resources::limits_felt(group.folder()))
    }

    pub(crate) fn save(&self, name: Name) -> SavedProcess {
        let raw = |fd: &OwnedFd| fd.as_raw_fd();
        let named = |named: &Named| SavedFd {
            name: named.name.clone(),
            fd: raw(&named.fd),
            watched: named.watched,
        };
        let group = |group: &Cgroup| (group.folder().as_raw_fd(), group.events().as_raw_fd());
        SavedProcess {
            name,
            log: self.log.place(),
            main: self.main(),
            output: (self.output.as_ref()).map(|(read, write)| (raw(read), raw(write))),
            cgroup: self.cgroup.as_ref().map(group),
            report: self.report.as_ref().map(raw),
            listener: self.sandbox.listener.as_ref().map(raw),
            denials: self.sandbox.denials.clone(),
            setup_error: self.setup_error.clone(),
            ending: (self.ending.as_ref()).map(|ending| (ending.exit.clone(), ending.deadline)),
            oom_kills: self.oom_kills,
            sockets: self.kept.sockets.iter().map(named).collect(),
            stored: self.kept.stored.iter().map(named).collect(),
        }
    }

    pub(crate) fn restore(saved: SavedProcess, log: Log, inherited: &mut Inherited) -> Self {
        let mut two = |(one, other)| inherited.take(one).zip(inherited.take(other));
        let output = saved.output.and_then(&mut two);
        let cgroup = saved.cgroup.and_then(&mut two);
        let mut named = |saved: Vec<SavedFd>| -> Vec<Named> {
            let adopt = |SavedFd { name, fd, watched }| {
                let fd = inherited.take(fd)?;
                Some(Named { name, fd, watched })
            };
            saved.into_iter().filter_map(adopt).collect()
        };
        let kept = Kept {
            sockets: named(saved.sockets),
            stored: named(saved.stored),
        };
        Self {
            log,
            kept,
            output,
            cgroup: cgroup.map(|(folder, events)| Cgroup::adopt(folder, events)),
            main: saved.main.and_then(pid),
            report: saved.report.and_then(|fd| inherited.take(fd)),
            sandbox: Watch {
                listener: saved.listener.and_then(|fd| inherited.take(fd)),
                denials: saved.denials,
                verdict: None,
            },
            setup_error: saved.setup_error,
            ending: saved
                .ending
                .map(|(exit, deadline)| Ending { exit, deadline }),
            oom_kills: saved.oom_kills,
        }
    }

    pub(crate) fn main(&self) -> Option<u32> {
        self.main.map(|main| main.as_raw_pid().unsigned_abs())
    }

    /// Whether nothing of it runs, as far as PID 1 knows.
    pub(crate) fn idle(&self) -> bool {
        self.main.is_none() && self.ending.is_none()
    }

    pub(crate) fn forget_main(&mut self) {
        self.main = None;
        self.report = None;
    }

    /// Reads what the service wrote, up to a limit.
    fn read_output(&mut self, now: Moment, limit: usize) {
        let Some((output, _)) = &self.output else {
            return;
        };
        let mut bytes = [0; 4096];
        let mut total = 0;
        while total < limit {
            match rustix::io::read(output, &mut bytes) {
                Ok(0) | Err(Errno::AGAIN) => return,
                Ok(length) => {
                    self.log.write(now, &bytes[..length]);
                    total += length;
                }
                Err(_) => return,
            }
        }
    }

    fn read_report(&mut self) -> Report {
        let Some(report) = &self.report else {
            return Report::Nothing;
        };
        let outcome = read_report(report);
        if matches!(outcome, Report::Over) {
            // Closing it takes it out of the epoll set.
            self.report = None;
        }
        outcome
    }
}

impl Shell {
    pub(crate) fn spawn(&mut self, id: ServiceId) {
        if let Err(error) = self.try_spawn(id) {
            self.events.push_back(Event::SpawnFailed(id, error));
        }
    }

    fn try_spawn(&mut self, id: ServiceId) -> Result<(), String> {
        let service = &self.core.units()[id.0].service;
        let process = &mut self.processes[id.0];
        if process.output.is_none() {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("pipe: {e}"))?;
            fcntl_setfl(&read, OFlags::NONBLOCK).map_err(|e| format!("pipe: {e}"))?;
            watch(&self.epoll, &read, Token::Output(id.0));
            process.output = Some((read, write));
        }
        if let (Some(cgroups), None) = (&self.place.cgroups, &process.cgroup) {
            let cgroup = cgroups.service(service.name.as_str(), &service.limits);
            process.cgroup = Some(cgroup.map_err(|e| format!("its cgroup: {e}"))?);
        }
        process.kept.listen(service, self.surroundings.privileged)?;
        let passed = keep::borrowed(&process.kept);
        let names = keep::environment(&process.kept);
        let (_, output) = process.output.as_ref().expect("made above");
        let cgroup = process.cgroup.as_ref().map(Cgroup::folder);
        let launched = spawn::launch(
            &self.surroundings,
            service,
            output.as_fd(),
            cgroup,
            &passed,
            names,
        )
        .map_err(|e| format!("clone: {e}"))?;
        watch(&self.epoll, &launched.report, Token::Report(id.0));
        process.main = pid(launched.pid);
        process.report = Some(launched.report);
        process.setup_error = None;
        self.by_pid.insert(launched.pid, id);
        self.events.push_back(Event::Spawned(id, launched.pid));
        Ok(())
    }

    pub(crate) fn save_processes(&self) -> Vec<SavedProcess> {
        let units = self.core.units().iter();
        let both = units.zip(&self.processes);
        both.map(|(unit, process)| process.save(unit.service.name.clone()))
            .collect()
    }

    /// After a re-execution: the epoll set is a new one.
    pub(crate) fn watch_processes(&mut self) {
        for position in 0..self.processes.len() {
            let process = &self.processes[position];
            if let Some((read, _)) = &process.output {
                watch(&self.epoll, read, Token::Output(position));
            }
            if let Some(report) = &process.report {
                watch(&self.epoll, report, Token::Report(position));
            }
            if let Some(listener) = &process.sandbox.listener {
                watch(&self.epoll, listener, Token::Denied(position));
            }
            if let (Some(cgroup), Some(_)) = (&process.cgroup, &process.ending) {
                let token = Token::Emptied(position).pack();
                epoll::add(&self.epoll, cgroup.events(), token, epoll::EventFlags::PRI).ok();
            }
            for named in process.kept.stored.iter().filter(|named| named.watched) {
                let token = Token::Kept(position).pack();
                epoll::add(&self.epoll, &named.fd, token, epoll::EventFlags::empty()).ok();
            }
            if let Some(main) = process.main() {
                self.by_pid.insert(main, ServiceId(position));
            }
        }
    }

    /// A process that an earlier PID 1 made.
    pub(crate) fn take_over(
        &mut self,
        id: ServiceId,
        number: u32,
        output: Option<(OwnedFd, OwnedFd)>,
    ) {
        let service = &self.core.units()[id.0].service;
        let process = &mut self.processes[id.0];
        process.main = pid(number);
        self.by_pid.insert(number, id);
        if let (Some(cgroups), None) = (&self.place.cgroups, &process.cgroup) {
            process.cgroup = cgroups.service(service.name.as_str(), &service.limits).ok();
        }
        if process.output.is_none()
            && let Some((read, write)) = output
        {
            // Its other users expect it to block.
            let flags = fcntl_getfl(&write).unwrap_or(OFlags::empty());
            fcntl_setfl(&write, flags - OFlags::NONBLOCK).ok();
            watch(&self.epoll, &read, Token::Output(id.0));
            process.output = Some((read, write));
        }
    }

    pub(crate) fn terminate(&mut self, id: ServiceId) {
        // Without a main process its end is on the way already.
        if let Some(main) = self.processes[id.0].main {
            kill_process(main, Signal::TERM).ok();
        }
    }

    pub(crate) fn kill(&mut self, id: ServiceId) {
        let process = &self.processes[id.0];
        let by_cgroup = process
            .cgroup
            .as_ref()
            .is_some_and(|cgroup| cgroup.kill().is_ok());
        if let (false, Some(main)) = (by_cgroup, process.main) {
            // Until its setsid(2) there is no such group.
            kill_process_group(main, Signal::KILL).ok();
            kill_process(main, Signal::KILL).ok();
        }
    }

    /// Buries every dead child, also those that orphaned descendants of services left to PID 1.
    pub(crate) fn reap(&mut self) {
        while let Ok(Some((dead, status))) = wait(WaitOptions::NOHANG) {
            let number = dead.as_raw_pid().unsigned_abs();
            if let Some(id) = self.by_pid.remove(&number) {
                self.main_exited(id, dead, status);
            } else {
                let known = self.probe_ended(number);
                if !known {
                    self.stranger_exited(number);
                }
            }
        }
    }

    fn main_exited(&mut self, id: ServiceId, main: Pid, status: WaitStatus) {
        let now = now();
        self.on_report(id);
        let process = &mut self.processes[id.0];
        process.main = None;
        process.report = None;
        process.read_output(now, LAST_WORDS_BYTES);
        let resources = process
            .cgroup
            .as_ref()
            .map(|group| resources::read(group.folder()));
        let killed = resources.map_or(0, |resources| resources.oom_kills);
        let more = killed.saturating_sub(std::mem::replace(&mut process.oom_kills, killed));
        let verdict = process.sandbox.verdict.take().map(Exit::Sandbox);
        let exit = verdict.unwrap_or_else(|| {
            match (process.setup_error.take(), status.terminating_signal()) {
                (Some(error), _) => Exit::Setup(error),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Code(status.exit_status().unwrap_or(-1)),
            }
        });
        if more > 0 {
            self.note("oom", Some(id), "out of memory: the kernel killed it");
        }
        let process = &mut self.processes[id.0];
        let rest = match &process.cgroup {
            Some(cgroup) => cgroup.populated() && cgroup.kill().is_ok(),
            None => {
                // A group's number is not given away while it has members.
                kill_process_group(main, Signal::KILL).ok();
                false
            }
        };
        if rest {
            let deadline = now.after_ms(REST_MS);
            process.ending = Some(Ending { exit, deadline });
            if let Some(cgroup) = &process.cgroup {
                let token = Token::Emptied(id.0).pack();
                epoll::add(&self.epoll, cgroup.events(), token, epoll::EventFlags::PRI).ok();
            }
            // It may have become empty before it was watched.
            self.on_emptied(id);
        } else {
            self.step(Event::Exited(id, exit));
        }
        self.send_followers(id);
    }

    pub(crate) fn on_emptied(&mut self, id: ServiceId) {
        let process = &mut self.processes[id.0];
        if process
            .cgroup
            .as_ref()
            .is_none_or(|cgroup| !cgroup.populated())
        {
            self.stop_waiting_for_rest(id);
        }
    }

    pub(crate) fn stop_waiting_for_rest(&mut self, id: ServiceId) {
        let process = &mut self.processes[id.0];
        let Some(ending) = process.ending.take() else {
            return;
        };
        if let Some(cgroup) = &process.cgroup {
            epoll::delete(&self.epoll, cgroup.events()).ok();
            if cgroup.populated() {
                let name = &self.core.units()[id.0].service.name;
                let text = format!("{name}: left processes that can't be killed");
                self.teller.tell(Level::Error, &text);
            }
        }
        self.step(Event::Exited(id, ending.exit));
    }

    pub(crate) fn on_report(&mut self, id: ServiceId) {
        loop {
            match self.processes[id.0].read_report() {
                Report::Failed(error) => self.processes[id.0].setup_error = Some(error),
                Report::Listener(listener) => self.watch_sandbox(id, listener),
                Report::Nothing => return,
                // Either its program runs, or it was killed on the way; then its end follows.
                Report::Over => return self.step(Event::Executed(id)),
            }
        }
    }

    pub(crate) fn on_output(&mut self, id: ServiceId) {
        self.processes[id.0].read_output(now(), READ_BYTES);
        self.send_followers(id);
    }

    pub(crate) fn remark(&mut self, id: ServiceId, text: &str) {
        self.processes[id.0]
            .log
            .remark(now(), &format!("-- {text}"));
        self.send_followers(id);
    }

    /// New lines for those who follow this log.
    fn send_followers(&mut self, id: ServiceId) {
        for place in self.control.followers(Followed::Log(id)) {
            let log = &self.processes[id.0].log;
            let Some(client) = self.control.client(place) else {
                continue;
            };
            let Some(follow) = client.follows() else {
                continue;
            };
            let lines = log.since(follow.next);
            if lines.is_empty() {
                continue;
            }
            follow.next = log.next_number();
            let outcome = client.send_more(LogsReply {
                lines,
                dropped_bytes: log.dropped_bytes(),
            });
            self.settle_client(place, outcome);
        }
    }

    pub(crate) fn settle_client(&mut self, place: usize, outcome: Outcome) {
        let Some(client) = self.control.client(place) else {
            return;
        };
        if outcome == Outcome::Close {
            return self.control.close(place);
        }
        // A caller that does not read its replies is not read from either.
        let flags = if client.blocked() {
            epoll::EventFlags::OUT
        } else {
            epoll::EventFlags::IN
        };
        let token = Token::Client(place).pack();
        epoll::modify(&self.epoll, client.stream(), token, flags).ok();
    }
}
