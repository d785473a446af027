//! The configuration where versions before the store kept it.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Reads it. `None` where there is none.
///
/// It is left where it is: the other slot may hold a version that still needs it, and the store
/// knows by its hash that it was imported.
///
/// # Errors
/// Those of the file system; `FileTooLarge` beyond what a document may be long.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let most = config::SIZE_MAX_BYTES as u64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn reads_a_file_of_bounded_length_and_follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x0.toml");
        assert_eq!(read(&path).unwrap(), None);
        fs::write(&path, "a = 1").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"a = 1");
        fs::write(&path, vec![b'#'; config::SIZE_MAX_BYTES + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link).is_err());
    }
}
