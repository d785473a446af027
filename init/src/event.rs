//! What happens to the core, and what it wants done: closed sets, without any I/O.

use std::fmt;

use api::Power;
use serde::{Deserialize, Serialize};

/// A point of the monotonic clock, in milliseconds since the kernel started.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Moment(pub u64);

impl Moment {
    /// `wait_ms` later.
    #[must_use]
    pub fn after_ms(self, wait_ms: u64) -> Self {
        Self(self.0.saturating_add(wait_ms))
    }

    /// Milliseconds from `earlier` to this.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A service, by its position in the table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceId(pub usize);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A process of the service runs that an earlier PID 1 made; whether it counts as ready.
    Adopted {
        id: ServiceId,
        pid: u32,
        ready: bool,
    },
    /// The machine is set up: start the services.
    Boot,
    /// BOOTSTATE says that this boot is good, or could not be written.
    Committed(Result<(), String>),
    /// The service's program runs.
    Executed(ServiceId),
    /// The service's main process, and all that it left behind, is gone.
    Exited(ServiceId, Exit),
    Notified(ServiceId, Notification),
    Power(Power),
    Restart(ServiceId),
    /// No process could be made.
    SpawnFailed(ServiceId, String),
    /// A process was made and is on its way to the service's program.
    Spawned(ServiceId, u32),
    Start(ServiceId),
    Stop(ServiceId),
    /// A deadline may have passed.
    Tick,
}

/// What a service said of itself (`sd_notify(3)`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notification {
    Ready,
    Status(String),
    /// It is alive.
    Watchdog,
    /// It asks to be treated as if it had fallen silent.
    WatchdogTrigger,
}

/// How a process ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Nobody saw it end: PID 1 had crashed.
    Unseen,
    /// Killed by PID 1 for what it did in its sandbox.
    Sandbox(String),
    /// It never reached its program.
    Setup(String),
}

impl Exit {
    /// Whether it ended well.
    #[must_use]
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::Unseen => write!(f, "ended while PID 1 was away"),
            Self::Sandbox(reason) => write!(f, "killed: {reason}"),
            Self::Setup(reason) => write!(f, "could not start: {reason}"),
        }
    }
}

/// Something to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Record in BOOTSTATE that this boot is good.
    Commit,
    /// The machine cannot do its work in this slot: record why and boot the other one, if there is
    /// one to boot.
    Escalate(String),
    /// Every service is stopped: end.
    Finish(Power),
    /// Kill every process of the service.
    Kill(ServiceId),
    /// Keep for the event log: what kind, about which service, why.
    Note(&'static str, Option<ServiceId>, String),
    Spawn(ServiceId),
    /// Tell people.
    Tell(Level, Option<ServiceId>, String),
    /// Ask the service's main process to stop.
    Terminate(ServiceId),
}

/// How much a message matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Someone must act.
    Error,
    /// State change.
    Info,
    /// Degraded.
    Warning,
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}
