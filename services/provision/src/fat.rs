//! Reads one small file from the root folder of a FAT volume that nobody trusts (Microsoft's "FAT:
//! General Overview of On-Disk Format", 1.03).
//!
//! It is code of ours, because the kernel must not mount a stranger's file system, and `fatfs`
//! 0.3.6 neither bounds how long a folder may be nor is it maintained. Every number is checked
//! before use, and every loop is bounded by a constant: at worst 2 MiB of folder are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The largest root folder that FAT12 and FAT16 can have; also enough for a FAT32 of ours.
const FOLDER_BYTES_MAX: u64 = 65536 * 32;
const ENTRY_BYTES: usize = 32;
const BOOT_SECTOR_BYTES: usize = 512;

const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_FOLDER: u8 = 0x10;
const ATTRIBUTE_LONG_NAME: u8 = 0x0F;

/// What a volume lies on.
pub trait Source {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// Those of the device; `UnexpectedEof` past its end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Source for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = from
            .checked_add(buffer.len())
            .and_then(|to| self.get(from..to))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// Why a volume or a file on it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    #[error("it is no FAT volume")]
    NotFat,
    #[error("its file system is damaged: {0}")]
    Damaged(&'static str),
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    #[error("the file is {bytes} bytes long; at most {most} are read")]
    TooLarge { bytes: u64, most: u64 },
}

/// A FAT volume whose boot sector makes sense.
#[derive(Debug)]
pub struct Volume<'a, S: ?Sized> {
    source: &'a S,
    shape: Shape,
    boot_label: [u8; 11],
}

#[derive(Debug)]
struct Shape {
    kind: Kind,
    cluster_bytes: u64,
    clusters: u64,
    fat_start: u64,
    fat_bytes: u64,
    root: Root,
    data_start: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

#[derive(Clone, Copy, Debug)]
enum Root {
    /// FAT12 and FAT16: at a place of its own.
    Fixed { start: u64, bytes: u64 },
    /// FAT32: a chain like any other.
    Chain { cluster: u64 },
}

/// A file in the root folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    cluster: u64,
    bytes: u64,
}

/// What the root folder tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    label: Option<[u8; 11]>,
    /// The file that was looked for.
    pub file: Option<Entry>,
}

impl<'a, S: Source + ?Sized> Volume<'a, S> {
    /// Reads the boot sector.
    ///
    /// # Errors
    /// When it is none, or contradicts itself.
    pub fn open(source: &'a S) -> Result<Self, FatError> {
        let mut sector = [0; BOOT_SECTOR_BYTES];
        source.read_at(0, &mut sector)?;
        let shape = Shape::read(&sector)?;
        let label = if shape.kind == Kind::Fat32 { 71 } else { 43 };
        Ok(Self {
            source,
            boot_label: sector[label..label + 11].try_into().expect("11 bytes"),
            shape,
        })
    }

    /// Whether the boot sector bears this label.
    #[must_use]
    pub fn is_labelled(&self, label: &str) -> bool {
        is_label(&self.boot_label, label)
    }

