//! Everything between the core and the kernel: one epoll loop that turns what happens into events and
//! does what the core says. It waits for nobody; whatever could block has a child or a deadline.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use api::Power;
use manifest::{CONTROL_GROUP_ID, Table};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::cgroup::Cgroups;
use crate::control::Control;
use crate::core::Core;
use crate::devices::{self, Announced, Announcements};
use crate::early::Facts;
use crate::event::{Action, Event, Level, Moment, ServiceId};
use crate::events::Events;
use crate::log::LogFile;
use crate::notify::NotifySocket;
use crate::process::Process;
use crate::reexec::Reexec;
use crate::slots::{Job, Records};
use crate::spawn::{self, Surroundings};
use crate::state::{Counters, StateError, StateFile};
use crate::sys;
use crate::tell::Teller;
use crate::verdict::Verdict;
use crate::watchdog::Watchdog;

/// Where and as what PID 1 works.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) run_dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) cgroups: Option<Cgroups>,
    pub(crate) facts: Facts,
    /// When PID 1 began.
    pub(crate) started: Moment,
    /// Services get their sandbox.
    pub(crate) confined: bool,
    /// There is a machine to switch off, not just a process to end.
    pub(crate) machine: bool,
    /// What comes after this program, and its arguments.
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// PID 1 at work.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) core: Core,
    pub(crate) processes: Vec<Process>,
    pub(crate) place: Place,
    pub(crate) records: Records,
    pub(crate) control: Control,
    pub(crate) counters: Counters,
    pub(crate) logs: LogFile,
    pub(crate) state_file: StateFile,
    /// The record of the state is older than the state.
    pub(crate) dirty: bool,
    pub(crate) reexec: Option<Reexec>,
    pub(crate) notes: Events,
    pub(crate) epoll: OwnedFd,
    pub(crate) events: VecDeque<Event>,
    pub(crate) teller: Teller,
    pub(crate) surroundings: Surroundings,
    pub(crate) by_pid: HashMap<u32, ServiceId>,
    pub(crate) notify: NotifySocket,
    signals: OwnedFd,
    pub(crate) watchdog: Option<Watchdog>,
    buttons: Vec<OwnedFd>,
    announcements: Option<Announcements>,
    pub(crate) verdict: Verdict,
    pub(crate) end: Option<Power>,
    /// The services were started before this program ran.
    resumed: bool,
}

/// The sockets of PID 1 itself.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) notify: NotifySocket,
    pub(crate) control: Control,
}

/// Why PID 1 cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("cannot listen on {path}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot {what}")]
    Kernel {
        what: &'static str,
        source: io::Error,
    },
    #[error("a descriptor was lost between two programs")]
    Lost,
    #[error("there is no memory for the state")]
    State(#[source] StateError),
}

/// What an epoll event is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    Announcement,
    Button(usize),
    Client(usize),
    /// A system call that a service's filter refused.
    Denied(usize),
    Emptied(usize),
    Kept(usize),
    Listener,
    Notify,
    Output(usize),
    Report(usize),
    Signal,
}

impl Token {
    pub(crate) fn pack(self) -> epoll::EventData {
        let (kind, place) = match self {
            Self::Announcement => (0, 0),
            Self::Button(place) => (1, place),
            Self::Client(place) => (2, place),
            Self::Emptied(place) => (3, place),
            Self::Listener => (4, 0),
            Self::Notify => (5, 0),
            Self::Output(place) => (6, place),
            Self::Report(place) => (7, place),
            Self::Signal => (8, 0),
            Self::Kept(place) => (9, place),
            Self::Denied(place) => (10, place),
        };
        epoll::EventData::new_u64(kind << 32 | place as u64)
    }

    fn unpack(data: epoll::EventData) -> Option<Self> {
        let place = usize::try_from(data.u64() & 0xffff_ffff).ok()?;
        Some(match data.u64() >> 32 {
            0 => Self::Announcement,
            1 => Self::Button(place),
            2 => Self::Client(place),
            3 => Self::Emptied(place),
            4 => Self::Listener,
            5 => Self::Notify,
            6 => Self::Output(place),
            7 => Self::Report(place),
            8 => Self::Signal,
            9 => Self::Kept(place),
            10 => Self::Denied(place),
            _ => return None,
        })
    }
}

