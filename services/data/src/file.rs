//! Small files that are there as a whole, or as they were before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Reads a file that should be small; what is beyond `most` bytes is an error.
///
/// # Errors
/// Those of the file system, and `FileTooLarge`.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Replaces a file: after a power cut it holds either all of the old bytes or all of the new ones.
///
/// On a full disk, where a new file has no place, bytes of the same length go over the old ones.
///
/// # Errors
/// Those of the file system.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match replace_by_rename(path, bytes, mode) {
        Err(error) if is_full(&error) => overwrite(path, bytes).map_err(|_| error),
        result => result,
    }
}

/// Whether an error says that there is no room left.
#[must_use]
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Makes names that were created in or removed from a directory survive a power cut.
///
/// # Errors
/// Those of the file system.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn replace_by_rename(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .custom_flags(nofollow())
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if result.is_err() {
        // The old file still stands; the attempt must not keep taking room.
        fs::remove_file(&new).ok();
        return result;
    }
    path.parent().map_or(Ok(()), sync_directory)
}

fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(nofollow())
        .open(path)?;
    if file.metadata()?.len() != bytes.len() as u64 {
        return Err(io::ErrorKind::StorageFull.into());
    }
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(nofollow())
        .open(path)
}

/// A link on DATA must not lead anywhere else, and a pipe must not make anybody wait.
fn nofollow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two!", 0o600).unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"two!");
        assert_eq!(
            read(&path, 3).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn overwrites_only_in_the_same_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        fs::write(&path, b"abcd").unwrap();
        overwrite(&path, b"efgh").unwrap();
        assert!(overwrite(&path, b"ef").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"efgh");
    }

    #[test]
    fn follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine-id");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(read(&path, 100_000).is_err());
    }
}
