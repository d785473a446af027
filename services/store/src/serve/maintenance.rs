//! Backups, restoration, snapshots, and what the store does of its own accord.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use runtime::{Chain, notify};
use serde_json::json;
use store_api::Refusal;
use store_api::wire::{BackupCall, RestoreCall, RestoreReply};

use super::answer::{failed, milliseconds, storage, to_value};
use super::{Action, Server};
use crate::backup::{self, CryptError, FILE_MAX_BYTES, Header, WriteError};
use crate::core::Command;
use crate::engine::{Engine, Proposal, object};
use crate::worker::{Done, Task};
use crate::writer::{NOBODY, Ticket};
use crate::{moment, open, snapshot};

const SNAPSHOT_EVERY_MS: u64 = 24 * 60 * 60 * 1000;
const MEASURE_EVERY_MS: u64 = 5000;
/// A person can remember this; nobody can try all of them.
const PASSPHRASE_MIN_CHARS: usize = 8;

/// What the store does of its own accord.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// When the next snapshot is due, in boot time.
    snapshot_at_ms: u64,
    /// The deadline that the writer was told of.
    told: Option<u64>,
    /// When the measurements are updated next, in boot time.
    measure_at_ms: u64,
}

impl Upkeep {
    pub(super) fn new(folder: &Path) -> Self {
        let newest = snapshot::newest_first(folder).into_iter().next();
        let age_ms = newest
            .and_then(|path| snapshot::made_ms(&path))
            .and_then(|made| u64::try_from(moment::time_ms() - made).ok());
        let wait = age_ms.map_or(0, |age| SNAPSHOT_EVERY_MS.saturating_sub(age));
        Self {
            snapshot_at_ms: moment::boottime_ms() + wait,
            told: None,
            measure_at_ms: 0,
        }
    }

    /// Something changed that must not be lost.
    pub(super) fn is_due(&mut self) {
        self.snapshot_at_ms = 0;
    }
}

impl Server {
    /// What has to be done now, without being asked.
    pub(super) fn keep_up(&mut self) {
        let now_ms = moment::boottime_ms();
        if self.editing.expire(now_ms) {
            self.spread_status();
        }
        if now_ms >= self.upkeep.measure_at_ms
            && let Ok(statistics) = self.statistics()
        {
            self.upkeep.measure_at_ms = now_ms + MEASURE_EVERY_MS;
            let is_unconfirmed = self.effective.machine.pending().is_some();
            self.measurements.update(&statistics, is_unconfirmed);
        }
        let pending = self.effective.machine.pending();
        let passed = pending.filter(|pending| now_ms >= pending.deadline_ms);
        if let Some(generation) = passed.map(|pending| pending.generation)
            && self.upkeep.told != Some(generation)
        {
            let tick = |batch: &mut crate::engine::Batch<'_>| {
                batch.step(Command::Tick, "store", None)?;
                Ok(json!({}))
            };
            if self.writer.send(NOBODY, Box::new(tick)) {
                self.upkeep.told = Some(generation);
            }
        }
        if self.durable && now_ms >= self.upkeep.snapshot_at_ms {
            let text = self.effective.text.clone();
            let is_confirmed = self.effective.machine.pending().is_none();
            let mirror = is_confirmed.then_some(text);
            if self.worker.send(NOBODY, keep_copy(&self.folder, mirror)) {
                self.upkeep.snapshot_at_ms = now_ms + SNAPSHOT_EVERY_MS;
            }
        }
    }

    /// One line for people.
    pub(super) fn tell_status(&self) {
        let generation = self.effective.generation();
        let mut line = format!("generation {generation}");
        if let Some(remaining) = self.effective.remaining_ms() {
            line = format!("{line}, to be confirmed within {} s", remaining / 1000);
        }
        for note in [&self.note, &self.effective.note] {
            if !note.is_empty() {
                line = format!("{line}; {note}");
            }
        }
        notify::status(&line);
    }

    pub(super) fn snapshot(&self) -> Action {
        if !self.durable {
            let reason = "the store works in memory only".into();
            return Action::Answer(Err(Refusal::StorageFailed { reason }));
        }
        Action::Slow(keep_copy(&self.folder, None))
    }

    pub(super) fn back_up(&self, call: BackupCall) -> Action {
        if call.passphrase.chars().count() < PASSPHRASE_MIN_CHARS {
            return Action::Answer(Err(Refusal::BadParameter {
                parameter: "passphrase".into(),
                reason: format!("at least {PASSPHRASE_MIN_CHARS} characters"),
            }));
        }
        let folder = self.folder.clone();
        Action::Slow(Box::new(move |engine| {
            match encrypted(engine, &folder, call.passphrase) {
                Ok(file) => Done::File(file),
                Err(refusal) => Done::Reply(Err(refusal)),
            }
        }))
    }

    pub(super) fn restore(&mut self, ticket: Ticket, call: RestoreCall) -> Action {
        let upload = self
            .connections
            .get_mut(&ticket)
            .and_then(|connection| connection.upload.take());
        let Some((file, _)) = upload else {
            return Action::Answer(Err(Refusal::BadBackup {
                reason: "nothing was uploaded on this connection".into(),
            }));
        };
        let folder = self.folder.clone();
        Action::Slow(Box::new(move |_| match restored(file, &folder, call) {
            Ok(done) => done,
            Err(refusal) => Done::Reply(Err(refusal)),
        }))
    }
}

