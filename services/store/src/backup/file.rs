//! Reading a copy that anybody may have made: every line is checked before any is used.

use super::{
    BackupSummary, BufRead, Deserialize, Digest, FILE_MAX_BYTES, FORMAT, Hash, Header, Item,
    LINE_MAX_BYTES, Line, LoadError, Machine, Sha256, VERSION, hex, io,
};
use std::io::Read as _;

/// Of Linux (`__NEW_UTS_LEN`).
const HOSTNAME_MAX_BYTES: usize = 64;

/// What a checked copy holds.
#[derive(Clone, Debug)]
pub struct Content {
    /// In figures.
    pub summary: BackupSummary,
    /// The document that was confirmed.
    pub text: String,
}

/// Why a copy is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It was changed or damaged.
    #[error("its checksum does not match its content: it was changed or damaged")]
    Checksum,
    /// The confirmed document is not one.
    #[error("the document of its generation {generation} is not valid: {problem}")]
    Document {
        /// Which one.
        generation: u64,
        /// The first problem.
        problem: String,
    },
    /// The file ends without its last line.
    #[error("it is cut off after line {0}")]
    Cut(u64),
    /// The file cannot be read.
    #[error("it cannot be read")]
    File(#[from] io::Error),
    /// Not ours.
    #[error("it is no copy of a store")]
    Format,
    /// It breaks a rule that a store keeps.
    #[error("line {line}")]
    Item {
        /// Counted from 1.
        line: u64,
        /// The rule.
        source: LoadError,
    },
    /// Generations do not fit together.
    #[error("it does not say which generation applies")]
    Machine,
    /// Something is there twice, or after the end.
    #[error("line {0} does not belong there")]
    Misplaced(u64),
    /// Not JSON, or not of this format.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// Longer than any store's copy.
    #[error("it is larger than any copy of a store")]
    TooLarge,
    /// Of a later version.
    #[error("it is of version {0}, and this one reads {VERSION}: use the image that made it")]
    Version(u32),
}

/// Reads a whole copy and checks all of it. `take` gets the items, which must not be used before
/// this returns well.
///
/// # Errors
/// With what is wrong, and where.
pub fn check(
    file: &mut impl BufRead,
    mut take: impl FnMut(Item) -> io::Result<()>,
) -> Result<Content, ReadError> {
    let mut checker = Checker::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        file.by_ref()
            .take(LINE_MAX_BYTES)
            .read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(match line.len() as u64 {
                LINE_MAX_BYTES => ReadError::TooLarge,
                _ => ReadError::Cut(checker.lines),
            });
        }
        match checker.line(&line)? {
            Some(Line::Item(item)) => take(item)?,
            Some(_) => {}
            None => break,
        }
    }
    if !file.fill_buf()?.is_empty() {
        return Err(ReadError::Misplaced(checker.lines + 1));
    }
    checker.finish()
}

#[derive(Default)]
struct Checker {
    header: Option<Header>,
    lines: u64,
    bytes: u64,
    digest: Sha256,
    chain: (u64, Hash),
    keys: u64,
    /// Keys and generations come in their order, so that none of them has to be kept.
    last_key: (String, String),
    events: u64,
    has_checkpoint: bool,
    has_revision: bool,
    machine: Option<Machine>,
    generations: u64,
    last_generation: u64,
    has_effective: bool,
    confirmed: Option<String>,
}

impl Checker {
    /// None: the last line, and it is right.
    fn line(&mut self, bytes: &[u8]) -> Result<Option<Line>, ReadError> {
        let number = self.lines + 1;
        self.bytes += bytes.len() as u64;
        if self.bytes > FILE_MAX_BYTES {
            return Err(ReadError::TooLarge);
        }
        if self.header.is_none() {
            self.header = Some(header(bytes)?);
        } else {
            let line: Line = serde_json::from_slice(bytes).map_err(|error| ReadError::Syntax {
                line: number,
                reason: error.to_string(),
            })?;
            match line {
                Line::Store(_) => return Err(ReadError::Misplaced(number)),
                Line::End { lines, sha256 } => {
                    let hash: Hash = self.digest.clone().finalize().into();
                    if lines != self.lines || sha256 != hex(&hash) {
                        return Err(ReadError::Checksum);
                    }
                    return Ok(None);
                }
                Line::Item(item) => {
                    self.item(number, &item)?;
                    self.digest.update(bytes);
                    self.lines = number;
                    return Ok(Some(Line::Item(item)));
                }
            }
        }
        self.digest.update(bytes);
        self.lines = number;
        let header = self.header.clone().ok_or(ReadError::Format)?;
        Ok(Some(Line::Store(header)))
    }

