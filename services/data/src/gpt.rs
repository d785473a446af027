//! One GUID partition table (UEFI 2.10, section 5.3), read strictly: what is not exactly as the
//! image builder writes it is an error, so that nothing that is only half understood gets written.

use crate::device::Device;

/// The image is made for 512-byte logical blocks; on a disk with others it would not boot.
pub const BLOCK_BYTES: u64 = 512;
const PRIMARY: u64 = 1;
const ENTRY_BYTES: usize = 128;
const ENTRIES_MAX: usize = 128;
const HEADER_BYTES: usize = 92;

/// Why a copy of the table cannot be trusted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("block {0} cannot be read")]
    Unreadable(u64),
    #[error("block {0} has no partition table signature")]
    NoSignature(u64),
    #[error("the header says {field} = {value}, which this system never writes")]
    Field { field: &'static str, value: u64 },
    #[error("it was made for a disk of {table_blocks} blocks, this one has only {blocks}")]
    DiskTooSmall { table_blocks: u64, blocks: u64 },
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    #[error("the partition list's checksum is wrong")]
    EntriesChecksum,
    #[error("partition {number} lies outside of the disk's usable blocks")]
    OutOfRange { number: u32 },
    #[error("partitions {first} and {second} overlap")]
    Overlap { first: u32, second: u32 },
    #[error("there is no partition called {0}")]
    Missing(&'static str),
    #[error("more than one partition is called {0}")]
    Twice(&'static str),
}

impl TableError {
    /// Whether a write that was cut off, or a block gone bad, explains it: then the other copy may
    /// be trusted. A table that contradicts itself under a right checksum was written on purpose.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(_)
                | Self::NoSignature(_)
                | Self::HeaderChecksum
                | Self::EntriesChecksum
        )
    }
}

/// A partition of the table; blocks as in the table, the last one inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Counted from 1, as the kernel does.
    pub number: u32,
    pub first_block: u64,
    pub last_block: u64,
}

impl Partition {
    /// Where it starts on the disk.
    #[must_use]
    pub fn start_bytes(&self) -> u64 {
        self.first_block * BLOCK_BYTES
    }

    /// How long it is.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        (self.last_block - self.first_block + 1) * BLOCK_BYTES
    }
}

/// A whole, valid table: every used entry lies in the usable blocks and overlaps no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The header as read: fields that are not ours to change stay as they were.
    header: Vec<u8>,
    entries: Vec<u8>,
}

impl Table {
    /// Reads the copy whose header is in block `at`: 1, or the disk's last block.
    ///
    /// # Errors
    /// When anything about it is not as it must be.
    pub fn read(disk: &impl Device, at: u64) -> Result<Self, TableError> {
        let blocks = disk.size_bytes() / BLOCK_BYTES;
        let mut header = vec![0; usize_of(BLOCK_BYTES)];
        read(disk, at, &mut header)?;
        if &header[..8] != b"EFI PART" {
            return Err(TableError::NoSignature(at));
        }
        let mut table = Self {
            header,
            entries: Vec::new(),
        };
        table.check_header(at, blocks)?;
        table.entries = vec![0; table.entry_count() * ENTRY_BYTES];
        read(disk, table.u64(72), &mut table.entries)?;
        if crc32fast::hash(&table.entries) != table.u32(88) {
            return Err(TableError::EntriesChecksum);
        }
        table.check_entries()?;
        Ok(table)
    }

