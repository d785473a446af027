//! Getting at the file, whatever became of it: `docs/adr-0001-without-a-usable-file.md`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::{FileBackend, InMemoryBackend};
use runtime::Chain;
use serde_json::json;

use crate::backup;
use crate::engine::{COMPATIBLE, Engine, FORMAT, Fail, OpenError, Proposal, Stamp, object};
use crate::snapshot;

/// The database.
pub const FILE: &str = "store.redb";
/// The confirmed document, for people and for when the database cannot be used.
pub const MIRROR: &str = "running.toml";
/// The oldest format that a program has to know to work with the database. The database says so as
/// well, but opening it writes to it, and it must stay as it is where this version is too old.
const MARK: &str = "format";
/// The boot, and how many starts in it have not got past opening the file.
const ATTEMPTS: &str = "attempts";
/// So many starts that ended while opening, in one boot: the file is to blame.
const ATTEMPTS_MAX: u32 = 3;

/// A store that can be worked with.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub engine: Engine,
    /// Whether it outlives this process.
    pub durable: bool,
    /// What was wrong, in words.
    pub note: String,
}

/// Why there is no store at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another store is at work.
    #[error("another process has {} open", path.display())]
    Locked { path: PathBuf },
    /// Not even memory.
    #[error("a store in memory cannot be made")]
    Memory(#[source] OpenError),
}

/// Opens the store in `folder`. A damaged file is moved aside and replaced by the newest snapshot;
/// one that cannot be used but may be whole stays, and the store works in memory.
///
/// # Errors
/// When another process has it open.
pub fn open(folder: &Path, stamp: &Stamp) -> Result<Opened, StartError> {
    let path = folder.join(FILE);
    let attempts = attempt(folder, stamp);
    let opened = if attempts > ATTEMPTS_MAX {
        Err(OpenError::Damaged(format!(
            "{} starts ended while opening it",
            attempts - 1
        )))
    } else {
        open_file(&path, stamp)
    };
    let opened = match opened {
        Ok(engine) => Ok((engine, String::new())),
        Err(OpenError::Damaged(reason)) => replace(folder, &reason, stamp),
        Err(other) => Err(other),
    };
    let opened = match opened {
        Ok((engine, note)) => Ok(Opened {
            engine,
            durable: true,
            note,
        }),
        Err(OpenError::Locked) => Err(StartError::Locked { path }),
        Err(error) => in_memory(folder, &error, stamp),
    };
    fs::remove_file(folder.join(ATTEMPTS)).ok();
    opened
}

fn open_file(path: &Path, stamp: &Stamp) -> Result<Engine, OpenError> {
    let mark = path.with_file_name(MARK);
    let needed = fs::read_to_string(&mark).ok();
    let needed: Option<u64> = needed.and_then(|text| text.trim().parse().ok());
    if let Some(needed) = needed.filter(|needed| *needed > FORMAT) {
        return Err(OpenError::Future(needed));
    }
    if needed.is_none_or(|needed| needed < COMPATIBLE) {
        fs::write(&mark, format!("{COMPATIBLE}\n")).map_err(io_error)?;
        File::open(&mark)
            .and_then(|file| file.sync_all())
            .map_err(io_error)?;
    }
    if !path.try_exists().map_err(io_error)? {
        create(path, stamp)?;
    }
    Engine::open(backend(path, false)?, stamp)
}

/// A file that exists is whole: it gets its name when it is.
fn create(path: &Path, stamp: &Stamp) -> Result<(), OpenError> {
    let new = path.with_extension("new");
    remove(&new)?;
    drop(Engine::open(backend(&new, true)?, stamp)?);
    adopt(&new, path).map_err(io_error)
}

