//! Runs a program of e2fsprogs with a deadline, and keeps the end of what it said.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

const SAID_BYTES: u64 = 2048;
/// e2fsck leaves the file system consistent on SIGTERM; so long it has for that.
const GRACE: Duration = Duration::from_secs(5);

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("{program} cannot be started")]
    Start {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{program} was stopped after {limit_s} s")]
    TooSlow { program: &'static str, limit_s: u64 },
    #[error("{program} was killed ({status})")]
    Killed {
        program: &'static str,
        status: ExitStatus,
    },
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    /// The end of its output on one line.
    pub(crate) said: String,
}

/// Runs `program` (an absolute path) with `arguments` and waits for its end, at most `limit`.
///
/// # Errors
/// When it cannot be started, is too slow, or dies by a signal.
pub(crate) fn run<S: AsRef<OsStr>>(
    program: &'static str,
    arguments: &[S],
    limit: Duration,
) -> Result<Answer, ToolError> {
    let start = |source| ToolError::Start { program, source };
    // A file in memory takes the output: unlike a pipe it can neither fill up nor block anybody.
    let mut output = File::from(
        rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC).map_err(|e| start(e.into()))?,
    );
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        // The options given are all that counts, whatever a configuration file would say.
        .env("MKE2FS_CONFIG", "/dev/null")
        .env("E2FSCK_CONFIG", "/dev/null")
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(start)?)
        .stderr(output.try_clone().map_err(start)?)
        .spawn()
        .map_err(start)?;
    let status = wait(&mut child, limit)
        .map_err(start)?
        .ok_or(ToolError::TooSlow {
            program,
            limit_s: limit.as_secs(),
        })?;
    let code = status.code().ok_or(ToolError::Killed { program, status })?;
    Ok(Answer {
        code,
        said: last_words(&mut output).unwrap_or_default(),
    })
}

/// `None` when it had to be stopped.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let ended_within = |limit: Duration| -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).expect("limits are a few minutes at most");
            let mut fds = [PollFd::new(&handle, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(ready) => return Ok(ready > 0),
            }
        }
    };
    if ended_within(limit)? {
        return child.wait().map(Some);
    }
    rustix::process::kill_process(pid, Signal::TERM)?;
    if !ended_within(GRACE)? {
        child.kill()?;
    }
    child.wait()?;
    Ok(None)
}

fn last_words(output: &mut File) -> io::Result<String> {
    let length = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES)))?;
    let mut bytes = Vec::new();
    output.take(SAID_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    Ok(lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_code_and_output() {
        let answer = run(
            "/bin/sh",
            &["-c", "echo one; echo two >&2; exit 5"],
            Duration::from_secs(30),
        )
        .unwrap();
        assert_eq!((answer.code, answer.said.as_str()), (5, "one; two"));
    }

    #[test]
    fn stops_what_takes_too_long() {
        let error = run("/bin/sleep", &["1000"], Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ToolError::TooSlow { .. }), "{error}");
    }

    #[test]
    fn says_what_is_missing() {
        let error = run("/no/such", &[""; 0], Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "/no/such cannot be started");
    }
}
