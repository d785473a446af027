//! The other half of a re-execution: a new program takes over from a record, or, when that is
//! useless, from what it sees of the running services.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use manifest::Table;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, getsid, kill_process};

use crate::control::{Control, Followed};
use crate::core::Core;
use crate::event::{Event, Exit, Level, ServiceId};
use crate::log::LogFile;
use crate::notify::NotifySocket;
use crate::process::{Process, pid};
use crate::shell::{Place, SetUpError, Shell, Sockets, now};
use crate::state::{Fd, State, StateError, StateFile};
use crate::sys;
use crate::tell::Teller;
use crate::watchdog::Watchdog;

/// The descriptors of a record, each to be taken once.
pub(crate) struct Inherited(HashMap<Fd, OwnedFd>);

impl Inherited {
    fn open(state: &State) -> Result<Self, StateError> {
        let fds = state.fds();
        if let Some(fd) = fds.iter().find(|fd| !sys::is_open(**fd)) {
            return Err(StateError::Descriptor(*fd));
        }
        let adopt = |fd: &Fd| match sys::adopt_fd(*fd) {
            Ok(owned) => Ok((*fd, owned)),
            Err(_) => Err(StateError::Descriptor(*fd)),
        };
        fds.iter().map(adopt).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn take(&mut self, fd: Fd) -> Option<OwnedFd> {
        self.0.remove(&fd)
    }
}

/// Reads the record behind a descriptor, and opens what it names.
pub(crate) fn load(fd: Fd) -> Result<(StateFile, State, Inherited), StateError> {
    let file = sys::adopt_fd(fd).map_err(|_| StateError::Descriptor(fd))?;
    let (file, state) = StateFile::adopt(file)?;
    let inherited = Inherited::open(&state)?;
    Ok((file, state, inherited))
}

impl Shell {
    /// Goes on where another program ended.
    pub(crate) fn resume(
        table: Table,
        place: Place,
        teller: Teller,
        (state_file, state, mut inherited): (StateFile, State, Inherited),
        crashed: Option<&str>,
    ) -> Result<Self, SetUpError> {
        let now = now();
        let State {
            soft_reboot,
            began_us,
            counters,
            core: saved_core,
            processes: saved,
            clients,
            records,
            jobs,
            health,
            fds,
            watchdog,
            ..
        } = state;
        let mut take = |fd| inherited.take(fd).ok_or(SetUpError::Lost);
        let (notify, listener) = (take(fds.notify)?, take(fds.listener)?);
        let logs = fds.logs.and_then(|fd| inherited.take(fd));
        let count = table.services().len();
        let logs = logs.map_or_else(
            || LogFile::new(count + 1),
            |fd| LogFile::adopt(fd, count + 1),
        );
        let core = if soft_reboot {
            let mut core = Core::new(now, table);
            core.keep_counters(saved_core);
            core
        } else {
            Core::restore(now, table, saved_core)
        };
        let find = |name: &str| core.find(name);
        let mut control = Control::adopt(listener);
        for client in clients {
            let what = client.follows.as_ref().map(|follow| match &follow.log {
                Some(name) => find(name.as_str()).map(Followed::Log),
                None => Some(Followed::Events),
            });
            if let (Some(stream), false) = (inherited.take(client.fd), what == Some(None)) {
                control.restore(stream, client, what.flatten());
            }
        }
        // The first is for the notes.
        let mut places: Vec<usize> = (1..=count).collect();
        places.retain(|place| saved.iter().all(|process| process.log != *place));
        let mut strangers = Vec::new();
        let mut processes: Vec<Option<Process>> = (0..count).map(|_| None).collect();
        for process in saved {
            let Some(id) = find(process.name.as_str()) else {
                strangers.extend(process.main);
                continue;
            };
            let log = logs.log(process.log);
            processes[id.0] = Some(Process::restore(process, log, &mut inherited));
        }
        let mut places = places.into_iter();
        let processes = processes.into_iter().map(|process| {
            let free = || Process::new(logs.log(places.next().unwrap_or(0)));
            process.unwrap_or_else(free)
        });
        let processes = processes.collect();
        let sockets = Sockets {
            notify: NotifySocket::adopt(notify, &place.run_dir.join("notify")),
            control,
        };
        let mut shell = Self::assemble(core, processes, logs, place, teller, sockets, state_file)?;
        (shell.counters, shell.records) = (counters, records);
        shell.verdict.resume(jobs, health);
        shell.watchdog =
            watchdog.and_then(|saved| Some(Watchdog::adopt(inherited.take(saved.fd)?, &saved)));
        drop(inherited);
        // Of a service that the table no longer has.
        for main in strangers.into_iter().filter_map(pid) {
            kill_process(main, Signal::KILL).ok();
        }
        shell.watch_resumed();
        if soft_reboot {
            shell.listen_for_services();
        }
        shell.note_reexec(began_us, soft_reboot, crashed);
        if crashed.is_some() {
            shell.reconcile();
        }
        shell.reap();
        shell.step(if soft_reboot {
            Event::Boot
        } else {
            Event::Tick
        });
        Ok(shell)
    }