/// Moves a damaged file aside and takes the newest snapshot that is whole, or begins anew.
fn replace(folder: &Path, reason: &str, stamp: &Stamp) -> Result<(Engine, String), OpenError> {
    let path = folder.join(FILE);
    let aside = (1..)
        .map(|number| folder.join(format!("{FILE}.damaged-{number}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| folder.join("damaged"));
    tracing::error!(%reason, aside = %aside.display(), "the store is damaged and moved aside");
    fs::rename(&path, &aside).map_err(io_error)?;
    let new = path.with_extension("new");
    for copy in snapshot::newest_first(folder) {
        remove(&new)?;
        match fill(&new, &copy, stamp) {
            Ok(engine) => {
                drop(engine);
                adopt(&new, &path).map_err(io_error)?;
                let note = format!("{reason}; restored from {}", copy.display());
                return Ok((reopen(&path, &note, &aside, stamp)?, note));
            }
            Err(error) => {
                tracing::error!(%error, copy = %copy.display(), "a snapshot cannot be used");
            }
        }
    }
    create(&path, stamp)?;
    let note = format!("{reason}; there was no snapshot, and it begins anew");
    let engine = reopen(&path, &note, &aside, stamp)?;
    apply_mirror(&engine, folder, stamp);
    Ok((engine, note))
}

fn reopen(path: &Path, note: &str, aside: &Path, stamp: &Stamp) -> Result<Engine, OpenError> {
    let engine = Engine::open(backend(path, false)?, stamp)?;
    let payload = object(json!({ "note": note, "aside": aside.display().to_string() }));
    engine
        .write(stamp, |batch| batch.note("store.replaced", payload))
        .map_err(|error| OpenError::Damaged(Chain(&error).to_string()))?;
    Ok(engine)
}

fn fill(path: &Path, copy: &Path, stamp: &Stamp) -> Result<Engine, String> {
    let words = |error: &dyn std::error::Error| Chain(error).to_string();
    let file = || File::open(copy).map(BufReader::new);
    // Once to check all of it, once to take it.
    backup::check(&mut file().map_err(|e| words(&e))?, |_| Ok(())).map_err(|e| words(&e))?;
    let backend = backend(path, true).map_err(|e| words(&e))?;
    let engine = Engine::open(backend, stamp).map_err(|e| words(&e))?;
    let items = backup::items(file().map_err(|e| words(&e))?);
    let loaded = engine.write(stamp, |batch| batch.load(items));
    loaded.map_err(|e: Fail| words(&e))?;
    Ok(engine)
}

fn in_memory(folder: &Path, error: &OpenError, stamp: &Stamp) -> Result<Opened, StartError> {
    let note = format!("works in memory only: {}", Chain(error));
    tracing::error!("{note}");
    let engine = Engine::open(InMemoryBackend::new(), stamp).map_err(StartError::Memory)?;
    apply_mirror(&engine, folder, stamp);
    Ok(Opened {
        engine,
        durable: false,
        note,
    })
}

/// The router goes on with the document that was confirmed last, when it can be read.
fn apply_mirror(engine: &Engine, folder: &Path, stamp: &Stamp) {
    let Ok(text) = fs::read_to_string(folder.join(MIRROR)) else {
        return;
    };
    if text.len() > config::SIZE_MAX_BYTES || config::Document::parse(&text).is_err() {
        return;
    }
    let proposal = Proposal {
        text,
        author: "store".into(),
        reason: format!("taken from {MIRROR}"),
        copy_of: None,
        confirm_within_ms: None,
    };
    if let Err(error) = engine.write(stamp, |batch| batch.apply(proposal)) {
        tracing::error!(error = %Chain(&error), "the mirrored document cannot be applied");
    }
}

fn backend(path: &Path, create: bool) -> Result<FileBackend, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.create_new(create);
    let file = options.open(path).map_err(io_error)?;
    Ok(FileBackend::new(file)?)
}

/// Counts this start, and forgets those of other boots.
fn attempt(folder: &Path, stamp: &Stamp) -> u32 {
    let path = folder.join(ATTEMPTS);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let earlier = text
        .strip_prefix(&format!("{} ", stamp.now.boot))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0u32);
    let count = earlier.saturating_add(1);
    // Where this cannot be written, the file itself cannot be opened either.
    fs::write(&path, format!("{} {count}\n", stamp.now.boot)).ok();
    count
}

/// Gives a whole file its name, durably.
pub(crate) fn adopt(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(error)),
        _ => Ok(()),
    }
}

fn io_error(error: io::Error) -> OpenError {
    OpenError::Storage(Box::new(redb::Error::Io(error)))
}
