//! DATA is formatted, with the power cut on the way, on top of whatever an earlier life left.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use data::content::{BLANK_BYTES, Content, identify};
use data::device::{Device, Disk};
use data::format::{format, install, make_image, written_ranges};
use data::superblock::Superblock;

use crate::cut::Recorder;

const MIB: usize = 1 << 20;
const SMALL: usize = 12 * MIB;

/// A partition whose start is blank, and whose rest is full of something old.
fn used(bytes: usize) -> Vec<u8> {
    let mut partition = vec![0xA5; bytes];
    partition[..BLANK_BYTES].fill(0);
    partition
}

/// The writes that formatting a small partition takes.
static FORMATTED: LazyLock<Recorder> = LazyLock::new(|| {
    let mut recorder = Recorder::new(used(SMALL));
    let image = make_image(SMALL as u64).unwrap();
    let ranges = written_ranges(image.file()).unwrap();
    install(&image, &ranges, &mut recorder).unwrap();
    recorder
});

fn e2fsck_is_content(path: &Path) {
    let output = Command::new("/usr/sbin/e2fsck")
        .args(["-f", "-n"])
        .arg(path)
        .output()
        .expect("e2fsprogs is installed by ci/setup");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

fn in_file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn makes_a_file_system_of_ours_over_old_bytes() {
    let disk = &FORMATTED.seen;
    let Content::Ours(superblock) = identify(disk).unwrap() else {
        panic!("it is not recognised");
    };
    assert_eq!(superblock.needs_check, None);
    assert_eq!(superblock.size_bytes, SMALL as u64);
    e2fsck_is_content(in_file(disk).path());
}

#[test]
fn no_stale_journal_can_be_replayed() {
    let disk = &FORMATTED.seen;
    let superblock = Superblock::read(&disk[1024..2048]).unwrap();
    let journal = superblock.journal().unwrap();
    let total: u64 = journal.iter().map(|(_, length)| length).sum();
    assert_eq!(total, 4 << 20);
    for (n, (offset, length)) in journal.into_iter().enumerate() {
        let from = usize::try_from(offset).unwrap() + if n == 0 { 4096 } else { 0 };
        let to = usize::try_from(offset + length).unwrap();
        assert!(disk[from..to].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_power_cut_leaves_a_whole_file_system_or_one_to_be_made_anew() {
    let mut counts = [0; 3];
    for disk in FORMATTED.cuts(20) {
        match identify(&disk).unwrap() {
            Content::Blank => counts[0] += 1,
            Content::HalfFormatted => counts[1] += 1,
            Content::Ours(superblock) => {
                assert_eq!(superblock.needs_check, None);
                assert!(disk == FORMATTED.seen, "it is mounted, but not whole");
                counts[2] += 1;
            }
            other => panic!("a cut left {other:?}"),
        }
    }
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn formatting_again_after_a_cut_ends_well() {
    let half = FORMATTED
        .cuts(3)
        .find(|disk| identify(disk).unwrap() == Content::HalfFormatted)
        .unwrap();
    let file = in_file(&half);
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(file.path())
        .unwrap();
    format(&mut Disk::new(device, half.len() as u64)).unwrap();
    e2fsck_is_content(file.path());
}

#[test]
fn large_and_tiny_partitions_are_formatted() {
    // The image of a large one takes little memory: only what mke2fs writes.
    for (bytes, most) in [(12_u64 << 20, 8 << 20), (300 << 30, 64 << 20)] {
        let image = make_image(bytes).unwrap();
        let written: u64 = written_ranges(image.file())
            .unwrap()
            .iter()
            .map(|(_, length)| length)
            .sum();
        assert!(written < most, "{written} bytes for {bytes}");
        let head = image.read_up_to(1024, 1024).unwrap();
        let superblock = Superblock::read(&head).unwrap();
        assert_eq!(superblock.size_bytes, bytes);
        assert!(superblock.journal().is_some());
    }
}

#[test]
fn a_lost_superblock_is_found_again() {
    let size = 160 << 20;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    let open = || {
        let options = OpenOptions::new().read(true).write(true).open(file.path());
        Disk::new(options.unwrap(), size)
    };
    let mut device = open();
    format(&mut device).unwrap();
    device.write_at(0, &[0x5A; 4096]).unwrap();
    let found = identify(&device).unwrap();
    assert_eq!(found, Content::OursWithoutSuperblock { copy_block: 32768 });
    data::check::check(file.path(), Some(32768)).unwrap();
    assert!(matches!(identify(&open()).unwrap(), Content::Ours(s) if s.needs_check.is_none()));
    e2fsck_is_content(file.path());
}

#[test]
fn foreign_file_systems_are_left_alone() {
    let make = |program: &str, arguments: &[&str]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 * MIB as u64).unwrap();
        let status = Command::new(program)
            .args(arguments)
            .arg(file.path())
            .output()
            .unwrap()
            .status;
        assert!(status.success(), "{program}");
        identify(&fs::read(file.path()).unwrap()).unwrap()
    };
    assert_eq!(
        make("/usr/sbin/mke2fs", &["-q", "-F", "-t", "ext4", "-L", "x0"]),
        Content::Foreign("an ext2, ext3 or ext4 file system that is not x0-data")
    );
    assert_eq!(
        make("/usr/sbin/mkfs.vfat", &["-n", "X0-DATA"]),
        Content::Foreign("a FAT file system")
    );
    // Ours by name, but not by its features: it is checked before it is trusted.
    let Content::Ours(superblock) = make(
        "/usr/sbin/mke2fs",
        &["-q", "-F", "-t", "ext2", "-L", "x0-data"],
    ) else {
        panic!("it bears our label");
    };
    assert!(superblock.needs_check.is_some());
}

#[test]
fn a_damaged_superblock_is_noticed() {
    let mut disk = FORMATTED.seen.clone();
    disk[1024 + 0x10] ^= 1;
    let Content::Ours(superblock) = identify(&disk).unwrap() else {
        panic!("it is still ours");
    };
    assert!(superblock.needs_check.unwrap().contains("checksum"));
}
