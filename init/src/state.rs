//! What one PID 1 leaves to the next: a record in an anonymous file, in two places by turns, so that
//! a whole one is there at every moment, also at that of a crash.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use api::HealthState;
use manifest::Name;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, pread, pwrite};
use serde::{Deserialize, Serialize};

use crate::core::saved::SavedCore;
use crate::event::{Exit, Moment};
use crate::sandbox::Denials;
use crate::slots::{Job, Records};

/// Raised when an older PID 1 could misunderstand the record. Additions that it may ignore do not
/// count.
pub(crate) const FORMAT: u32 = 1;
/// The longest record. Thirty services take some 15 KiB.
const MAX_BYTES: usize = 4 << 20;
const MAGIC: [u8; 8] = *b"x0state\x01";
/// Magic, sequence number, length, CRC-32.
const HEAD_BYTES: usize = 8 + 8 + 4 + 4;

/// A descriptor that stays open from one program to the next.
pub(crate) type Fd = i32;

/// Everything that is handed over.
#[derive(Debug, Deserialize, Serialize)]
pub struct State {
    pub(crate) format: u32,
    /// Set when the record is complete with its clients: PID 1 meant to hand over.
    pub(crate) handover: bool,
    /// Userspace starts anew.
    pub(crate) soft_reboot: bool,
    pub(crate) began_us: u64,
    pub(crate) counters: Counters,
    pub(crate) core: SavedCore,
    pub(crate) processes: Vec<SavedProcess>,
    pub(crate) clients: Vec<SavedClient>,
    pub(crate) records: Records,
    pub(crate) jobs: Vec<Job>,
    pub(crate) health: HealthState,
    pub(crate) fds: Fds,
    pub(crate) watchdog: Option<SavedWatchdog>,
    /// The program to execute at the next hand-over.
    pub(crate) program: PathBuf,
}

