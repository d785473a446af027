//! The first milliseconds of a machine: what must be there before any service can start.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, Timespec};

/// What the image and the boot loader say about this boot.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) version: String,
    pub(crate) build: String,
    /// `a` or `b`; none on a boot without the slot selector.
    pub(crate) slot: Option<String>,
    build_time_s: Option<i64>,
}

/// Mounts, console, limits, name, clock. Gives what went wrong, in words; none of it keeps the
/// machine from trying to start its services.
pub(crate) fn set_up() -> (Facts, Vec<String>) {
    let mut problems = Vec::new();
    for mount in MOUNTS {
        mount.make(&mut problems);
    }
    for (name, value) in SYSCTLS {
        set_sysctl(name, value, &mut problems);
    }
    if let Err(error) = use_console() {
        problems.push(format!("cannot open /dev/console: {error}"));
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let files = Rlimit {
        current: Some(OPEN_FILES),
        maximum: Some(OPEN_FILES),
    };
    rustix::process::setrlimit(Resource::Nofile, files).ok();
    // Else the kernel drops messages to /dev/kmsg when many come at once, and PID 1's last words
    // would be among them.
    std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n").ok();
    // Ctrl-Alt-Del becomes SIGINT instead of an immediate reset.
    if let Err(error) = rustix::system::reboot(RebootCommand::CadOff) {
        problems.push(format!("cannot take over Ctrl-Alt-Del: {error}"));
    }
    rustix::system::sethostname(b"x0tta6bl4").ok();
    let facts = Facts::read();
    if let Err(error) = keep_clock_sane(facts.build_time_s) {
        problems.push(format!("cannot set the clock: {error}"));
    }
    (facts, problems)
}

const OPEN_FILES: u64 = 64 * 1024;

struct Mount {
    kind: &'static CStr,
    target: &'static CStr,
    flags: MountFlags,
    options: &'static CStr,
    /// Kernels may lack it.
    optional: bool,
}

const NO_SUID: MountFlags = MountFlags::NOSUID;
const DATA_ONLY: MountFlags = NO_SUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// In this order: later ones lie inside earlier ones.
const MOUNTS: [Mount; 9] = [
    Mount::new(c"proc", c"/proc", DATA_ONLY, c""),
    Mount::new(c"sysfs", c"/sys", DATA_ONLY, c""),
    Mount::new(
        c"devtmpfs",
        c"/dev",
        NO_SUID.union(MountFlags::NOEXEC),
        c"mode=0755",
    ),
    Mount::new(c"tmpfs", c"/run", DATA_ONLY, c"mode=0755,size=10%"),
    Mount::new(c"tmpfs", c"/tmp", DATA_ONLY, c"mode=1777,size=10%"),
    Mount::new(c"tmpfs", c"/var", DATA_ONLY, c"mode=0755,size=5%"),
    Mount::new(
        c"cgroup2",
        c"/sys/fs/cgroup",
        DATA_ONLY,
        c"nsdelegate,memory_recursiveprot",
    ),
    Mount::new(c"pstore", c"/sys/fs/pstore", DATA_ONLY, c"").optional(),
    Mount::new(c"bpf", c"/sys/fs/bpf", DATA_ONLY, c"mode=0700").optional(),
];

impl Mount {
    const fn new(
        kind: &'static CStr,
        target: &'static CStr,
        flags: MountFlags,
        options: &'static CStr,
    ) -> Self {
        Self {
            kind,
            target,
            flags,
            options,
            optional: false,
        }
    }

    const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    fn make(&self, problems: &mut Vec<String>) {
        match mount(self.kind, self.target, self.kind, self.flags, self.options) {
            // The kernel has mounted /dev by itself.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(_) if self.optional => {}
            Err(error) => {
                let target = self.target.to_string_lossy();
                problems.push(format!("cannot mount {target}: {error}"));
            }
        }
    }
}

/// What the kernel leaves open by default, as the Kernel Self-Protection Project recommends it; only
/// the JIT is hardened against others alone, since constant blinding would slow our own filters down.
const SYSCTLS: [(&str, &str); 11] = [
    ("fs/protected_fifos", "2"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_symlinks", "1"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/yama/ptrace_scope", "2"),
    ("net/core/bpf_jit_harden", "1"),
    ("user/max_user_namespaces", "0"),
    // Files in memory are no programs, unless a process says so; which sandboxes refuse.
    ("vm/memfd_noexec", "1"),
];

fn set_sysctl(name: &str, value: &str, problems: &mut Vec<String>) {
    match std::fs::write(format!("/proc/sys/{name}"), value) {
        // A kernel without the feature needs no limit for it.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            problems.push(format!("cannot set {}: {error}", name.replace('/', ".")));
        }
        _ => {}
    }
}

fn use_console() -> Result<(), Errno> {
    // Non-blocking: a console that takes no output must not stop PID 1.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let console = rustix::fs::open(c"/dev/console", flags, Mode::empty())?;
    rustix::stdio::dup2_stdin(&console)?;
    rustix::stdio::dup2_stdout(&console)?;
    rustix::stdio::dup2_stderr(&console)
}

/// A router without a battery wakes up in 1970, where no certificate is valid: time never is before
/// the image was built.
fn keep_clock_sane(floor_s: Option<i64>) -> io::Result<()> {
    let Some(floor_s) = floor_s else {
        return Ok(());
    };
    if rustix::time::clock_gettime(ClockId::Realtime).tv_sec < floor_s {
        let floor = Timespec {
            tv_sec: floor_s,
            tv_nsec: 0,
        };
        rustix::time::clock_settime(ClockId::Realtime, floor)?;
    }
    Ok(())
}

impl Facts {
    pub(crate) fn read() -> Self {
        let release = std::fs::read_to_string("/usr/lib/os-release").unwrap_or_default();
        let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        Self::parse(&release, &command_line)
    }

    fn parse(release: &str, command_line: &str) -> Self {
        let field = |key: &str| {
            let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
            let value = release.lines().find_map(value).unwrap_or_default();
            value.trim().trim_matches('"').to_owned()
        };
        let slot = command_line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("x0.slot="));
        Self {
            version: field("VERSION_ID"),
            build: field("BUILD_ID"),
            slot: slot
                .filter(|slot| matches!(*slot, "a" | "b"))
                .map(Into::into),
            build_time_s: field("X0_BUILD_TIME").parse().ok(),
        }
    }

    /// For a PID 1 that runs from no image.
    pub(crate) fn of_this_build() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            ..Self::default()
        }
    }
}

/// Makes the folder for sockets and services.
pub(crate) fn run_folder(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_from_os_release_and_command_line() {
        let release =
            "ID=x0tta6bl4\nVERSION_ID=\"0.1.0\"\nBUILD_ID=abc\nX0_BUILD_TIME=1790000000\n";
        let facts = Facts::parse(release, "quiet x0.slot=b ro\n");
        assert_eq!(facts.version, "0.1.0");
        assert_eq!(facts.build, "abc");
        assert_eq!(facts.slot.as_deref(), Some("b"));
        assert_eq!(facts.build_time_s, Some(1_790_000_000));
        assert_eq!(Facts::parse("", "x0.slot=/etc").slot, None);
    }
}
