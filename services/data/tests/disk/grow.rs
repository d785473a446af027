//! DATA grows on images made by `sgdisk`, with the power cut at every sector.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;

use crate::cut::Recorder;
use data::gpt::{BLOCK_BYTES, Table, TableError};
use data::grow::{GrowError, carry_out, plan};
use proptest::prelude::*;

const MIB: usize = 1 << 20;

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| image(&[]));

/// A disk as the image builder makes it, but small; DATA is the last of seven.
fn image(arguments: &[&str]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(16 * MIB as u64).unwrap();
    let output = Command::new("/usr/sbin/sgdisk")
        .args(["-n1:2048:+1M", "-c1:ESP", "-n2:0:+1M", "-c2:BOOTSTATE"])
        .args(["-n3:0:+1M", "-c3:BOOT-A", "-n4:0:+1M", "-c4:ROOT-A"])
        .args(["-n5:0:+1M", "-c5:BOOT-B", "-n6:0:+1M", "-c6:ROOT-B"])
        .args(["-n7:0:+4M", "-c7:DATA"])
        .args(arguments)
        .arg(file.path())
        .output()
        .expect("gdisk is installed by ci/setup");
    assert!(output.status.success(), "{output:?}");
    fs::read(file.path()).unwrap()
}

/// The image on a disk of another size.
fn flashed(image: &[u8], mib: usize) -> Vec<u8> {
    let mut image = image.to_vec();
    image.resize(mib * MIB, 0xA5);
    image
}

fn sgdisk_is_content(disk: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), disk).unwrap();
    let output = Command::new("/usr/sbin/sgdisk")
        .arg("-v")
        .arg(file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("No problems found"), "{said}");
}

/// Grows it as the service does, and returns where DATA ends then.
fn grow(disk: &mut Vec<u8>) -> u64 {
    let plan = plan(disk).unwrap();
    carry_out(disk, &plan.steps).unwrap();
    (plan.data.last_block + 1) * BLOCK_BYTES
}

#[test]
fn grows_to_the_end_and_then_rests() {
    let mut disk = flashed(&IMAGE, 40);
    let before = disk.clone();
    assert_eq!(grow(&mut disk), 39 * MIB as u64);
    sgdisk_is_content(&disk);
    assert_eq!(plan(&disk).unwrap().steps, []);
    // Nothing but the two copies of the table changed.
    let last = disk.len() - 33 * 512;
    assert_eq!(disk[..512], before[..512]);
    assert_eq!(disk[34 * 512..last], before[34 * 512..last]);
    // Six partitions are where they were.
    let (old, new) = (
        Table::read(&before, 1).unwrap(),
        Table::read(&disk, 1).unwrap(),
    );
    let six = |table: &Table| table.partitions().take(6).collect::<Vec<_>>();
    assert_eq!(six(&old), six(&new));
}

#[test]
fn grows_again_with_its_disk() {
    let mut disk = flashed(&IMAGE, 40);
    grow(&mut disk);
    let mut disk = flashed(&disk, 64);
    assert_eq!(grow(&mut disk), 63 * MIB as u64);
    sgdisk_is_content(&disk);
}

#[test]
fn stays_on_a_disk_of_the_image_s_size() {
    let mut disk = IMAGE.clone();
    assert_eq!(grow(&mut disk), 15 * MIB as u64);
    sgdisk_is_content(&disk);
}

#[test]
fn a_power_cut_at_any_sector_is_healed_by_the_next_boot() {
    let mut recorder = Recorder::new(flashed(&IMAGE, 20));
    let steps = plan(&recorder).unwrap().steps;
    carry_out(&mut recorder, &steps).unwrap();
    let whole = recorder.seen.clone();
    let mut cuts = 0;
    for mut disk in recorder.cuts(usize::MAX) {
        let last = disk.len() as u64 / BLOCK_BYTES - 1;
        assert!(Table::read(&disk, 1).is_ok() || Table::read(&disk, last).is_ok());
        grow(&mut disk);
        assert!(disk == whole, "cut {cuts} is not healed");
        cuts += 1;
    }
    assert!(cuts > 150, "{cuts} cuts");
}

