//! The machine's own key, made once and kept in the service's state folder.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey};

const FILE: &str = "host_key";
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    #[error("cannot read or write the host key {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("the host key {path} makes no sense; remove the file for a new one")]
    Damaged {
        path: PathBuf,
        source: russh::keys::ssh_key::Error,
    },
    #[error("cannot make a host key")]
    Random(#[source] io::Error),
    #[error("cannot write down a host key")]
    Encode(#[source] russh::keys::ssh_key::Error),
}

/// The key as text and its fingerprint.
#[derive(Clone)]
pub(crate) struct HostKey {
    pub(crate) text: String,
    pub(crate) fingerprint: String,
}

/// Reads the key in `folder`, or makes one there.
pub(crate) fn load(folder: &Path) -> Result<HostKey, HostKeyError> {
    let path = folder.join(FILE);
    let failed = |source| HostKeyError::File {
        path: path.clone(),
        source,
    };
    let mut text = String::new();
    match std::fs::File::open(&path) {
        Ok(file) => {
            let mut file = file.take(FILE_MAX_BYTES);
            file.read_to_string(&mut text).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            text = make()?;
            write(folder, &path, &text).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    let key = PrivateKey::from_openssh(&text).map_err(|source| HostKeyError::Damaged {
        path: path.clone(),
        source,
    })?;
    let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
    Ok(HostKey { text, fingerprint })
}

fn make() -> Result<String, HostKeyError> {
    let mut seed = [0; 32];
    let count = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| HostKeyError::Random(error.into()))?;
    if count != seed.len() {
        return Err(HostKeyError::Random(io::ErrorKind::UnexpectedEof.into()));
    }
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, "x0tta6bl4 OS").map_err(HostKeyError::Encode)?;
    let text = key
        .to_openssh(LineEnding::LF)
        .map_err(HostKeyError::Encode)?;
    Ok(text.to_string())
}

/// All of it or nothing, also when the power fails.
fn write(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let key = load(folder.path()).unwrap();
        assert!(key.fingerprint.starts_with("SHA256:"));
        assert_eq!(load(folder.path()).unwrap().fingerprint, key.fingerprint);
        let path = folder.path().join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(
            load(folder.path()),
            Err(HostKeyError::Damaged { .. })
        ));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load(other.path()).unwrap().fingerprint, key.fingerprint);
    }
}