/// What counts since the boot.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Counters {
    pub(crate) notify_rejected: u64,
    pub(crate) reexecs: u64,
    pub(crate) last_reexec_us: Option<u64>,
    pub(crate) soft_reboots: u64,
    /// Why PID 1 crashed; a second time it dies.
    pub(crate) crash: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Fds {
    pub(crate) notify: Fd,
    pub(crate) listener: Fd,
    pub(crate) logs: Option<Fd>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SavedProcess {
    pub(crate) name: Name,
    pub(crate) log: usize,
    pub(crate) main: Option<u32>,
    /// Read and write end.
    pub(crate) output: Option<(Fd, Fd)>,
    /// The folder and `cgroup.events`.
    pub(crate) cgroup: Option<(Fd, Fd)>,
    pub(crate) report: Option<Fd>,
    /// Where refused system calls wait, and those of the past.
    #[serde(default)]
    pub(crate) listener: Option<Fd>,
    #[serde(default)]
    pub(crate) denials: Denials,
    pub(crate) setup_error: Option<String>,
    pub(crate) ending: Option<(Exit, Moment)>,
    #[serde(default)]
    pub(crate) oom_kills: u64,
    pub(crate) sockets: Vec<SavedFd>,
    pub(crate) stored: Vec<SavedFd>,
}

/// A named descriptor of a service.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SavedFd {
    pub(crate) name: String,
    pub(crate) fd: Fd,
    /// Dropped when its other end hangs up.
    #[serde(default)]
    pub(crate) watched: bool,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SavedClient {
    pub(crate) fd: Fd,
    pub(crate) user: u32,
    /// One character per byte.
    pub(crate) input: String,
    pub(crate) output: String,
    /// It called `Reexec`.
    pub(crate) awaits_reexec: bool,
    pub(crate) follows: Option<SavedFollow>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SavedFollow {
    /// Whose log; none: the events.
    pub(crate) log: Option<Name>,
    pub(crate) next: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SavedWatchdog {
    pub(crate) fd: Fd,
    pub(crate) petted: Moment,
    pub(crate) timeout_s: i32,
    pub(crate) fired: bool,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("no whole record is in the file")]
    Absent,
    #[error("a record of {0} bytes is longer than {MAX_BYTES}")]
    TooLong(usize),
    #[error("the record is of format {0}, and this PID 1 reads {FORMAT}")]
    Format(u32),
    #[error("descriptor {0} is named twice or is none of PID 1's")]
    Descriptor(Fd),
    #[error("the file cannot be used")]
    Io(#[source] Errno),
    #[error("the record makes no sense")]
    Syntax(#[source] serde_json::Error),
    #[error("the record has more {0} than there can be")]
    TooMany(&'static str),
}

impl State {
    /// Reads the JSON of a record and checks what can be checked without touching a descriptor.
    ///
    /// # Errors
    /// When PID 1 cannot go on with it.
    pub fn decode(json: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Only {
            format: u32,
        }
        if json.len() > MAX_BYTES {
            return Err(StateError::TooLong(json.len()));
        }
        let Only { format } = serde_json::from_slice(json).map_err(StateError::Syntax)?;
        if format != FORMAT {
            return Err(StateError::Format(format));
        }
        let state: Self = serde_json::from_slice(json).map_err(StateError::Syntax)?;
        if state.processes.len() > manifest::MAX_SERVICES {
            return Err(StateError::TooMany("services"));
        }
        if state.clients.len() > crate::control::MAX_CLIENTS {
            return Err(StateError::TooMany("callers"));
        }
        if state
            .processes
            .iter()
            .any(|process| !(1..=2 * manifest::MAX_SERVICES).contains(&process.log))
        {
            return Err(StateError::TooMany("logs"));
        }
        let mut fds = state.fds();
        fds.sort_unstable();
        let twice = fds.windows(2).find(|pair| pair[0] == pair[1]);
        if let Some(fd) = twice
            .map(|pair| pair[0])
            .or(fds.first().copied().filter(|fd| *fd < 3))
        {
            return Err(StateError::Descriptor(fd));
        }
        Ok(state)
    }

    /// Each descriptor that the record names.
    #[must_use]
    pub fn fds(&self) -> Vec<Fd> {
        let mut fds = vec![self.fds.notify, self.fds.listener];
        fds.extend(self.fds.logs);
        fds.extend(self.watchdog.as_ref().map(|watchdog| watchdog.fd));
        fds.extend(self.clients.iter().map(|client| client.fd));
        for process in &self.processes {
            fds.extend(
                process
                    .output
                    .iter()
                    .flat_map(|(read, write)| [read, write]),
            );
            fds.extend(
                process
                    .cgroup
                    .iter()
                    .flat_map(|(folder, events)| [folder, events]),
            );
            fds.extend(process.report);
            fds.extend(process.listener);
            fds.extend(process.sockets.iter().map(|socket| socket.fd));
            fds.extend(process.stored.iter().map(|stored| stored.fd));
        }
        fds
    }
}

/// The file with the records.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: OwnedFd,
    sequence: u64,
    written: Vec<u8>,
}

impl StateFile {
    pub(crate) fn new() -> Result<Self, StateError> {
        let file = memfd_create(c"x0-state", MemfdFlags::CLOEXEC).map_err(StateError::Io)?;
        Ok(Self {
            file,
            sequence: 0,
            written: Vec::new(),
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The newest whole record of a file that another PID 1 wrote.
    pub(crate) fn adopt(file: OwnedFd) -> Result<(Self, State), StateError> {
        let places = [0, 1].map(|place| read(&file, place));
        let newest = places
            .into_iter()
            .flatten()
            .max_by_key(|(sequence, _)| *sequence);
        let (sequence, json) = newest.ok_or(StateError::Absent)?;
        let state = State::decode(&json)?;
        let written = Vec::new();
        Ok((
            Self {
                file,
                sequence,
                written,
            },
            state,
        ))
    }

    /// The first record's bytes, to start fuzzing from.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES + self.written.len()];
        read_all(&self.file, &mut bytes, place(self.sequence % 2));
        bytes
    }

    /// Writes a record, unless it is the same as the last one.
    pub(crate) fn write(&mut self, state: &State) -> Result<(), StateError> {
        let json = serde_json::to_vec(state).map_err(StateError::Syntax)?;
        if json == self.written {
            return Ok(());
        }
        if json.len() > MAX_BYTES {
            return Err(StateError::TooLong(json.len()));
        }
        let length = u32::try_from(json.len()).map_err(|_| StateError::TooLong(json.len()))?;
        let sequence = self.sequence + 1;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&sequence.to_le_bytes());
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&checksum(sequence, &json).to_le_bytes());
        let at = place(sequence % 2);
        write_all(&self.file, &json, at + HEAD_BYTES as u64)?;
        write_all(&self.file, &head, at)?;
        self.sequence = sequence;
        self.written = json;
        Ok(())
    }
}

fn place(number: u64) -> u64 {
    number * (HEAD_BYTES + MAX_BYTES) as u64
}

fn checksum(sequence: u64, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(json);
    hasher.finalize()
}

fn read(file: &OwnedFd, number: u64) -> Option<(u64, Vec<u8>)> {
    let mut head = [0; HEAD_BYTES];
    read_all(file, &mut head, place(number))?;
    let (magic, rest) = head.split_first_chunk::<8>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (length, checked) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if *magic != MAGIC || length > MAX_BYTES {
        return None;
    }
    let sequence = u64::from_le_bytes(*sequence);
    let mut json = vec![0; length];
    read_all(file, &mut json, place(number) + HEAD_BYTES as u64)?;
    (checked == checksum(sequence, &json).to_le_bytes()).then_some((sequence, json))
}

fn read_all(file: &OwnedFd, bytes: &mut [u8], at: u64) -> Option<()> {
    let mut done = 0;
    while done < bytes.len() {
        match pread(file, &mut bytes[done..], at + done as u64) {
            Ok(0) | Err(_) => return None,
            Ok(length) => done += length,
        }
    }
    Some(())
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<(), StateError> {
    while !bytes.is_empty() {
        let length = pwrite(file, bytes, at).map_err(StateError::Io)?;
        bytes = &bytes[length..];
        at += length as u64;
    }
    Ok(())
}

/// One character per byte: callers' bytes need not be UTF-8.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The other way; what is no byte is dropped.
pub(crate) fn to_bytes(text: &str) -> Vec<u8> {
    text.chars().filter_map(|c| u8::try_from(c).ok()).collect()
}
