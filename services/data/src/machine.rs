//! The machine's identity: 128 random bits, made at the first boot and kept on DATA.

use std::io;
use std::path::Path;

use crate::file;

const ID_DIGITS: usize = 32;

/// A machine id as in machine-id(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineId(String);

impl MachineId {
    /// Reads the content of a machine-id file. `None` unless it is 32 lowercase hexadecimal digits
    /// that are not all zero.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let right = digits.len() == ID_DIGITS
            && digits
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            && digits.iter().any(|&digit| digit != b'0');
        right.then(|| Self(digits.iter().map(|&digit| char::from(digit)).collect()))
    }

    /// Makes an id of random bits, marked as a version 4 UUID as machine-id(5) asks for.
    #[must_use]
    pub fn from_random(mut bits: [u8; 16]) -> Self {
        bits[6] = bits[6] & 0x0F | 0x40;
        bits[8] = bits[8] & 0x3F | 0x80;
        Self(bits.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The name of a machine that nobody gave a name.
    #[must_use]
    pub fn default_hostname(&self) -> String {
        format!("x0-{}", &self.0[..4])
    }

    /// The content of a machine-id file.
    #[must_use]
    pub fn file_text(&self) -> String {
        format!("{}\n", self.0)
    }
}

/// Reads the id, or makes and keeps a new one.
///
/// The second value tells what went wrong, if anything: the id is then valid until power-off.
pub fn load_or_create(path: &Path) -> (MachineId, Option<io::Error>) {
    let found = match file::read(path, 64) {
        Ok(bytes) => MachineId::parse(&bytes),
        Err(_) => None,
    };
    if let Some(id) = found {
        return (id, None);
    }
    let mut bits = [0; 16];
    if let Err(error) = crate::seed::random(&mut bits) {
        return (MachineId::from_random(bits), Some(error));
    }
    let id = MachineId::from_random(bits);
    let kept = file::replace(path, id.file_text().as_bytes(), 0o444);
    tracing::info!("made a new machine id");
    (id, kept.err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine-id");
        let (first, trouble) = load_or_create(&path);
        assert!(trouble.is_none());
        assert_eq!(load_or_create(&path).0, first);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first.file_text());
    }

    #[test]
    fn a_damaged_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine-id");
        std::fs::write(&path, "not an id").unwrap();
        let (id, trouble) = load_or_create(&path);
        assert!(trouble.is_none());
        assert_eq!(load_or_create(&path).0, id);
    }

    #[test]
    fn names_the_machine_after_it() {
        let id = MachineId::parse(b"beef00000000400080000000000000ab\n").unwrap();
        assert_eq!(id.default_hostname(), "x0-beef");
        assert!(MachineId::parse(&[b'0'; 32]).is_none());
        assert!(MachineId::parse(b"BEEF00000000400080000000000000ab").is_none());
    }

    proptest! {
        #[test]
        fn what_is_made_can_be_read(bits: [u8; 16]) {
            let id = MachineId::from_random(bits);
            prop_assert_eq!(MachineId::parse(id.file_text().as_bytes()), Some(id));
        }

        #[test]
        fn hostile_bytes_are_no_id(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(id) = MachineId::parse(&bytes) {
                prop_assert!(bytes.starts_with(&id.file_text().as_bytes()[..32]));
            }
        }
    }
}
