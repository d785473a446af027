//! A person's session at a terminal: one process with everything that it starts.
//!
//! The console starts itself anew as `console --session PROGRAM`. That process makes itself the
//! leader of a session with the terminal as its controlling one (credentials(7)) and becomes the
//! program, so that Ctrl-C reaches the program and a hang-up ends it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

/// How a session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// The program, with which the person works.
    pub program: PathBuf,
    /// Without a key for so long the person is taken to have left.
    pub idle_ms: u64,
}

/// Between the hang-up and the end that nobody can refuse.
const GRACE_MS: u64 = 2_000;
/// How often is looked whether a key was pressed. The kernel notes that with 8 s of precision.
const IDLE_LOOK_MS: u64 = 5_000;

/// Makes this process the leader of a session at the terminal on its standard input, and becomes
/// the program. Comes back only when that fails.
#[must_use]
pub fn become_session(mut command: impl Iterator<Item = OsString>) -> io::Error {
    let Some(program) = command.next() else {
        return io::Error::other("--session needs a program");
    };
    let prepared = rustix::process::setsid()
        .and_then(|_| rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()));
    match prepared {
        Ok(()) => Command::new(program).args(command).exec(),
        Err(error) => error.into(),
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The program ended by itself.
    Left(ExitStatus),
    /// Nobody pressed a key for too long.
    Idle,
    /// The line was hung up.
    HungUp,
}

impl End {
    /// For the event log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Left(status) if status.signal().is_some() => "crashed",
            Self::Left(_) => "left",
            Self::Idle => "idle",
            Self::HungUp => "hung up",
        }
    }

    /// For the person, where it is worth saying.
    pub(crate) fn remark(self) -> Option<String> {
        match self {
            Self::Left(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => Some(format!("The session was killed by signal {signal}.")),
                (_, Some(code @ 126..=127)) => {
                    Some(format!("The session could not be started (status {code})."))
                }
                _ => None,
            },
            Self::Idle => Some("Logged out: no key was pressed for too long.".to_owned()),
            Self::HungUp => None,
        }
    }
}

/// A session that runs.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    exit: OwnedFd,
    began_ms: u64,
    idle_limit_ms: u64,
    last_key_ms: u64,
    look_at_ms: u64,
    /// The terminal's access time: it changes with keys.
    accessed: i64,
    /// Why it has to end, and when it is killed.
    ending: Option<(End, u64)>,
}

impl Session {
    pub(crate) fn start(device: &Path, shell: &Shell, now_ms: u64) -> io::Result<Self> {
        // Opened anew: the console's own descriptor does not block, and that would be shared.
        let terminal: OwnedFd = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(device)?
            .into();
        let mut child = Command::new(own_program()?)
            .arg("--session")
            .arg(&shell.program)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env("TERM", terminal_type(device))
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::from(terminal.try_clone()?))
            .stdout(Stdio::from(terminal.try_clone()?))
            .stderr(Stdio::from(terminal))
            .spawn()?;
        let pid = Pid::from_child(&child);
        let exit = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(exit) => exit,
            Err(error) => {
                child.kill().ok();
                child.wait().ok();
                return Err(error.into());
            }
        };
        Ok(Self {
            child,
            exit,
            began_ms: now_ms,
            idle_limit_ms: shell.idle_ms,
            last_key_ms: now_ms,
            look_at_ms: now_ms,
            accessed: 0,
            ending: None,
        })
    }

    /// Becomes readable when the program has ended.
    pub(crate) fn exit_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    /// Whether a hang-up would be news.
    pub(crate) fn listens_for_hangup(&self) -> bool {
        self.ending.is_none()
    }

    pub(crate) fn seconds(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.began_ms) / 1_000
    }

    /// When the next turn is due.
    pub(crate) fn due_ms(&self) -> u64 {
        match self.ending {
            Some((_, kill_at_ms)) => kill_at_ms,
            None => self.look_at_ms,
        }
    }

    /// Looks after the session; its end once it is over.
    pub(crate) fn turn(&mut self, now_ms: u64, terminal: BorrowedFd<'_>) -> Option<End> {
        if happened(self.exit.as_fd(), PollFlags::IN) {
            return Some(self.bury());
        }
        match self.ending {
            Some((_, kill_at_ms)) if now_ms >= kill_at_ms => {
                self.signal(Signal::KILL);
                self.ending = self
                    .ending
                    .map(|(end, _)| (end, now_ms.saturating_add(GRACE_MS)));
            }
            Some(_) => {}
            None if happened(terminal, PollFlags::HUP) => self.hang_up(now_ms, End::HungUp),
            None if now_ms >= self.look_at_ms => self.look_for_keys(now_ms, terminal),
            None => {}
        }
        None
    }

    fn look_for_keys(&mut self, now_ms: u64, terminal: BorrowedFd<'_>) {
        self.look_at_ms = now_ms.saturating_add(IDLE_LOOK_MS.min(self.idle_limit_ms));
        let accessed = rustix::fs::fstat(terminal).map_or(self.accessed, |stat| stat.st_atime);
        if accessed != self.accessed {
            self.accessed = accessed;
            self.last_key_ms = now_ms;
        } else if now_ms.saturating_sub(self.last_key_ms) >= self.idle_limit_ms {
            self.hang_up(now_ms, End::Idle);
        }
    }

    fn hang_up(&mut self, now_ms: u64, end: End) {
        self.ending = Some((end, now_ms.saturating_add(GRACE_MS)));
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        // The process alone as long as it is not yet the leader of its own group. When the leader
        // goes, the kernel hangs up on whoever else is in the foreground of its session.
        pidfd_send_signal(&self.exit, signal).ok();
        kill_process_group(Pid::from_child(&self.child), signal).ok();
    }

    fn bury(&mut self) -> End {
        // The leader is not yet waited for, so its number still names its group and nobody else's.
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        let status = self.child.wait().unwrap_or_default();
        self.ending.map_or(End::Left(status), |(end, _)| end)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().ok();
    }
}

/// The file that this process runs.
fn own_program() -> io::Result<PathBuf> {
    // Without /proc the name that PID 1 gave: a whole path.
    let given = || std::env::args_os().next().map(PathBuf::from);
    std::env::current_exe().or_else(|error| given().ok_or(error))
}

fn happened(fd: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().intersects(flags)
}

/// What programs shall take the terminal for.
fn terminal_type(device: &Path) -> &'static str {
    match crate::terminal::is_screen(device) {
        true => "linux",
        // What nearly everything that hangs on a serial line understands.
        false => "vt220",
    }
}