    /// Looks through the root folder for the file called `name` (ASCII; its case does not matter).
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self, name: &str) -> Result<Listing, FatError> {
        let folder = match self.shape.root {
            Root::Fixed { start, bytes } => {
                let mut folder = vec![0; to_usize(bytes)];
                self.source.read_at(start, &mut folder)?;
                folder
            }
            Root::Chain { cluster } => self.chain(cluster, FOLDER_BYTES_MAX)?,
        };
        Ok(list(&folder, name))
    }

    /// Reads a file of at most `most` bytes.
    ///
    /// # Errors
    /// When it is longer, or the chain of its clusters is broken.
    pub fn read(&self, entry: Entry, most: u64) -> Result<Vec<u8>, FatError> {
        if entry.bytes > most {
            return Err(FatError::TooLarge {
                bytes: entry.bytes,
                most,
            });
        }
        if entry.bytes == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = self.chain(entry.cluster, entry.bytes)?;
        if (bytes.len() as u64) < entry.bytes {
            return Err(FatError::Damaged("the file ends before its length"));
        }
        bytes.truncate(to_usize(entry.bytes));
        Ok(bytes)
    }

    /// The bytes of a chain of clusters, as far as to `enough`.
    fn chain(&self, first: u64, enough: u64) -> Result<Vec<u8>, FatError> {
        let mut bytes = Vec::new();
        let mut next = Some(first);
        while let Some(cluster) = next
            && (bytes.len() as u64) < enough
        {
            let start = self.shape.cluster_start(cluster)?;
            let from = bytes.len();
            bytes.resize(from + to_usize(self.shape.cluster_bytes), 0);
            self.source.read_at(start, &mut bytes[from..])?;
            next = self.next_cluster(cluster)?;
        }
        Ok(bytes)
    }

    fn next_cluster(&self, cluster: u64) -> Result<Option<u64>, FatError> {
        let (offset, length) = match self.shape.kind {
            Kind::Fat12 => (cluster + cluster / 2, 2),
            Kind::Fat16 => (cluster * 2, 2),
            Kind::Fat32 => (cluster * 4, 4),
        };
        if offset + length > self.shape.fat_bytes {
            return Err(FatError::Damaged("its allocation table is too short"));
        }
        let mut raw = [0; 4];
        self.source
            .read_at(self.shape.fat_start + offset, &mut raw[..to_usize(length)])?;
        let value = u64::from(u32::from_le_bytes(raw));
        let (value, end) = match self.shape.kind {
            Kind::Fat12 if cluster % 2 == 1 => (value >> 4, 0xFF8),
            Kind::Fat12 => (value & 0xFFF, 0xFF8),
            Kind::Fat16 => (value, 0xFFF8),
            Kind::Fat32 => (value & 0x0FFF_FFFF, 0x0FFF_FFF8),
        };
        Ok((value < end).then_some(value))
    }
}

impl Listing {
    /// Whether the root folder bears this label, or `None` where it bears none.
    #[must_use]
    pub fn is_labelled(&self, label: &str) -> Option<bool> {
        self.label.map(|found| is_label(&found, label))
    }
}

impl Shape {
    fn read(sector: &[u8; BOOT_SECTOR_BYTES]) -> Result<Self, FatError> {
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let u32_at = |at: usize| u16_at(at) | u16_at(at + 2) << 16;
        let sector_bytes = u16_at(11);
        let cluster_sectors = u64::from(sector[13]);
        let (reserved, fats, root_entries) = (u16_at(14), u64::from(sector[16]), u16_at(17));
        let looks_like_fat = sector[510..] == [0x55, 0xAA]
            && matches!(sector[0], 0xEB | 0xE9)
            && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
            && cluster_sectors.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&fats)
            && sector[21] >= 0xF0;
        if !looks_like_fat {
            return Err(FatError::NotFat);
        }
        let either = |short: u64, long: u64| if short == 0 { long } else { short };
        let total = either(u16_at(19), u32_at(32));
        let short_fat_sectors = u16_at(22);
        let fat_sectors = either(short_fat_sectors, u32_at(36));
        let root_bytes = root_entries * ENTRY_BYTES as u64;
        let root_start = reserved + fats * fat_sectors;
        let data_start = root_start + root_bytes.div_ceil(sector_bytes);
        let clusters = total
            .checked_sub(data_start)
            .ok_or(FatError::Damaged("it is shorter than its own tables"))?
            / cluster_sectors;
        // As Linux tells them apart: a small FAT32 exists, though the specification has none.
        let kind = match (short_fat_sectors, clusters) {
            (0, _) => Kind::Fat32,
            (_, ..=4084) => Kind::Fat12,
            _ => Kind::Fat16,
        };
        let root = match kind {
            Kind::Fat32 => Root::Chain {
                cluster: u32_at(44),
            },
            _ => Root::Fixed {
                start: root_start * sector_bytes,
                bytes: root_bytes,
            },
        };
        Ok(Self {
            kind,
            cluster_bytes: cluster_sectors * sector_bytes,
            clusters,
            fat_start: reserved * sector_bytes,
            fat_bytes: fat_sectors * sector_bytes,
            root,
            data_start: data_start * sector_bytes,
        })
    }

    fn cluster_start(&self, cluster: u64) -> Result<u64, FatError> {
        match cluster.checked_sub(2) {
            Some(index) if index < self.clusters => {
                Ok(self.data_start + index * self.cluster_bytes)
            }
            _ => Err(FatError::Damaged("a chain leads out of the volume")),
        }
    }
}