#[test]
fn a_lost_copy_is_restored_from_the_other() {
    let mut whole = flashed(&IMAGE, 20);
    grow(&mut whole);
    let end = whole.len();
    for lost in [
        512..1024,
        1024..2048,
        end - 512..end,
        end - 16 * 512..end - 15 * 512,
        0x600..0x700,
    ] {
        let mut disk = whole.clone();
        disk[lost.clone()].fill(0x5A);
        grow(&mut disk);
        assert!(disk == whole, "{lost:?} is not restored");
    }
}

#[test]
fn a_hostile_table_is_left_alone() {
    // DATA is not the last one.
    let disk = flashed(&image(&["-n8:0:+1M"]), 40);
    assert_eq!(plan(&disk).unwrap_err(), GrowError::NotLast { number: 8 });
    // There is no DATA, or there are two.
    let disk = flashed(&image(&["-c7:DATE"]), 40);
    assert_eq!(
        plan(&disk).unwrap_err(),
        GrowError::Foreign(TableError::Missing("DATA"))
    );
    let disk = flashed(&image(&["-c3:DATA"]), 40);
    assert_eq!(
        plan(&disk).unwrap_err(),
        GrowError::Foreign(TableError::Twice("DATA"))
    );
    // The disk is shorter than its table.
    let mut disk = flashed(&IMAGE, 40);
    grow(&mut disk);
    disk.truncate(30 * MIB);
    assert!(matches!(
        plan(&disk).unwrap_err(),
        GrowError::Foreign(TableError::DiskTooSmall { .. })
    ));
    // No table at all.
    assert!(matches!(
        plan(&vec![0; MIB]).unwrap_err(),
        GrowError::Damaged { .. }
    ));
}

/// Changes a table under right checksums, as only somebody who means it does.
fn forged(entry: usize, field: usize, value: u64) -> Vec<u8> {
    let mut disk = flashed(&IMAGE, 40);
    let at = 1024 + entry * 128 + field;
    disk[at..at + 8].copy_from_slice(&value.to_le_bytes());
    let list = crc32fast::hash(&disk[1024..1024 + 128 * 128]);
    disk[512 + 88..512 + 92].copy_from_slice(&list.to_le_bytes());
    disk[512 + 16..512 + 20].fill(0);
    let header = crc32fast::hash(&disk[512..512 + 92]);
    disk[512 + 16..512 + 20].copy_from_slice(&header.to_le_bytes());
    disk
}

#[test]
fn overlapping_and_far_partitions_are_left_alone() {
    let overlap = plan(&forged(6, 32, 4096)).unwrap_err();
    assert!(
        matches!(overlap, GrowError::Foreign(TableError::Overlap { .. })),
        "{overlap}"
    );
    for (field, value) in [(32, 0), (40, u64::MAX), (40, 5), (32, u64::MAX)] {
        let error = plan(&forged(6, field, value)).unwrap_err();
        assert_eq!(
            error,
            GrowError::Foreign(TableError::OutOfRange { number: 7 })
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_mutation_makes_it_touch_other_blocks(
        changes in prop::collection::vec((0_usize..20_000, any::<u8>()), 1..8),
    ) {
        let mut disk = flashed(&IMAGE, 20);
        for (at, value) in changes {
            disk[at] = value;
        }
        let before = disk.clone();
        if let Ok(plan) = plan(&disk) {
            carry_out(&mut disk, &plan.steps).unwrap();
            let last = disk.len() - 33 * 512;
            prop_assert!(disk[..512] == before[..512]);
            prop_assert!(disk[34 * 512..last] == before[34 * 512..last]);
        }
    }
}
