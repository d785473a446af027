//! Writes a GUID partition table (UEFI 2.10, chapter 5) with nothing random in it.

use std::fmt;

use crate::layout::{ALIGNMENT_BYTES, Partition, SECTOR_BYTES};

const ENTRY_COUNT: u32 = 128;
const ENTRY_BYTES: u32 = 128;
const ENTRIES_BYTES: usize = 128 * 128;
const HEADER_BYTES: u32 = 92;
const ENTRIES_SECTORS: u64 = ENTRIES_BYTES as u64 / SECTOR_BYTES;
const SECTOR: usize = 512;

/// A GUID in the order in which people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(u128);

impl Guid {
    /// From the digits as written, without the dashes.
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// As stored on disk and in EFI structures: the first three fields little-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = self.0.to_be_bytes();
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(
            f,
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }
}

/// The bytes at both ends of a partitioned disk.
#[derive(Debug)]
pub(crate) struct Table {
    /// Protective MBR, header and entries, for offset 0.
    pub(crate) primary: Vec<u8>,
    /// Entries and header, for the last bytes of the disk.
    pub(crate) backup: Vec<u8>,
}

/// Lays the partitions one after the other from the first alignment boundary on.
pub(crate) fn table(disk: Guid, disk_bytes: u64, partitions: &[Partition]) -> Table {
    let last_sector = disk_bytes / SECTOR_BYTES - 1;
    let entries = entries(partitions);
    let header = |own: u64, other: u64, entries_at: u64| -> Vec<u8> {
        let mut header = Vec::with_capacity(SECTOR);
        header.extend_from_slice(b"EFI PART");
        header.extend_from_slice(&[0, 0, 1, 0]);
        header.extend_from_slice(&HEADER_BYTES.to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        let usable = [2 + ENTRIES_SECTORS, last_sector - ENTRIES_SECTORS - 1];
        for sector in [own, other, usable[0], usable[1]] {
            header.extend_from_slice(&sector.to_le_bytes());
        }
        header.extend_from_slice(&disk.to_bytes());
        header.extend_from_slice(&entries_at.to_le_bytes());
        header.extend_from_slice(&ENTRY_COUNT.to_le_bytes());
        header.extend_from_slice(&ENTRY_BYTES.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(SECTOR, 0);
        header
    };
    let mut primary = protective_mbr(last_sector);
    primary.extend(header(1, last_sector, 2));
    primary.extend_from_slice(&entries);
    let mut backup = entries.clone();
    backup.extend(header(last_sector, 1, last_sector - ENTRIES_SECTORS));
    Table { primary, backup }
}

fn entries(partitions: &[Partition]) -> Vec<u8> {
    let mut entries = Vec::with_capacity(ENTRIES_BYTES);
    let mut start = ALIGNMENT_BYTES;
    for partition in partitions {
        let end = start + partition.bytes;
        entries.extend_from_slice(&partition.kind.to_bytes());
        entries.extend_from_slice(&partition.id.to_bytes());
        entries.extend_from_slice(&(start / SECTOR_BYTES).to_le_bytes());
        entries.extend_from_slice(&(end / SECTOR_BYTES - 1).to_le_bytes());
        entries.extend_from_slice(&0u64.to_le_bytes());
        let mut name: Vec<u8> = partition
            .name
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        name.resize(72, 0);
        entries.extend_from_slice(&name);
        start = end;
    }
    entries.resize(ENTRIES_BYTES, 0);
    entries
}

fn protective_mbr(last_sector: u64) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR];
    let sectors = u32::try_from(last_sector).unwrap_or(u32::MAX);
    mbr[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    mbr[458..462].copy_from_slice(&sectors.to_le_bytes());
    mbr[510] = 0x55;
    mbr[511] = 0xaa;
    mbr
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::layout;
    use crate::tool::Tool;

    #[test]
    fn guid_is_stored_with_its_first_fields_reversed() {
        let guid = Guid::from_u128(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b);
        assert_eq!(guid.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(
            guid.to_bytes()[..8],
            [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]
        );
    }

    #[test]
    fn sgdisk_finds_no_fault_with_the_table() {
        let bytes = layout::disk_bytes();
        let table = table(layout::DISK, bytes, &layout::PARTITIONS);
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(bytes).unwrap();
        file.as_file().write_all_at(&table.primary, 0).unwrap();
        file.as_file()
            .write_all_at(&table.backup, bytes - table.backup.len() as u64)
            .unwrap();
        let verdict = Tool::new("sgdisk")
            .arg("--verify")
            .arg(file.path())
            .run()
            .unwrap();
        assert!(verdict.contains("No problems found"), "{verdict}");
        let shown = Tool::new("sgdisk")
            .arg("--print")
            .arg(file.path())
            .run()
            .unwrap();
        for partition in &layout::PARTITIONS {
            assert!(shown.contains(partition.name), "{shown}");
        }
    }
}
