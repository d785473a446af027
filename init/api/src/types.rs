use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything PID 1 tells about the machine.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// Version of the image.
    pub version: String,
    /// The commit that the image was built from.
    pub build: String,
    /// The machine's name.
    pub hostname: String,
    /// The slot that was booted: `a` or `b`. None on a direct boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Boots that the selector has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_count: Option<u64>,
    /// How the boot before this one ended, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_end: Option<String>,
    /// Whether the machine does its work.
    pub health: Health,
    /// Since the kernel started.
    pub uptime_ms: u64,
    /// From the start of PID 1 until every service was ready for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userspace_ready_ms: Option<u64>,
    /// Messages to the notify socket that were dropped because their sender was no service.
    pub notify_rejected: u64,
    /// Re-executions of PID 1 since the boot, those after a crash included.
    #[serde(default)]
    pub reexecs: u64,
    /// How long PID 1 was away at the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reexec_us: Option<u64>,
    /// Why PID 1 crashed in this boot, and came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<String>,
    /// Restarts of all services without a restart of the kernel.
    #[serde(default)]
    pub soft_reboots: u64,
    /// Each service, after what it needs.
    pub services: Vec<ServiceStatus>,
}

impl Status {
    /// The service `name`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceStatus> {
        self.services.iter().find(|service| service.name == name)
    }
}

/// Whether the machine does its work, and if not, why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Health {
    /// The verdict.
    pub state: HealthState,
    /// Why it is not `healthy`, in words.
    pub reasons: Vec<String>,
}

/// The verdict on the machine.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// It works, with the reasons given.
    Degraded,
    /// A critical service was given up.
    Failed,
    /// Every critical service is ready and stays so.
    Healthy,
    /// Not every critical service is ready yet.
    Starting,
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Healthy => "healthy",
            Self::Starting => "starting",
        })
    }
}

/// One service as PID 1 sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// One line from its manifest.
    pub description: String,
    /// Where it is in its life.
    pub state: ServiceState,
    /// Its main process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since it entered this state.
    pub uptime_ms: u64,
    /// Restarts since boot.
    pub restarts: u64,
    /// What the service says of itself (`STATUS=`).
    pub status_text: String,
    /// How its last process ended, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Whether the machine is healthy only while it is ready.
    pub critical: bool,
    /// The services that it needs.
    pub needs: Vec<String>,
    /// What its processes used since the boot; absent where there are no control groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Descriptors that PID 1 keeps for it (`FDSTORE=1`).
    #[serde(default)]
    pub stored_fds: u32,
}

/// What the control group of a service counted, all its processes together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resources {
    /// Processor time.
    pub cpu_us: u64,
    /// Memory now.
    pub memory_bytes: u64,
    /// The most memory it ever had.
    pub memory_peak_bytes: u64,
    /// Read from disks.
    pub io_read_bytes: u64,
    /// Written to disks.
    pub io_write_bytes: u64,
    /// Processes and threads now.
    pub tasks: u64,
    /// Processes that the kernel killed since memory ran out.
    pub oom_kills: u64,
}

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It ended and will be started again soon.
    Backoff,
    /// A oneshot that ran to its end.
    Done,
    /// Given up; a manual start tries again.
    Failed,
    /// It does its work.
    Ready,
    /// It runs and is not ready yet.
    Starting,
    /// It was stopped by a person, or ended and is not to be restarted.
    Stopped,
    /// It was asked to stop and has not yet.
    Stopping,
    /// For the services that it needs.
    Waiting,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Backoff => "backoff",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Stopping => "stopping",
            Self::Waiting => "waiting",
        })
    }
}

/// One line of a service's log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogLine {
    /// When it was written, counted from the kernel's start.
    pub uptime_ms: u64,
    /// The line, without its end; bytes that are not UTF-8 and control characters are replaced.
    pub text: String,
}

/// What `Power` does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Stops everything and switches the machine off.
    Poweroff,
    /// Stops everything and starts the machine again.
    Reboot,
    /// Stops every service and starts all of them again, without the kernel.
    #[serde(rename = "soft_reboot")]
    SoftReboot,
}

/// What PID 1 noted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Event {
    /// Counts up from 0 since the boot.
    pub number: u64,
    /// Since the kernel started.
    pub uptime_ms: u64,
    /// What happened, e.g. `failed`, `given_up`, `escalated`, `crash`, `oom`.
    pub kind: String,
    /// To which service, if to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Why, in words.
    pub reason: String,
}

/// What took how long from the kernel's start until every service was ready.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Blame {
    /// Until PID 1 began. Firmware and slot selector come before the kernel and are not known here.
    pub kernel_ms: u64,
    /// From there until every service was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userspace_ms: Option<u64>,
    /// Each service, after what it needs.
    pub services: Vec<BlameEntry>,
    /// Services, each of which waited for the one before; the last was ready last.
    pub critical_path: Vec<String>,
}

/// One service's way to readiness; moments count from the kernel's start.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BlameEntry {
    /// Its name.
    pub service: String,
    /// When its process was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// The time between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Of the services that it needs, the one that was ready last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_for: Option<String>,
}

/// What a service may do, and what it was denied. Paths stand for all that is below them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// Whose.
    pub service: String,
    /// All of it in words, one sentence each.
    pub sentences: Vec<String>,
    /// The user that it runs as.
    pub user: String,
    /// Its supplementary groups.
    pub groups: Vec<String>,
    /// Its capabilities, without `cap_`.
    pub capabilities: Vec<String>,
    /// Groups of system calls beyond those that every service may make.
    pub syscalls: Vec<String>,
    /// What it may read.
    pub read: Vec<String>,
    /// What it may write.
    pub write: Vec<String>,
    /// Programs that it may run.
    pub exec: Vec<String>,
    /// Where it may mount something.
    pub mount: Vec<String>,
    /// Device nodes.
    pub devices: Vec<String>,
    /// `none`, `unix` or `host`.
    pub network: String,
    /// TCP ports that it may listen on; `any` for all.
    pub tcp_bind: Vec<String>,
    /// TCP ports that it may connect to; `any` for all.
    pub tcp_connect: Vec<String>,
    /// The kernel's Landlock ABI; 0 without Landlock.
    pub landlock_abi: u32,
    /// What it was refused since the boot.
    pub denials: Vec<Denial>,
}

/// Something that a service was refused, or that its limits cost it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Denial {
    /// The system call's name, or e.g. `memory.max`, `pids.max`.
    pub what: String,
    /// How often.
    pub count: u64,
    /// Since the kernel started; None where the kernel only counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<u64>,
}