    /// The used entries, in the table's order.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.entries
            .chunks_exact(ENTRY_BYTES)
            .zip(1..)
            .filter(|(entry, _)| entry[..16] != [0; 16])
            .map(|(entry, number)| Partition {
                number,
                first_block: u64_at(entry, 32),
                last_block: u64_at(entry, 40),
            })
    }

    /// The one partition called `name`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn named(&self, name: &'static str) -> Result<Partition, TableError> {
        let mut found = self
            .partitions()
            .filter(|partition| self.name_is(partition.number, name));
        let partition = found.next().ok_or(TableError::Missing(name))?;
        match found.next() {
            Some(_) => Err(TableError::Twice(name)),
            None => Ok(partition),
        }
    }

    /// The last block that a partition may use on a disk of `blocks`, with room for the backup.
    #[must_use]
    pub fn last_usable(&self, blocks: u64) -> u64 {
        blocks - 2 - self.entries_blocks()
    }

    /// Moves the end of `partition` and the end of the usable blocks.
    pub fn resize(&mut self, partition: Partition, last_block: u64, last_usable: u64) {
        let entry = (partition.number as usize - 1) * ENTRY_BYTES;
        self.entries[entry + 40..entry + 48].copy_from_slice(&last_block.to_le_bytes());
        self.header[48..56].copy_from_slice(&last_usable.to_le_bytes());
    }

    /// The bytes of the first copy: header block, then the list, for block 1 onwards.
    #[must_use]
    pub fn primary_bytes(&self, blocks: u64) -> Vec<u8> {
        let mut bytes = self.sealed_header(PRIMARY, blocks - 1, PRIMARY + 1);
        bytes.extend_from_slice(&self.entries);
        bytes.resize(usize_of(BLOCK_BYTES * (1 + self.entries_blocks())), 0);
        bytes
    }

    /// The second copy: the block at which it starts, and its bytes up to the disk's end.
    #[must_use]
    pub fn backup_bytes(&self, blocks: u64) -> (u64, Vec<u8>) {
        let start = blocks - 1 - self.entries_blocks();
        let mut bytes = self.entries.clone();
        bytes.resize(usize_of(BLOCK_BYTES * self.entries_blocks()), 0);
        bytes.extend(self.sealed_header(blocks - 1, PRIMARY, start));
        (start, bytes)
    }

    fn sealed_header(&self, at: u64, alternate: u64, entries: u64) -> Vec<u8> {
        let mut header = self.header.clone();
        header[24..32].copy_from_slice(&at.to_le_bytes());
        header[32..40].copy_from_slice(&alternate.to_le_bytes());
        header[72..80].copy_from_slice(&entries.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&self.entries).to_le_bytes());
        let checksum = header_checksum(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    fn check_header(&self, at: u64, blocks: u64) -> Result<(), TableError> {
        let field = |field, value: u64, right: bool| {
            if right {
                Ok(())
            } else {
                Err(TableError::Field { field, value })
            }
        };
        let size = u64::from(self.u32(12));
        field("header size", size, size == HEADER_BYTES as u64)?;
        if self.u32(16) != header_checksum(&self.header) {
            return Err(TableError::HeaderChecksum);
        }
        let revision = u64::from(self.u32(8));
        field("revision", revision, revision == 0x1_0000)?;
        field("own block", self.u64(24), self.u64(24) == at)?;
        let alternate = self.u64(32);
        if at == PRIMARY && alternate >= blocks {
            return Err(TableError::DiskTooSmall {
                table_blocks: alternate.saturating_add(1),
                blocks,
            });
        }
        let right = match at {
            PRIMARY => alternate > PRIMARY,
            _ => alternate == PRIMARY,
        };
        field("other copy's block", alternate, right)?;
        let entry_bytes = u64::from(self.u32(84));
        field("entry size", entry_bytes, entry_bytes == ENTRY_BYTES as u64)?;
        let count = self.entry_count();
        field(
            "number of entries",
            count as u64,
            (1..=ENTRIES_MAX).contains(&count),
        )?;
        // The list must lie beside its header, the usable blocks between the two copies.
        let entries = self.u64(72);
        let backup = at.max(alternate);
        let entries_right = if at == PRIMARY {
            PRIMARY + 1
        } else {
            backup.saturating_sub(self.entries_blocks())
        };
        field("partition list", entries, entries == entries_right)?;
        let (first, last) = (self.u64(40), self.u64(48));
        field(
            "first usable block",
            first,
            first > PRIMARY + self.entries_blocks() && first <= last,
        )?;
        field(
            "last usable block",
            last,
            last < backup.saturating_sub(self.entries_blocks()),
        )
    }

    fn check_entries(&self) -> Result<(), TableError> {
        let usable = self.u64(40)..=self.u64(48);
        let mut partitions: Vec<_> = self.partitions().collect();
        for partition in &partitions {
            if partition.first_block > partition.last_block
                || !usable.contains(&partition.first_block)
                || !usable.contains(&partition.last_block)
            {
                return Err(TableError::OutOfRange {
                    number: partition.number,
                });
            }
        }
        partitions.sort_by_key(|partition| partition.first_block);
        match partitions
            .windows(2)
            .find(|pair| pair[0].last_block >= pair[1].first_block)
        {
            Some(pair) => Err(TableError::Overlap {
                first: pair[0].number,
                second: pair[1].number,
            }),
            None => Ok(()),
        }
    }

    fn name_is(&self, number: u32, name: &str) -> bool {
        let entry = (number as usize - 1) * ENTRY_BYTES;
        let mut units = name.encode_utf16().chain(std::iter::repeat(0));
        self.entries[entry + 56..entry + 128]
            .chunks_exact(2)
            .all(|unit| units.next() == Some(u16::from_le_bytes([unit[0], unit[1]])))
    }

    fn entry_count(&self) -> usize {
        self.u32(80) as usize
    }

    fn entries_blocks(&self) -> u64 {
        ((self.entry_count() * ENTRY_BYTES) as u64).div_ceil(BLOCK_BYTES)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.header[at..at + 4].try_into().expect("four bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64_at(&self.header, at)
    }
}

fn header_checksum(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..16]);
    hasher.update(&[0; 4]);
    hasher.update(&header[20..HEADER_BYTES]);
    hasher.finalize()
}

fn read(disk: &impl Device, block: u64, buffer: &mut [u8]) -> Result<(), TableError> {
    block
        .checked_mul(BLOCK_BYTES)
        .and_then(|offset| disk.read_at(offset, buffer).ok())
        .ok_or(TableError::Unreadable(block))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a table is at most 17 KiB long")
}
