//! One record of the event log, as bytes: what the hash chain is computed over.
//!
//! A record is `format 1 · sequence · wall clock · boot time · boot id · service · kind · payload ·
//! hash`, numbers little-endian, texts after their length. Its hash is SHA-256 over the hash of the
//! record before it and everything before its own hash. Who can write the file can compute a whole
//! new chain; who has noted down a hash can tell.

use sha2::{Digest, Sha256};

/// The longest kind.
pub const KIND_MAX_BYTES: usize = 64;
/// The longest payload.
pub const PAYLOAD_MAX_BYTES: usize = 8 << 10;

const FORMAT: u8 = 1;

/// A link of the chain.
pub type Hash = [u8; 32];

/// A record without its place in the chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Counted without gaps.
    pub sequence: u64,
    /// Milliseconds since 1970, as the clock was then.
    pub time_ms: i64,
    /// `CLOCK_BOOTTIME`.
    pub boottime_ms: u64,
    /// The kernel's boot id.
    pub boot: String,
    /// Who recorded it.
    pub service: String,
    /// What kind of event.
    pub kind: String,
    /// JSON text.
    pub payload: String,
}

impl Record {
    /// Its bytes, with the hash that makes it the next link after `before`.
    #[must_use]
    pub fn encode(&self, before: &Hash) -> (Vec<u8>, Hash) {
        let mut bytes = vec![FORMAT];
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.time_ms.to_le_bytes());
        bytes.extend(self.boottime_ms.to_le_bytes());
        for text in [&self.boot, &self.service, &self.kind, &self.payload] {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            bytes.extend(length.to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        let hash = link(before, &bytes);
        bytes.extend(hash);
        (bytes, hash)
    }

    /// Reads a record, without looking at the chain.
    ///
    /// # Errors
    /// When the bytes are no record.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), RecordError> {
        let mut rest = Reader(bytes);
        let [format] = rest.array()?;
        if format != FORMAT {
            return Err(RecordError::Format(format));
        }
        let record = Self {
            sequence: u64::from_le_bytes(rest.array()?),
            time_ms: i64::from_le_bytes(rest.array()?),
            boottime_ms: u64::from_le_bytes(rest.array()?),
            boot: rest.text()?,
            service: rest.text()?,
            kind: rest.text()?,
            payload: rest.text()?,
        };
        let hash = rest.array()?;
        if !rest.0.is_empty() {
            return Err(RecordError::Length);
        }
        Ok((record, hash))
    }

    /// Reads a record and checks that it is the next link after `before`.
    ///
    /// # Errors
    /// When the bytes are no record, or not that one.
    pub fn verify(bytes: &[u8], before: &Hash, sequence: u64) -> Result<(Self, Hash), RecordError> {
        let (record, hash) = Self::decode(bytes)?;
        if record.sequence != sequence {
            return Err(RecordError::Sequence(record.sequence));
        }
        if link(before, &bytes[..bytes.len() - hash.len()]) != hash {
            return Err(RecordError::Hash);
        }
        Ok((record, hash))
    }
}

/// Bytes that are no record, or not the one that belongs there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// Of a later version, or of none.
    #[error("a record of format {0}, and this version reads {FORMAT}")]
    Format(u8),
    /// The chain is broken.
    #[error("its hash does not follow from its content and the record before it")]
    Hash,
    /// Cut off, or too long.
    #[error("it ends in the middle, or goes on after its end")]
    Length,
    /// Another record.
    #[error("it says that it is record {0}")]
    Sequence(u64),
    /// Not UTF-8.
    #[error("it has a text that is not UTF-8")]
    Text,
}

/// A hash in hexadecimal.
#[must_use]
pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash from hexadecimal.
#[must_use]
pub fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn link(before: &Hash, bytes: &[u8]) -> Hash {
    let mut digest = Sha256::new();
    digest.update(before);
    digest.update(bytes);
    digest.finalize().into()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(*array)
    }

    fn text(&mut self) -> Result<String, RecordError> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX);
        let (text, rest) = self.0.split_at_checked(length).ok_or(RecordError::Length)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).map_err(|_| RecordError::Text)?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(sequence: u64) -> Record {
        Record {
            sequence,
            time_ms: -1,
            boottime_ms: 7,
            boot: "b".into(),
            service: "network".into(),
            kind: "link.up".into(),
            payload: r#"{"link":"lan0"}"#.into(),
        }
    }

    #[test]
    fn a_link_belongs_to_one_place_only() {
        let (first, hash) = record(1).encode(&[0; 32]);
        let (second, _) = record(2).encode(&hash);
        assert_eq!(Record::verify(&first, &[0; 32], 1).unwrap().0, record(1));
        assert_eq!(Record::verify(&second, &hash, 2).unwrap().0, record(2));
        assert_eq!(Record::verify(&second, &[0; 32], 2), Err(RecordError::Hash));
        assert_eq!(
            Record::verify(&second, &hash, 3),
            Err(RecordError::Sequence(2))
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (bytes, _) = record(1).encode(&[0; 32]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::verify(&bad, &[0; 32], 1).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert_eq!(Record::decode(&longer), Err(RecordError::Length));
    }

    #[test]
    fn hashes_read_as_they_are_written() {
        let hash = record(1).encode(&[3; 32]).1;
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        assert_eq!(unhex("zz"), None);
    }

    proptest! {
        #[test]
        fn anything_reads_as_it_was_written(
            sequence: u64, time_ms: i64, boottime_ms: u64, boot: String, service: String, kind: String, payload: String,
        ) {
            let record = Record { sequence, time_ms, boottime_ms, boot, service, kind, payload };
            let (bytes, hash) = record.encode(&[9; 32]);
            prop_assert_eq!(Record::verify(&bytes, &[9; 32], sequence), Ok((record, hash)));
        }

        #[test]
        fn no_bytes_upset_the_reader(bytes: Vec<u8>) {
            Record::decode(&bytes).ok();
        }
    }
}