const SIGNALS: [i32; 7] = [
    libc::SIGCHLD,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGPWR,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// Messages taken from the notify socket before others get their turn.
const NOTIFY_BATCH: usize = 64;

pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::Monotonic);
    let ms = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    Moment(u64::try_from(ms).unwrap_or(0))
}

impl Shell {
    pub(crate) fn new(table: Table, place: Place, teller: Teller) -> Result<Self, SetUpError> {
        let listen = |path: PathBuf| {
            move |source: Errno| SetUpError::Listen {
                path,
                source: source.into(),
            }
        };
        let path = place.run_dir.join("notify");
        let notify = NotifySocket::bind(&path).map_err(listen(path))?;
        let path = place.run_dir.join("init.sock");
        let group = place.machine.then_some(CONTROL_GROUP_ID);
        let control = Control::bind(&path, group).map_err(listen(path))?;
        let services = table.services().len();
        // The first is for the notes.
        let logs = LogFile::new(services + 1);
        let processes = (1..=services).map(|place| Process::new(logs.log(place)));
        let processes = processes.collect();
        let state_file = StateFile::new().map_err(SetUpError::State)?;
        let core = Core::new(place.started, table);
        let sockets = Sockets { notify, control };
        Self::assemble(core, processes, logs, place, teller, sockets, state_file)
    }

    /// Puts the parts together, new ones or taken over.
    pub(crate) fn assemble(
        core: Core,
        processes: Vec<Process>,
        logs: LogFile,
        place: Place,
        teller: Teller,
        Sockets { notify, control }: Sockets,
        state_file: StateFile,
    ) -> Result<Self, SetUpError> {
        let kernel = |what| {
            move |source: Errno| SetUpError::Kernel {
                what,
                source: source.into(),
            }
        };
        let signals = sys::signal_fd(&SIGNALS).map_err(|source| SetUpError::Kernel {
            what: "take signals",
            source,
        })?;
        let surroundings = Surroundings {
            run_dir: place.run_dir.clone(),
            data_dir: place.data_dir.clone(),
            notify: notify.path().into(),
            null: spawn::null().map_err(kernel("open /dev/null"))?,
            privileged: rustix::process::geteuid().is_root(),
            confined: place.confined,
        };
        let shell = Self {
            core,
            processes,
            notes: Events::of(&logs),
            logs,
            state_file,
            dirty: true,
            reexec: None,
            counters: Counters::default(),
            records: Records::default(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)
                .map_err(kernel("make an epoll set"))?,
            events: VecDeque::new(),
            by_pid: HashMap::new(),
            watchdog: None,
            buttons: Vec::new(),
            announcements: None,
            verdict: Verdict::default(),
            end: None,
            resumed: false,
            signals,
            notify,
            control,
            surroundings,
            place,
            teller,
        };
        for (fd, token) in [
            (shell.signals.as_fd(), Token::Signal),
            (shell.notify.as_fd(), Token::Notify),
            (shell.control.listener(), Token::Listener),
        ] {
            epoll::add(&shell.epoll, fd, token.pack(), epoll::EventFlags::IN)
                .map_err(kernel("watch a descriptor"))?;
        }
        shell.prepare_for_crash();
        Ok(shell)
    }