    /// After a crash the record may be older than the truth by one turn of the loop.
    fn reconcile(&mut self) {
        for (id, number) in self.survivors() {
            if self.processes[id.0].idle() {
                self.adopt(id, number, false);
            }
        }
        for position in 0..self.processes.len() {
            let gone = self.processes[position]
                .main()
                .filter(|main| !is_child(*main));
            if let Some(main) = gone {
                self.processes[position].forget_main();
                self.by_pid.remove(&main);
                self.step(Event::Exited(ServiceId(position), Exit::Unseen));
            }
        }
    }

    /// The record is useless: what runs is taken as ready, and the rest is started.
    pub(crate) fn adopt_survivors(&mut self, why: &StateError) {
        let text = format!("the state of the PID 1 before is lost: {why}");
        self.teller.tell(Level::Error, &text);
        self.note("state_lost", None, &text);
        for (id, number) in self.survivors() {
            if self.processes[id.0].idle() {
                self.adopt(id, number, true);
            }
        }
    }

    fn adopt(&mut self, id: ServiceId, number: u32, ready: bool) {
        // A pipe can be opened through whoever has it.
        let open = |flags| {
            let path = format!("/proc/{number}/fd/1");
            rustix::fs::open(
                path,
                flags | OFlags::CLOEXEC | OFlags::NONBLOCK,
                Mode::empty(),
            )
            .ok()
        };
        let output = open(OFlags::RDONLY).zip(open(OFlags::WRONLY));
        self.take_over(id, number, output);
        self.step(Event::Adopted {
            id,
            pid: number,
            ready,
        });
        self.tell(Level::Warning, Some(id), "was running already: taken over");
    }

    /// Children that lead a service.
    fn survivors(&self) -> Vec<(ServiceId, u32)> {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let numbers = entries.flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let leads = |number: &u32| {
            is_child(*number) && pid(*number).is_some_and(|own| getsid(Some(own)) == Ok(own))
        };
        let service = |number: u32| Some((self.service_of(number)?, number));
        numbers.filter(leads).filter_map(service).collect()
    }

    fn service_of(&self, number: u32) -> Option<ServiceId> {
        if let Some(cgroups) = &self.place.cgroups {
            return self.core.find(&cgroups.service_of(number)?);
        }
        // Without cgroups: by the folder that its environment names.
        let environment = std::fs::read(format!("/proc/{number}/environ")).ok()?;
        let mut pairs = environment.split(|byte| *byte == 0);
        let folder = pairs.find_map(|pair| pair.strip_prefix(b"RUNTIME_DIRECTORY="))?;
        let folder = Path::new(std::str::from_utf8(folder).ok()?);
        (folder.parent() == Some(&self.place.run_dir))
            .then(|| self.core.find(folder.file_name()?.to_str()?))?
    }
}

/// Whether it is our child and alive.
fn is_child(number: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    // After the name, which may hold anything: state, parent.
    let mut fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    let state = fields.next();
    let parent = fields.next().and_then(|parent| parent.parse().ok());
    parent == Some(std::process::id()) && state.is_some_and(|state| state != "Z" && state != "X")
}