/// A snapshot, and the document for people to read.
fn keep_copy(folder: &Path, mirror: Option<String>) -> Task {
    let folder = folder.to_owned();
    Box::new(move |engine| {
        if let Some(text) = mirror
            && let Err(error) = write_mirror(&folder, &text)
        {
            tracing::warn!(%error, "the running document cannot be mirrored");
        }
        let header = Header::new(moment::time_ms(), hostname());
        let made = engine
            .view()
            .map_err(WriteError::Store)
            .and_then(|view| snapshot::make(&folder, &view, header));
        Done::Reply(
            made.map(|_| json!({}))
                .map_err(|error| Refusal::StorageFailed {
                    reason: Chain(&error).to_string(),
                }),
        )
    })
}

fn write_mirror(folder: &Path, text: &str) -> std::io::Result<()> {
    let path = folder.join(open::MIRROR);
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    open::adopt(&new, &path)
}

fn encrypted(engine: &Engine, folder: &Path, passphrase: String) -> Result<File, Refusal> {
    let view = engine.view().map_err(|error| storage(&error))?;
    let header = Header::new(moment::time_ms(), hostname());
    let file = tempfile::tempfile_in(folder).map_err(failed)?;
    let mut file = backup::encrypt(file, passphrase, |mut stream| {
        let mut buffered = BufWriter::new(&mut stream);
        backup::write(&view, header, &mut buffered)?;
        buffered.flush().map_err(WriteError::File)
    })
    .map_err(|error: WriteError| Refusal::StorageFailed {
        reason: Chain(&error).to_string(),
    })?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(file)
}

impl From<CryptError> for WriteError {
    fn from(error: CryptError) -> Self {
        match error {
            CryptError::File(error) => Self::File(error),
            other => Self::File(std::io::Error::other(other.to_string())),
        }
    }
}

/// Decrypts and checks all of it, before anything is replaced.
fn restored(mut file: File, folder: &Path, call: RestoreCall) -> Result<Done, Refusal> {
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut plain = tempfile::tempfile_in(folder).map_err(failed)?;
    let source = BufReader::new(file);
    backup::decrypt(source, call.passphrase, &mut plain, FILE_MAX_BYTES).map_err(|error| {
        match error {
            CryptError::Passphrase => Refusal::WrongPassphrase {},
            CryptError::File(error) => failed(error),
            other => bad(&other),
        }
    })?;
    plain.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut reader = BufReader::new(plain);
    let content = backup::check(&mut reader, |_| Ok(())).map_err(|error| bad(&error))?;
    let summary = content.summary;
    if call.dry_run {
        let reply = RestoreReply {
            summary,
            generation: None,
        };
        return Ok(Done::Reply(Ok(to_value(&reply))));
    }
    reader.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(Done::Write(Box::new(move |batch| {
        let author: String = call.author.chars().take(128).collect();
        let payload = object(json!({
            "author": author,
            "hostname": summary.hostname,
            "created_ms": summary.created_ms,
            "keys": summary.state_keys,
        }));
        let proposal = Proposal {
            text: content.text,
            author,
            reason: format!("restored from a backup of {}", summary.hostname),
            copy_of: None,
            confirm_within_ms: milliseconds(call.confirm_within_s),
        };
        let generation = batch.restore(backup::items(reader), proposal)?;
        batch.note("store.restored", payload)?;
        Ok(to_value(&RestoreReply {
            summary,
            generation,
        }))
    })))
}

fn bad(error: &dyn std::error::Error) -> Refusal {
    Refusal::BadBackup {
        reason: Chain(error).to_string(),
    }
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
