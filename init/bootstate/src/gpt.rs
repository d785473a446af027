//! The GUID partition table (UEFI specification 2.10, chapter 5.3), as a hostile
//! disk may present it: every number is checked before it is used.
//!
//! The selector reads the table itself instead of asking the firmware's partition
//! driver, so that it sees the partitions of its own disk and of no other one,
//! and so that U-Boot and EDK2 behave alike.

use core::fmt;

/// The entry array may take no more than this; the usual one takes half of it.
pub const ENTRIES_MAX_BYTES: u32 = 32 * 1024;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION_1_0: u32 = 0x0001_0000;
const HEADER_MIN_BYTES: usize = 92;
const ENTRY_MIN_BYTES: u32 = 128;
const NAME_UNITS: usize = 36;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptError {
    /// Two partitions have this name; neither can be trusted to be ours.
    Ambiguous,
    EntriesChecksum,
    /// Entry array too large, too small, or outside the disk.
    EntriesRange,
    HeaderChecksum,
    HeaderRange,
    Missing,
    /// A partition lies outside the disk's usable blocks.
    PartitionRange,
    Signature,
}

impl fmt::Display for GptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ambiguous => "two partitions have that name",
            Self::EntriesChecksum => "the checksum of the partition entries is wrong",
            Self::EntriesRange => "the partition entries lie outside the disk or are too many",
            Self::HeaderChecksum => "the checksum of the partition table header is wrong",
            Self::HeaderRange => "a number in the partition table header is out of range",
            Self::Missing => "no such partition",
            Self::PartitionRange => "the partition lies outside the disk",
            Self::Signature => "no partition table",
        })
    }
}

impl core::error::Error for GptError {}

/// A checked header: the entries it names lie on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub entries_lba: u64,
    entry_bytes: u32,
    entries: u32,
    entries_crc: u32,
    first_usable: u64,
    last_usable: u64,
}

impl Header {
    /// `block` was read at `lba` of a disk with `disk_blocks` blocks of `block.len()` bytes.
    pub fn parse(block: &[u8], lba: u64, disk_blocks: u64) -> Result<Self, GptError> {
        if block.len() < HEADER_MIN_BYTES || block[..8] != *SIGNATURE {
            return Err(GptError::Signature);
        }
        let header_bytes = usize_from(u32_at(block, 12));
        if u32_at(block, 8) != REVISION_1_0
            || !(HEADER_MIN_BYTES..=block.len()).contains(&header_bytes)
        {
            return Err(GptError::HeaderRange);
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&block[..16]);
        hasher.update(&[0; 4]);
        hasher.update(&block[20..header_bytes]);
        if hasher.finalize() != u32_at(block, 16) {
            return Err(GptError::HeaderChecksum);
        }
        let header = Self {
            entries_lba: u64_at(block, 72),
            entry_bytes: u32_at(block, 84),
            entries: u32_at(block, 80),
            entries_crc: u32_at(block, 88),
            first_usable: u64_at(block, 40),
            last_usable: u64_at(block, 48),
        };
        if u64_at(block, 24) != lba
            || header.first_usable > header.last_usable
            || header.last_usable >= disk_blocks
        {
            return Err(GptError::HeaderRange);
        }
        let bytes = header.entries.saturating_mul(header.entry_bytes);
        let block_bytes = u64::try_from(block.len()).expect("a block's length fits 64 bits");
        let entry_blocks = u64::from(bytes).div_ceil(block_bytes);
        let fits = header
            .entries_lba
            .checked_add(entry_blocks)
            .is_some_and(|end| end <= disk_blocks);
        if header.entry_bytes < ENTRY_MIN_BYTES
            || !header.entry_bytes.is_power_of_two()
            || !(ENTRY_MIN_BYTES..=ENTRIES_MAX_BYTES).contains(&bytes)
            || header.entries_lba < 2
            || !fits
        {
            return Err(GptError::EntriesRange);
        }
        Ok(header)
    }

    /// How many bytes to read at [`Self::entries_lba`]; at most [`ENTRIES_MAX_BYTES`].
    #[must_use]
    pub fn entries_bytes(&self) -> u32 {
        self.entries * self.entry_bytes
    }

    /// Takes the bytes of the entries, and more if that is how blocks fall.
    pub fn table<'a>(&self, entries: &'a [u8]) -> Result<Table<'a>, GptError> {
        let entries = entries
            .get(..usize_from(self.entries_bytes()))
            .ok_or(GptError::EntriesRange)?;
        if crc32fast::hash(entries) != self.entries_crc {
            return Err(GptError::EntriesChecksum);
        }
        Ok(Table {
            header: *self,
            entries,
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    header: Header,
    entries: &'a [u8],
}

/// Blocks of the disk, all inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    pub first_lba: u64,
    pub blocks: u64,
    /// As stored: the first three groups in little endian.
    pub unique_guid: [u8; 16],
}

impl Table<'_> {
    /// The one partition of that name.
    pub fn find(&self, name: &str) -> Result<Partition, GptError> {
        let mut matching = self.used().filter(|entry| has_name(entry, name));
        let entry = matching.next().ok_or(GptError::Missing)?;
        if matching.next().is_some() {
            return Err(GptError::Ambiguous);
        }
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        if first < self.header.first_usable || last > self.header.last_usable || first > last {
            return Err(GptError::PartitionRange);
        }
        let mut unique_guid = [0; 16];
        unique_guid.copy_from_slice(&entry[16..32]);
        Ok(Partition {
            first_lba: first,
            blocks: last - first + 1,
            unique_guid,
        })
    }

    fn used(&self) -> impl Iterator<Item = &[u8]> {
        self.entries
            .chunks_exact(usize_from(self.header.entry_bytes))
            .filter(|entry| entry[..16] != [0; 16])
    }
}

