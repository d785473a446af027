//! Reads volumes in child processes: a stick that makes reading hang, or a file that breaks the
//! parser, costs one child and no more.
//!
//! Each child opens its device, gives up all capabilities, limits itself, and only then reads a
//! byte. It answers by its exit status, and by text on its standard output.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use runtime::Chain;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::volume::{self, Checked, VolumeError};

/// The argument that makes this program a child; the device's path follows.
pub const CHILD_ARGUMENT: &str = "--read";

const NOT_OURS: u8 = 10;
const REFUSED: u8 = 11;
/// A document and its error messages are smaller.
const ANSWER_BYTES_MAX: u64 = config::SIZE_MAX_BYTES as u64;
const MEMORY_BYTES_MAX: u64 = 256 << 20;
const CPU_SECONDS_MAX: u64 = 5;

/// What a child found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Document(Checked),
    /// No volume of ours.
    Nothing,
    /// One of ours, but of no use; for a person.
    Refused(String),
}

/// Reads all of `devices` at the same time, and waits for the slowest at most `limit`.
#[must_use]
pub fn read_all(
    program: &Path,
    devices: impl IntoIterator<Item = PathBuf>,
    limit: Duration,
) -> BTreeMap<PathBuf, Found> {
    let deadline = Instant::now() + limit;
    let children: Vec<_> = devices
        .into_iter()
        .map(|device| (start(program, &device), device))
        .collect();
    children
        .into_iter()
        .map(|(child, device)| {
            let found = child
                .and_then(|child| finish(child, deadline))
                .unwrap_or_else(|error| Found::Refused(format!("cannot be read: {error}")));
            (device, found)
        })
        .collect()
}

/// The child's own life. Says nothing but its answer.
#[must_use]
pub fn child(device: &Path) -> ExitCode {
    let result = File::open(device).and_then(|file| {
        give_up_powers()?;
        Ok(file)
    });
    let (code, answer) = match result {
        Ok(file) => match volume::read(&file) {
            Ok(checked) => (0, checked.text),
            Err(VolumeError::NotOurs) => (NOT_OURS, String::new()),
            Err(error) => (REFUSED, Chain(&error).to_string()),
        },
        // Without a medium, or gone again.
        Err(error) => (NOT_OURS, error.to_string()),
    };
    match io::stdout().write_all(answer.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

fn give_up_powers() -> io::Result<()> {
    let limit = |resource, most| {
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )
    };
    limit(Resource::As, MEMORY_BYTES_MAX)?;
    limit(Resource::Cpu, CPU_SECONDS_MAX)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, ANSWER_BYTES_MAX)?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

fn start(program: &Path, device: &Path) -> io::Result<Child> {
    Command::new(program)
        .arg(CHILD_ARGUMENT)
        .arg(device)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

fn finish(mut child: Child, deadline: Instant) -> io::Result<Found> {
    let mut output = child.stdout.take().expect("it was asked for in start()");
    let Some(answer) = read_until(&mut output, deadline)? else {
        // Not waited for: it may hang in the kernel until the stick is pulled out.
        child.kill()?;
        return Ok(Found::Refused(
            "does not answer in time; try another stick".into(),
        ));
    };
    // It closes its output only by exiting, which a signal cannot undo; one that a volume took over
    // might do otherwise.
    child.kill()?;
    let status = child.wait()?;
    Ok(match status.code() {
        Some(0) => match volume::check(answer) {
            Ok(checked) => Found::Document(checked),
            Err(error) => Found::Refused(Chain(&error).to_string()),
        },
        Some(code) if code == i32::from(NOT_OURS) => Found::Nothing,
        Some(code) if code == i32::from(REFUSED) => Found::Refused(one_line(&answer)),
        _ => Found::Refused(format!("broke its reader ({status})")),
    })
}

/// All of the output, or `None` when it takes too long. An answer that is too long is cut.
fn read_until(output: &mut (impl Read + AsFd), deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(output, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(None),
            Ok(_) => {}
        }
        let length = output.read(&mut chunk)?;
        if length == 0 || answer.len() as u64 > ANSWER_BYTES_MAX {
            return Ok(Some(answer));
        }
        answer.extend_from_slice(&chunk[..length]);
    }
}

/// For a log line and the console: several problems beside each other.
fn one_line(text: &[u8]) -> String {
    const CHARS_MAX: usize = 1000;
    let text = String::from_utf8_lossy(text);
    let line: String = text
        .lines()
        .flat_map(|line| [line, "; "])
        .flat_map(str::chars)
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect();
    line.trim_end_matches("; ").to_owned()
}