    fn item(&mut self, line: u64, item: &Item) -> Result<(), ReadError> {
        item.check(&mut self.chain)
            .map_err(|source| ReadError::Item { line, source })?;
        let is_in_place = match item {
            Item::Revision(_) => !std::mem::replace(&mut self.has_revision, true),
            Item::State { service, key, .. } => {
                let key = (service.clone(), key.clone());
                let is_next = key > self.last_key;
                self.last_key = key;
                self.keys += 1;
                is_next
            }
            Item::Checkpoint { .. } => {
                self.events == 0 && !std::mem::replace(&mut self.has_checkpoint, true)
            }
            Item::Event { .. } => {
                self.events += 1;
                self.has_checkpoint
            }
            Item::Machine(machine) => {
                let is_first = self.machine.replace(machine.clone()).is_none();
                is_first && machine.is_sound()
            }
            Item::Generation { generation, text } => {
                let number = generation.number;
                let is_next = number > self.last_generation;
                self.last_generation = number;
                self.generations += 1;
                let machine = self.machine.as_ref().ok_or(ReadError::Misplaced(line))?;
                self.has_effective |= number == machine.effective();
                if number == machine.confirmed() {
                    self.confirmed = Some(text.clone());
                }
                is_next && number <= machine.latest() && text.len() <= config::SIZE_MAX_BYTES
            }
            Item::Import { .. } => true,
        };
        match is_in_place {
            true => Ok(()),
            false => Err(ReadError::Misplaced(line)),
        }
    }

    fn finish(self) -> Result<Content, ReadError> {
        let header = self.header.ok_or(ReadError::Format)?;
        let machine = self.machine.ok_or(ReadError::Machine)?;
        let text = self.confirmed.ok_or(ReadError::Machine)?;
        if !self.has_effective {
            return Err(ReadError::Machine);
        }
        if let Err(problems) = config::Document::parse(&text) {
            let problem = problems.first().map(ToString::to_string);
            return Err(ReadError::Document {
                generation: machine.confirmed(),
                problem: problem.unwrap_or_default(),
            });
        }
        let summary = BackupSummary {
            created_ms: header.created_ms,
            hostname: header.hostname,
            generation: machine.confirmed(),
            generations: self.generations,
            state_keys: self.keys,
            events: self.events,
            bytes: self.bytes,
        };
        Ok(Content { summary, text })
    }
}

/// Whatever a later version says, its first line has a format and a version.
fn header(bytes: &[u8]) -> Result<Header, ReadError> {
    #[derive(Deserialize)]
    struct First {
        store: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        format: String,
        version: u32,
    }
    let first: First = serde_json::from_slice(bytes).map_err(|_| ReadError::Format)?;
    if first.store.format != FORMAT {
        return Err(ReadError::Format);
    }
    if first.store.version != VERSION {
        return Err(ReadError::Version(first.store.version));
    }
    match serde_json::from_slice(bytes) {
        Ok(Line::Store(header)) if header.hostname.len() <= HOSTNAME_MAX_BYTES => Ok(header),
        _ => Err(ReadError::Format),
    }
}

/// The items of a copy that was checked, one at a time.
pub fn items(file: impl BufRead) -> impl Iterator<Item = Result<Item, ReadError>> {
    file.lines().zip(1..).filter_map(|(text, line)| {
        let text = match text {
            Ok(text) => text,
            Err(error) => return Some(Err(error.into())),
        };
        match serde_json::from_str(&text) {
            Ok(Line::Item(item)) => Some(Ok(item)),
            Ok(Line::Store(_) | Line::End { .. }) => None,
            Err(error) => Some(Err(ReadError::Syntax {
                line,
                reason: error.to_string(),
            })),
        }
    })
}