    /// Starts the services and supervises them until the end.
    pub(crate) fn run(&mut self) -> Power {
        if !self.resumed {
            self.listen_for_services();
            self.step(Event::Boot);
            if self.place.machine {
                self.attach_machine();
            }
        }
        self.snapshot();
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); 64];
        loop {
            self.wait(&mut buffer);
            self.answer_pending();
            self.housekeeping();
            self.snapshot();
            if let Some(power) = self.end {
                return power;
            }
        }
    }

    /// Ends the machine, or with it what this process had.
    pub(crate) fn finish(mut self, power: Power) {
        if !self.place.machine {
            return;
        }
        if let (Power::Poweroff, Some(watchdog)) = (power, self.watchdog.take()) {
            watchdog.disarm();
        }
        crate::power::end_machine(power);
    }

    /// The devices of a machine. Services are on their way already.
    fn attach_machine(&mut self) {
        let now = now();
        self.watchdog = Watchdog::open(now);
        let text = match &self.watchdog {
            Some(watchdog) => format!("hardware watchdog armed, {} s", watchdog.timeout_s),
            None => "no hardware watchdog: a hang needs a person".into(),
        };
        self.teller.tell(Level::Info, &text);
        self.attach_devices();
        let panic = devices::last_panic();
        let watchdog_fired = self
            .watchdog
            .as_ref()
            .is_some_and(|watchdog| watchdog.fired);
        if self.slot().is_some() {
            self.verdict.jobs.push_back(Job::Load {
                panic,
                watchdog_fired,
            });
        } else {
            self.teller.tell(
                Level::Info,
                "no x0.slot on the command line: booted without the slot selector",
            );
            self.records.previous_end = panic.or_else(|| {
                watchdog_fired.then(|| "the hardware watchdog reset the machine".into())
            });
        }
    }

    fn attach_devices(&mut self) {
        self.announcements = Announcements::listen().ok();
        if let Some(announcements) = &self.announcements {
            watch(&self.epoll, announcements, Token::Announcement);
        }
        self.find_buttons();
    }

    /// After a re-execution: whatever was watched is watched again.
    pub(crate) fn watch_resumed(&mut self) {
        self.resumed = true;
        self.watch_processes();
        for place in self.control.connected() {
            let Some(client) = self.control.client(place) else {
                continue;
            };
            let flags = if client.blocked() {
                epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            let token = Token::Client(place).pack();
            epoll::add(&self.epoll, client.stream(), token, flags).ok();
        }
        if self.place.machine {
            self.attach_devices();
            // What came in between was announced to nobody.
            self.find_ports();
        }
    }

    fn find_buttons(&mut self) {
        // Devices that are gone would be reported as ready for ever: start over.
        self.buttons = devices::power_buttons();
        for (place, button) in self.buttons.iter().enumerate() {
            watch(&self.epoll, button, Token::Button(place));
        }
    }

    fn wait(&mut self, buffer: &mut [MaybeUninit<epoll::Event>; 64]) {
        let wait_ms = if self.control.pending().is_empty() {
            self.next_deadline()
                .map(|deadline| deadline.ms_since(now()))
        } else {
            Some(0)
        };
        let timeout = wait_ms.map(|ms| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ms % 1000 * 1_000_000).unwrap_or(0),
        });
        let ready = match epoll::wait(&self.epoll, buffer.as_mut_slice(), timeout.as_ref()) {
            Ok((ready, _)) => ready.to_vec(),
            // Interrupted: deadlines are looked at, and it is called again.
            Err(_) => Vec::new(),
        };
        for event in ready {
            let flags = event.flags;
            if let Some(token) = Token::unpack(event.data) {
                self.dispatch(token, flags);
            }
        }
    }

    fn dispatch(&mut self, token: Token, flags: epoll::EventFlags) {
        match token {
            Token::Announcement => self.on_announcements(),
            Token::Button(place) => {
                if self.buttons.get(place).is_some_and(devices::power_pressed) {
                    self.teller.tell(Level::Info, "power button pressed");
                    self.step(Event::Power(Power::Poweroff));
                }
            }
            Token::Client(place) => self.on_client(place, flags),
            Token::Denied(place) => self.on_denied(ServiceId(place), flags),
            Token::Emptied(place) => self.on_emptied(ServiceId(place)),
            Token::Kept(place) => self.on_kept(ServiceId(place)),
            Token::Listener => self.on_connections(),
            Token::Notify => self.on_notify(),
            Token::Output(place) => self.on_output(ServiceId(place)),
            Token::Report(place) => self.on_report(ServiceId(place)),
            Token::Signal => self.on_signals(),
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let processes = self.processes.iter().filter_map(Process::deadline);
        let helper = self.verdict.deadline();
        let watchdog = self.watchdog.as_ref().map(Watchdog::deadline);
        let core = self.core.next_deadline();
        let reexec = self.reexec.as_ref().and_then(Reexec::deadline);
        let others = helper.into_iter().chain(watchdog).chain(core).chain(reexec);
        processes.chain(others).min()
    }

    fn housekeeping(&mut self) {
        let now = now();
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.pet_when_due(now);
        }
        if self
            .core
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.step(Event::Tick);
        }
        for place in 0..self.processes.len() {
            if self.processes[place]
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                self.stop_waiting_for_rest(ServiceId(place));
            }
        }
        self.advance_helper(now);
        self.note_health();
        self.drop_kept();
        self.advance_reexec(now);
    }

    /// Feeds one event to the core and does everything that follows from it.
    pub(crate) fn step(&mut self, event: Event) {
        self.dirty = true;
        self.events.push_back(event);
        while let Some(event) = self.events.pop_front() {
            for action in self.core.handle(now(), event) {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Commit => self.order(Job::Commit),
            Action::Escalate(reason) => {
                self.teller.tell(Level::Error, &reason);
                self.note("escalated", None, &reason);
                let ban = self.core.committed();
                self.order(Job::Escalate { reason, ban });
            }
            Action::Finish(Power::SoftReboot) => self.soft_reboot(),
            Action::Finish(power) => self.end = Some(power),
            Action::Kill(id) => self.kill(id),
            Action::Note(kind, id, reason) => self.note(kind, id, &reason),
            Action::Spawn(id) => self.spawn(id),
            Action::Tell(level, id, text) => self.tell(level, id, &text),
            Action::Terminate(id) => self.terminate(id),
        }
    }

    pub(crate) fn tell(&mut self, level: Level, id: Option<ServiceId>, text: &str) {
        let Some(id) = id else {
            return self.teller.tell(level, text);
        };
        let line = format!("{}: {text}", self.core.units()[id.0].service.name);
        self.teller.tell(level, &line);
        self.remark(id, text);
    }

    fn on_signals(&mut self) {
        while let Some(signal) = sys::next_signal(self.signals.as_fd()) {
            match signal {
                libc::SIGCHLD => {
                    // What a service said before it died counts; its pid is still its own.
                    self.on_notify();
                    self.reap();
                }
                // Ctrl-Alt-Del; SIGTERM as in other inits.
                libc::SIGINT | libc::SIGTERM => {
                    let power = if self.place.machine {
                        Power::Reboot
                    } else {
                        Power::Poweroff
                    };
                    self.step(Event::Power(power));
                }
                libc::SIGHUP => self.request_reexec(),
                // The uninterruptible power supply runs out.
                libc::SIGPWR => self.step(Event::Power(Power::Poweroff)),
                _ => {}
            }
        }
    }

    fn on_notify(&mut self) {
        for _ in 0..NOTIFY_BATCH {
            let Some(message) = self.notify.next() else {
                return;
            };
            let sender = message
                .as_ref()
                .ok()
                .and_then(|message| self.sender(message.pid));
            let (Ok(message), Some(id)) = (message, sender) else {
                self.counters.notify_rejected += 1;
                if self.counters.notify_rejected.is_power_of_two() {
                    let text = format!(
                        "{} notify messages from no service dropped",
                        self.counters.notify_rejected
                    );
                    self.teller.tell(Level::Warning, &text);
                }
                continue;
            };
            if let Some(order) = message.said.store {
                self.store(id, order, message.fds);
            }
            for notification in message.said.notifications {
                self.step(Event::Notified(id, notification));
            }
        }
    }

    /// The service that a process belongs to.
    fn sender(&self, pid: u32) -> Option<ServiceId> {
        if let Some(id) = self.by_pid.get(&pid) {
            return Some(*id);
        }
        if let Some(cgroups) = &self.place.cgroups {
            return self.core.find(&cgroups.service_of(pid)?);
        }
        // Without cgroups: each service is a session of its own.
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        let session = rustix::process::getsid(Some(pid)).ok()?;
        let leader = session.as_raw_pid().unsigned_abs();
        self.by_pid.get(&leader).copied()
    }

    fn on_announcements(&mut self) {
        let (mut ports, mut input) = (false, false);
        while let Some(announced) = self.announcements.as_ref().and_then(Announcements::next) {
            ports |= announced == Announced::VirtioPort;
            input |= announced == Announced::Input;
        }
        if input {
            self.find_buttons();
        }
        if ports {
            self.find_ports();
        }
    }

    fn find_ports(&self) {
        devices::link_virtio_ports();
        for unit in self.core.units() {
            for device in &unit.service.devices {
                // A service that finds its device closed to it says so itself.
                spawn::own_device(device, unit.service.user.id).ok();
            }
        }
    }
}

/// Watches a descriptor for input. When the kernel refuses (it is out of memory), what belongs to the
/// descriptor is covered by deadlines.
pub(crate) fn watch(epoll: &OwnedFd, fd: impl AsFd, token: Token) {
    epoll::add(epoll, fd, token.pack(), epoll::EventFlags::IN).ok();
}
