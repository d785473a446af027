//! The ext4 superblock (kernel documentation, filesystems/ext4/super), as far as it tells whether a
//! file system is ours and in order. Reading it here saves a normal boot from starting `e2fsck`.

/// Where the superblock lies in its file system, and how long it is.
pub const OFFSET: usize = 1024;
pub const LENGTH: usize = 1024;
/// The label that marks a file system as this system's own.
pub const LABEL: &str = "x0-data";
/// What this system formats with.
pub const BLOCK_BYTES: u64 = 4096;

const MAGIC: u16 = 0xEF53;
const STATE_CLEAN: u16 = 1;
const STATE_ERRORS: u16 = 2;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_EXTENTS: u32 = 0x40;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const EXTENT_MAGIC: u16 = 0xF30A;

/// A superblock of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// How long the file system is.
    pub size_bytes: u64,
    /// Why `e2fsck` has to look at it before it is mounted; `None` in a normal life, which
    /// includes a power cut (the kernel replays the journal on mount).
    pub needs_check: Option<&'static str>,
    journal_copy: [u8; 68],
}

impl Superblock {
    /// Reads the 1024 bytes of a superblock. `None` where they are not an ext4 superblock with our
    /// label: the file system is then somebody else's.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        if u16_at(bytes, 0x38) != MAGIC || !label_is_ours(&bytes[0x78..0x88]) {
            return None;
        }
        let blocks = u64::from(u32_at(bytes, 0x4)) | u64::from(u32_at(bytes, 0x150)) << 32;
        let size_bytes = blocks.saturating_mul(BLOCK_BYTES);
        Some(Self {
            size_bytes,
            needs_check: needs_check(bytes),
            journal_copy: bytes[0x10C..0x150].try_into().expect("68 bytes"),
        })
    }

    /// Where the journal lies: byte ranges `(offset, length)` from the copy of its extents that the
    /// superblock holds. `None` where the copy is not a plain list of extents.
    #[must_use]
    pub fn journal(&self) -> Option<Vec<(u64, u64)>> {
        let copy = &self.journal_copy;
        let (entries, depth) = (usize::from(u16_at(copy, 2)), u16_at(copy, 6));
        if u16_at(copy, 0) != EXTENT_MAGIC || !(1..=4).contains(&entries) || depth != 0 {
            return None;
        }
        copy[12..60]
            .chunks_exact(12)
            .take(entries)
            .map(|extent| {
                let length = u64::from(u16_at(extent, 4));
                let start = u64::from(u16_at(extent, 6)) << 32 | u64::from(u32_at(extent, 8));
                let end = start.checked_add(length)?.checked_mul(BLOCK_BYTES)?;
                (length <= 0x8000 && end <= self.size_bytes)
                    .then_some((start * BLOCK_BYTES, length * BLOCK_BYTES))
            })
            .collect()
    }
}

fn needs_check(bytes: &[u8; LENGTH]) -> Option<&'static str> {
    let incompat = u32_at(bytes, 0x60);
    let state = u16_at(bytes, 0x3A);
    let ours = u32_at(bytes, 0x5C) & COMPAT_HAS_JOURNAL != 0
        && incompat & INCOMPAT_EXTENTS != 0
        && u32_at(bytes, 0x64) & RO_COMPAT_METADATA_CSUM != 0
        && u32_at(bytes, 0x18) == 2;
    if !ours {
        Some("its features are not those it was made with")
    } else if crc32c(&bytes[..0x3FC]) != u32_at(bytes, 0x3FC) {
        Some("its superblock has a wrong checksum")
    } else if state & STATE_ERRORS != 0 {
        Some("the kernel found errors in it")
    } else if state & STATE_CLEAN == 0 && incompat & INCOMPAT_RECOVER == 0 {
        Some("it was not unmounted and has no journal to replay")
    } else {
        None
    }
}

fn label_is_ours(field: &[u8]) -> bool {
    let length = field
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(field.len());
    &field[..length] == LABEL.as_bytes()
}

/// CRC-32C without the final inversion, as ext4 stores it. Bit by bit: it runs over one kilobyte
/// per boot.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_checksum() {
        // The check value of CRC-32C, before its final inversion.
        assert_eq!(crc32c(b"123456789"), !0xE306_9283);
    }

    #[test]
    fn the_label_is_compared_to_its_end() {
        assert!(label_is_ours(b"x0-data\0\0\0\0\0\0\0\0\0"));
        assert!(!label_is_ours(b"x0-data2\0\0\0\0\0\0\0\0"));
        assert!(!label_is_ours(b"x0-dat\0\0\0\0\0\0\0\0\0\0"));
    }
}