fn list(folder: &[u8], name: &str) -> Listing {
    let mut listing = Listing::default();
    let mut long_name = LongName::default();
    for entry in folder.chunks_exact(ENTRY_BYTES) {
        let attributes = entry[11];
        match entry[0] {
            0x00 => break,
            0xE5 => long_name = LongName::default(),
            _ if attributes & 0x3F == ATTRIBUTE_LONG_NAME => long_name.add(entry),
            _ if attributes & ATTRIBUTE_LABEL != 0 => {
                let label = entry[..11].try_into().expect("11 bytes");
                listing.label.get_or_insert(label);
                long_name = LongName::default();
            }
            _ => {
                let found = long_name.is(name, entry) || short_name_is(entry, name);
                long_name = LongName::default();
                if found && attributes & ATTRIBUTE_FOLDER == 0 {
                    listing.file.get_or_insert(file(entry));
                }
            }
        }
    }
    listing
}

fn file(entry: &[u8]) -> Entry {
    let u16_at = |at: usize| u64::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
    Entry {
        cluster: u16_at(20) << 16 | u16_at(26),
        bytes: u16_at(28) | u16_at(30) << 16,
    }
}

/// The entries with the parts of a long name stand before the file's own one, last part first.
#[derive(Default)]
struct LongName {
    /// Backwards: the units of the name's last part come first.
    parts: Vec<[u16; 13]>,
    /// The number of the next part; 0 when the name is complete.
    awaited: u8,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8]) {
        const LAST: u8 = 0x40;
        const PARTS_MAX: u8 = 20;
        let (order, checksum) = (entry[0], entry[13]);
        let number = order & !LAST;
        if order & LAST != 0 && (1..=PARTS_MAX).contains(&number) {
            self.parts.clear();
            self.checksum = checksum;
        } else if number == 0 || number != self.awaited || checksum != self.checksum {
            *self = Self::default();
            return;
        }
        self.awaited = number - 1;
        let mut units = [0; 13];
        let places = (1..11).chain(14..26).chain(28..32);
        let bytes: Vec<u8> = places.map(|at| entry[at]).collect();
        for (unit, bytes) in units.iter_mut().zip(bytes.chunks_exact(2)) {
            *unit = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
        self.parts.push(units);
    }

    fn is(&self, name: &str, entry: &[u8]) -> bool {
        let checksum = entry[..11]
            .iter()
            .fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
        if self.parts.is_empty() || self.awaited != 0 || checksum != self.checksum {
            return false;
        }
        let units = self.parts.iter().rev().flatten().copied();
        char::decode_utf16(units.take_while(|&unit| unit != 0))
            .map(|unit| {
                unit.unwrap_or(char::REPLACEMENT_CHARACTER)
                    .to_ascii_lowercase()
            })
            .eq(name.chars().map(|c| c.to_ascii_lowercase()))
    }
}

/// `NAME    EXT` against `name.ext`.
fn short_name_is(entry: &[u8], name: &str) -> bool {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (stem, extension) = (part(&entry[..8]), part(&entry[8..11]));
    let short = if extension.is_empty() {
        stem
    } else {
        format!("{stem}.{extension}")
    };
    short.eq_ignore_ascii_case(name)
}

fn is_label(field: &[u8; 11], label: &str) -> bool {
    field
        .trim_ascii_end()
        .eq_ignore_ascii_case(label.as_bytes())
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("bounded by FOLDER_BYTES_MAX or the caller's limit")
}
