//! What a partition holds, judged from its own bytes: the one place that decides whether it may be
//! formatted.

use std::io;

use crate::device::Device;
use crate::superblock::{LENGTH, OFFSET, Superblock};

/// So much at the start has to be zero before a partition counts as empty. All file systems,
/// volume managers and encryption headers that Linux knows leave a trace before this (the furthest,
/// VMFS, at 1 MiB), except for RAID metadata at the end of a disk, where a former life of the disk
/// may have left some that nobody wants.
pub const BLANK_BYTES: usize = 4 << 20;
/// The first sector while formatting goes on; see [`crate::format`].
pub const MARKER: &[u8; 48] = b"x0tta6bl4 OS: DATA is being formatted, step 1/2\n";
pub const MARKER_SECTOR_BYTES: usize = 512;

/// The kinds of content that are treated differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: may be formatted.
    Blank,
    /// Formatting was cut off before anything could be stored: may be formatted again.
    HalfFormatted,
    /// Our own file system.
    Ours(Superblock),
    /// Our own file system, whose first superblock is lost; a copy of it is in this block.
    OursWithoutSuperblock { copy_block: u64 },
    /// Anything else: never written to. The name is for a person.
    Foreign(&'static str),
}

/// Looks at a partition, reading as little as it takes to be sure.
///
/// # Errors
/// When the device cannot be read.
pub fn identify(device: &impl Device) -> io::Result<Content> {
    let head = device.read_up_to(0, OFFSET + LENGTH)?;
    if head.len() < OFFSET + LENGTH {
        return Ok(Content::Foreign("nothing: it is too small"));
    }
    if head.starts_with(MARKER) && all_zero(&head[MARKER.len()..MARKER_SECTOR_BYTES]) {
        return Ok(Content::HalfFormatted);
    }
    if let Some(superblock) = Superblock::read(&head[OFFSET..]) {
        return Ok(Content::Ours(superblock));
    }
    let head = device.read_up_to(0, BLANK_BYTES)?;
    if all_zero(&head) {
        return Ok(Content::Blank);
    }
    // ext4 keeps copies of its superblock in group 1 and the powers of 3, 5 and 7.
    for group in [1, 3] {
        let copy_block = group * 32768;
        let copy = device.read_up_to(copy_block * 4096, LENGTH)?;
        if Superblock::read(&copy).is_some() {
            return Ok(Content::OursWithoutSuperblock { copy_block });
        }
    }
    Ok(Content::Foreign(name(&head)))
}

/// What else it could be, for the message.
fn name(head: &[u8]) -> &'static str {
    const SIGNATURES: [(usize, &[u8], &str); 14] = [
        (0, b"LUKS\xba\xbe", "a LUKS encrypted volume"),
        (0, b"XFSB", "an XFS file system"),
        (0, b"hsqs", "a SquashFS image"),
        (3, b"NTFS    ", "an NTFS file system"),
        (3, b"EXFAT   ", "an exFAT file system"),
        (54, b"FAT", "a FAT file system"),
        (82, b"FAT32", "a FAT file system"),
        (512, b"LABELONE", "an LVM physical volume"),
        (1024, b"\xe2\xe1\xf5\xe0", "an EROFS image"),
        (
            1024 + 56,
            b"\x53\xef",
            "an ext2, ext3 or ext4 file system that is not x0-data",
        ),
        (4086, b"SWAPSPACE2", "swap space"),
        (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
        (32769, b"CD001", "an ISO 9660 image"),
        (0x10040, b"_BHRfS_M", "a btrfs file system"),
    ];
    SIGNATURES
        .iter()
        .find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
        .map_or("data of an unknown kind", |(_, _, name)| name)
}

fn all_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROES.len())
        .all(|chunk| chunk == &ZEROES[..chunk.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blank() -> Vec<u8> {
        vec![0; BLANK_BYTES + 4096]
    }

    #[test]
    fn zeroes_are_blank_even_with_something_far_behind() {
        let mut device = blank();
        device[BLANK_BYTES + 1] = 1;
        assert_eq!(identify(&device).unwrap(), Content::Blank);
    }

    #[test]
    fn names_what_it_leaves_alone() {
        let mut device = blank();
        device[..6].copy_from_slice(b"LUKS\xba\xbe");
        assert_eq!(
            identify(&device).unwrap(),
            Content::Foreign("a LUKS encrypted volume")
        );
    }

    #[test]
    fn the_marker_counts_only_as_a_whole_sector() {
        let mut device = blank();
        device[..MARKER.len()].copy_from_slice(MARKER);
        assert_eq!(identify(&device).unwrap(), Content::HalfFormatted);
        device[500] = 1;
        assert!(matches!(identify(&device).unwrap(), Content::Foreign(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn one_byte_anywhere_forbids_formatting(at in 0..BLANK_BYTES, value in 1_u8..) {
            let mut device = blank();
            device[at] = value;
            prop_assert!(matches!(identify(&device).unwrap(), Content::Foreign(_)));
        }

        #[test]
        fn hostile_bytes_are_foreign(head in prop::collection::vec(any::<u8>(), 0..8192)) {
            prop_assume!(head.iter().any(|&byte| byte != 0));
            prop_assert!(matches!(identify(&head).unwrap(), Content::Foreign(_)));
        }
    }
}
