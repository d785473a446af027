//! The configuration on DATA, which changes as a whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Reads the configuration. `None` where there is none.
///
/// # Errors
/// Those of the file system; `FileTooLarge` beyond what a document may be long.
pub fn current(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let most = network_api::SIZE_MAX_BYTES as u64;
    let nofollow = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(nofollow)
        .open(path)
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(bytes))
}

/// Puts `text` in the place of the configuration.
///
/// # Errors
/// Those of the file system: the old configuration then stands.
pub fn store(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    // What an earlier attempt left is not ours to follow or to append to.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
        // Whatever the umask: other services read it under their own users.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| {
        fs::remove_file(&new).ok();
    })?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x0.toml");
        assert_eq!(current(&path).unwrap(), None);
        fs::write(path.with_extension("new"), "of an earlier attempt").unwrap();
        store(&path, "a = 1").unwrap();
        store(&path, "b = 2").unwrap();
        assert_eq!(current(&path).unwrap().unwrap(), b"b = 2");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn a_failure_keeps_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x0.toml");
        store(&path, "a = 1").unwrap();
        // A folder in the way stands for any failure.
        fs::create_dir(path.with_extension("new")).unwrap();
        assert!(store(&path, "b = 2").is_err());
        assert_eq!(current(&path).unwrap().unwrap(), b"a = 1");
    }
}
