//! Plain copies of the store beside it, for when its file is damaged.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::backup::{self, Header, WriteError};
use crate::engine::View;
use crate::open::adopt;

const KEEP: usize = 3;
const PREFIX: &str = "snapshot-";

/// Writes a copy and drops the oldest.
///
/// # Errors
/// When reading or writing fails; the older copies stay.
pub fn make(folder: &Path, view: &View, header: Header) -> Result<PathBuf, WriteError> {
    let newest = newest_first(folder).first().and_then(|path| number(path));
    let path = folder.join(format!("{PREFIX}{}.jsonl", newest.unwrap_or(0) + 1));
    let new = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&new)?);
    backup::write(view, header, &mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    adopt(&new, &path)?;
    for old in newest_first(folder).into_iter().skip(KEEP) {
        fs::remove_file(old)?;
    }
    Ok(path)
}

/// The copies in `folder`.
#[must_use]
pub fn newest_first(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut copies: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| number(path).is_some())
        .collect();
    copies.sort_by_key(|path| std::cmp::Reverse(number(path)));
    copies
}

/// When a copy was made, in milliseconds since 1970.
#[must_use]
pub fn made_ms(path: &Path) -> Option<i64> {
    let since = fs::metadata(path).ok()?.modified().ok()?;
    let since = since.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?
        .strip_suffix(".jsonl")?
        .parse()
        .ok()
}
