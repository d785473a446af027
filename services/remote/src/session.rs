//! A person's session: a process that leads a session of its own (credentials(7)), on a
//! pseudo-terminal or on pipes, and that is `x0ctl` and nothing else.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

/// Makes this process the leader of a session, with the terminal on its standard input where that is
/// one, and becomes the program. Comes back only when that fails.
#[must_use]
pub fn become_session(mut command: impl Iterator<Item = OsString>) -> io::Error {
    let Some(program) = command.next() else {
        return io::Error::other("--session needs a program");
    };
    let stdin = rustix::stdio::stdin();
    let prepared = rustix::process::setsid().and_then(|_| match rustix::termios::isatty(stdin) {
        true => rustix::process::ioctl_tiocsctty(stdin),
        false => Ok(()),
    });
    match prepared {
        Ok(()) => std::process::Command::new(program).args(command).exec(),
        Err(error) => error.into(),
    }
}

/// What a session runs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) language: String,
}

/// A pseudo-terminal that the client asked for.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) kind: String,
    pub(crate) master: Arc<AsyncFd<OwnedFd>>,
}

impl Terminal {
    pub(crate) fn open(kind: &str, columns: u32, rows: u32) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; what it guards against is a descriptor that closes \
                      early, and an OwnedFd does not"
        )]
        let master = AsyncFd::new(master)?;
        let terminal = Self {
            kind: plain(kind, "vt220"),
            master: Arc::new(master),
        };
        terminal.resize(columns, rows);
        Ok(terminal)
    }

    pub(crate) fn resize(&self, columns: u32, rows: u32) {
        let short = |value: u32, or| match u16::try_from(value) {
            Ok(0) | Err(_) => or,
            Ok(value) => value,
        };
        let size = Winsize {
            ws_row: short(rows, 24),
            ws_col: short(columns, 80),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // A terminal of the wrong size still works.
        tcsetwinsize(self.master.get_ref(), size).ok();
    }

    /// Starts the job on it.
    pub(crate) fn start(&self, job: &Job) -> io::Result<Child> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(self.master.get_ref().as_fd(), flags)?;
        let mut command = command(job)?;
        command
            .env("TERM", &self.kind)
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave));
        command.spawn()
    }
}

/// Starts the job on pipes.
pub(crate) fn start_piped(job: &Job) -> io::Result<Child> {
    let mut command = command(job)?;
    command
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn()
}

fn command(job: &Job) -> io::Result<Command> {
    let mut command = Command::new(own_program()?);
    command
        .arg("--session")
        .arg(&job.program)
        .args(&job.arguments)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env("LANG", plain(&job.language, "C.UTF-8"))
        .kill_on_drop(true);
    Ok(command)
}

/// Hangs up, as a lost line would; `KILL` ends what ignores that.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        kill_process_group(pid, signal).ok();
        rustix::process::kill_process(pid, signal).ok();
    }
}

/// As a shell would tell it.
pub(crate) fn exit_code(status: ExitStatus) -> u32 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u32::try_from(code).ok())
        .unwrap_or(255)
}

/// The file that this process runs.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    // Without /proc the name that PID 1 gave: a whole path.
    let given = || std::env::args_os().next().map(PathBuf::from);
    std::env::current_exe().or_else(|error| given().ok_or(error))
}

/// Names of terminals and languages: anything else becomes `or`.
fn plain(text: &str, or: &str) -> String {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._@".contains(&b);
    match !text.is_empty() && text.len() <= 32 && text.bytes().all(allowed) {
        true => text.to_owned(),
        false => or.to_owned(),
    }
}