/// The name is UTF-16, filled up with zeros.
fn has_name(entry: &[u8], name: &str) -> bool {
    let units = entry[56..56 + 2 * NAME_UNITS]
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .take_while(|unit| *unit != 0);
    units.eq(name.encode_utf16())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        *bytes[at..]
            .first_chunk()
            .expect("callers checked the length"),
    )
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(
        *bytes[at..]
            .first_chunk()
            .expect("callers checked the length"),
    )
}

fn usize_from(value: u32) -> usize {
    usize::try_from(value).expect("UEFI and Linux targets have at least 32 bit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const DISK_BLOCKS: u64 = 1000;

    fn entries(partitions: &[(&str, u64, u64)]) -> Vec<u8> {
        let mut bytes = std::vec![0; 128 * 128];
        for ((name, first, last), entry) in partitions.iter().zip(bytes.chunks_exact_mut(128)) {
            entry[..32].fill(7);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            for (unit, target) in name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                target.copy_from_slice(&unit.to_le_bytes());
            }
        }
        bytes
    }

    fn seal(header: &mut [u8]) {
        header[16..20].fill(0);
        let crc = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
    }

    fn header(entries: &[u8]) -> [u8; 512] {
        let mut header = [0; 512];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..12].copy_from_slice(&REVISION_1_0.to_le_bytes());
        header[12..16].copy_from_slice(&92u32.to_le_bytes());
        header[24..32].copy_from_slice(&1u64.to_le_bytes());
        header[40..48].copy_from_slice(&34u64.to_le_bytes());
        header[48..56].copy_from_slice(&966u64.to_le_bytes());
        header[72..80].copy_from_slice(&2u64.to_le_bytes());
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
        seal(&mut header);
        header
    }

    fn find(partitions: &[(&str, u64, u64)], name: &str) -> Result<Partition, GptError> {
        let entries = entries(partitions);
        Header::parse(&header(&entries), 1, DISK_BLOCKS)?
            .table(&entries)?
            .find(name)
    }

    #[test]
    fn finds_a_partition_by_its_whole_name() {
        let partitions = [("BOOT", 34, 40), ("BOOT-A", 50, 59), ("BOOT-AB", 70, 79)];
        let partition = find(&partitions, "BOOT-A").unwrap();
        assert_eq!((partition.first_lba, partition.blocks), (50, 10));
        assert_eq!(find(&partitions, "BOOT-B"), Err(GptError::Missing));
    }

    #[test]
    fn refuses_what_is_ambiguous_or_outside() {
        assert_eq!(
            find(&[("X", 34, 40), ("X", 41, 42)], "X"),
            Err(GptError::Ambiguous)
        );
        for (first, last) in [
            (33, 40),
            (34, 967),
            (40, 39),
            (u64::MAX, u64::MAX),
            (0, u64::MAX),
        ] {
            assert_eq!(
                find(&[("X", first, last)], "X"),
                Err(GptError::PartitionRange)
            );
        }
    }

    #[test]
    fn refuses_headers_with_wild_numbers() {
        let entries = entries(&[]);
        let cases: [(usize, u64, GptError); 8] = [
            (24, 2, GptError::HeaderRange),
            (48, DISK_BLOCKS, GptError::HeaderRange),
            (72, u64::MAX, GptError::EntriesRange),
            (72, 0, GptError::EntriesRange),
            (72, DISK_BLOCKS - 1, GptError::EntriesRange),
            (80, 0x0000_0080_ffff_ffff, GptError::EntriesRange),
            (80, 0xffff_ffff_0000_0080, GptError::EntriesRange),
            (80, 0x0000_0081_0000_0080, GptError::EntriesRange),
        ];
        for (at, value, error) in cases {
            let mut header = header(&entries);
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
            assert_eq!(
                Header::parse(&header, 1, DISK_BLOCKS),
                Err(GptError::HeaderChecksum)
            );
            seal(&mut header);
            assert_eq!(
                Header::parse(&header, 1, DISK_BLOCKS),
                Err(error),
                "{value:#x} at {at}"
            );
        }
        assert_eq!(
            Header::parse(&header(&entries), 1, 0),
            Err(GptError::HeaderRange)
        );
        assert_eq!(Header::parse(&[], 1, DISK_BLOCKS), Err(GptError::Signature));
    }

    #[test]
    fn refuses_changed_entries() {
        let entries = entries(&[("X", 34, 40)]);
        let header = Header::parse(&header(&entries), 1, DISK_BLOCKS).unwrap();
        let mut changed = entries.clone();
        changed[40] ^= 1;
        assert_eq!(
            header.table(&changed).err(),
            Some(GptError::EntriesChecksum)
        );
        assert_eq!(
            header.table(&entries[1..]).err(),
            Some(GptError::EntriesRange)
        );
    }

    proptest! {
        #[test]
        fn hostile_headers_never_panic(
            changes in prop::collection::vec((0..92usize, any::<u8>()), 0..12),
            names in prop::collection::vec(any::<u8>(), 128 * 128),
        ) {
            let mut bytes = header(&names);
            for (at, value) in changes {
                bytes[at] = value;
            }
            seal(&mut bytes);
            crate::fuzz::gpt(&[&bytes[..], &names].concat());
        }
    }
}
