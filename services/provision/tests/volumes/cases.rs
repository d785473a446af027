use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::*;
use provision::volume::{VolumeError, read};
use provision::{Config, Provided, provide};

use crate::store::Store;

const GOOD: &str = "# by hand\n[system]\nhostname = \"edge-1\"\n";

fn run(program: &str, arguments: &[&str], file: &Path) {
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        .output()
        .expect("dosfstools and mtools are installed by ci/setup");
    assert!(output.status.success(), "{output:?}");
}

/// A FAT volume with these options of mkfs.vfat, and a file of this name and content.
fn volume(size: u64, options: &[&str], name: &str, content: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::File::create(&image).unwrap().set_len(size).unwrap();
    run("/usr/sbin/mkfs.vfat", options, &image);
    let file = folder.path().join(name);
    fs::write(&file, content).unwrap();
    let output = Command::new("/usr/bin/mcopy")
        .arg("-i")
        .args([&image, &file])
        .arg("::")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::read(image).unwrap()
}

static FAT12: LazyLock<Vec<u8>> = LazyLock::new(|| {
    volume(
        1 << 20,
        &["-F12", "-n", "X0-CONFIG"],
        "x0.toml",
        GOOD.as_bytes(),
    )
});

#[test]
fn reads_every_kind_of_fat() {
    let kinds: [(u64, &[&str]); 3] = [
        (1 << 20, &["-F12", "-n", "X0-CONFIG"]),
        (16 << 20, &["-F16", "-n", "X0-CONFIG"]),
        (64 << 20, &["-F32", "-s1", "-n", "X0-CONFIG"]),
    ];
    for (size, options) in kinds {
        let image = volume(size, options, "x0.toml", GOOD.as_bytes());
        let checked = read(image.as_slice()).unwrap();
        assert_eq!(checked.text, GOOD, "{options:?}");
    }
}

#[test]
fn reads_over_many_clusters_and_in_capitals() {
    let long = format!("{GOOD}# {}\n", "x".repeat(300_000));
    let image = volume(
        4 << 20,
        &["-F12", "-n", "X0-CONFIG"],
        "X0.TOML",
        long.as_bytes(),
    );
    assert_eq!(read(image.as_slice()).unwrap().text, long);
}

#[test]
fn says_what_is_wrong() {
    let message = |image: &[u8]| runtime::Chain(&read(image).unwrap_err()).to_string();
    let labelled: &[&str] = &["-n", "X0-CONFIG"];
    let bad = volume(1 << 20, labelled, "x0.toml", b"[system]\nhostnme = \"a\"\n");
    assert_eq!(
        message(&bad),
        "x0.toml: line 2, column 1: unknown field `hostnme`, expected `hostname` (did you mean \
         `hostname`?)"
    );
    let other = volume(1 << 20, labelled, "x1.toml", b"");
    assert_eq!(
        message(&other),
        "the volume X0-CONFIG has no file x0.toml in its root folder"
    );
    let binary = volume(1 << 20, labelled, "x0.toml", b"a\xff");
    assert_eq!(message(&binary), "x0.toml is not UTF-8 text (byte 1)");
    let large = volume(4 << 20, labelled, "x0.toml", &vec![b'#'; (1 << 20) + 1]);
    assert!(
        message(&large).contains("at most 1048576"),
        "{}",
        message(&large)
    );
    let foreign = volume(1 << 20, &["-n", "HOLIDAYS"], "x0.toml", GOOD.as_bytes());
    assert!(matches!(
        read(foreign.as_slice()),
        Err(VolumeError::NotOurs)
    ));
}

/// A machine with a boot disk, and these volumes on further disks.
struct Machine {
    folder: tempfile::TempDir,
    config: Config,
}

impl Machine {
    fn new(volumes: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        for part in ["sys/class/block", "dev", "config"] {
            fs::create_dir_all(top.join(part)).unwrap();
        }
        for (name, bytes) in volumes {
            fs::write(top.join("dev").join(name), bytes).unwrap();
            let device = top.join("sys/devices/pci0/block").join(name);
            fs::create_dir_all(&device).unwrap();
            symlink(device, top.join("sys/class/block").join(name)).unwrap();
        }
        let config = Config {
            legacy: top.join("config/x0.toml"),
            store: top.join("store.sock"),
            sys: top.join("sys"),
            dev: top.join("dev"),
            program: PathBuf::from(env!("CARGO_BIN_EXE_provision")),
        };
        Self { folder, config }
    }

    fn store(&self) -> Store {
        Store::start(&self.config.store)
    }

    fn provide(&self) -> Provided {
        provide(&self.config, Some("vda"))
    }

    fn status(&self) -> String {
        let status = self.provide().status();
        status.replace(&*self.folder.path().to_string_lossy(), "")
    }
}

#[test]
fn a_stick_that_stays_plugged_in_does_not_undo_what_was_changed_since() {
    let machine = Machine::new(&[("sda", &[0; 4096]), ("sda1", &FAT12)]);
    let store = machine.store();
    assert_eq!(
        machine.status(),
        "configuration imported from /dev/sda1 as generation 2"
    );
    assert_eq!(store.imported(), [GOOD]);
    assert_eq!(
        machine.status(),
        "the configuration on /dev/sda1 was imported before"
    );
    let other = volume(1 << 20, &["-n", "X0-CONFIG"], "x0.toml", b"# another");
    fs::write(machine.config.dev.join("sda1"), other).unwrap();
    assert_eq!(
        machine.status(),
        "configuration imported from /dev/sda1 as generation 3"
    );
}

#[test]
fn what_an_earlier_version_kept_moves_to_the_store_once_and_before_a_stick() {
    let machine = Machine::new(&[("sda1", &FAT12)]);
    fs::write(&machine.config.legacy, "# of an earlier version\n").unwrap();
    let store = machine.store();
    assert_eq!(
        machine.status(),
        "configuration imported from /dev/sda1 as generation 3"
    );
    assert_eq!(store.imported(), ["# of an earlier version\n", GOOD]);
    let provided = machine.provide();
    assert_eq!(provided.outcomes.len(), 2);
    assert_eq!(store.imported().len(), 2, "each counts once");
    let kept = fs::read_to_string(&machine.config.legacy).unwrap();
    assert_eq!(
        kept, "# of an earlier version\n",
        "the other slot may need it"
    );
}

#[test]
fn without_the_store_the_boot_goes_on_and_what_waits_is_named() {
    let machine = Machine::new(&[("sda1", &FAT12)]);
    let provided = machine.provide();
    assert_eq!(provided.waiting.len(), 1);
    let status = machine.status();
    assert!(
        status.starts_with(
            "the configuration on /dev/sda1 waits; the store cannot be reached: cannot connect"
        ),
        "{status}"
    );
}

#[test]
fn a_whole_disk_may_be_the_volume_but_not_the_boot_disk() {
    let machine = Machine::new(&[("vdb", &FAT12)]);
    let _store = machine.store();
    assert!(
        machine
            .status()
            .starts_with("configuration imported from /dev/vdb")
    );
    let machine = Machine::new(&[("vda", &FAT12)]);
    let _store = machine.store();
    assert_eq!(machine.status(), "no volume X0-CONFIG");
}

#[test]
fn a_bad_file_changes_nothing_and_is_named() {
    let bad = volume(1 << 20, &["-n", "X0-CONFIG"], "x0.toml", b"[system\n\n");
    let machine = Machine::new(&[("sda", &bad)]);
    let store = machine.store();
    let status = machine.status();
    assert!(
        status.starts_with("/dev/sda: x0.toml: line 1, column"),
        "{status}"
    );
    assert_eq!(store.imported(), [""; 0]);
}

#[test]
fn a_good_volume_counts_beside_a_bad_one() {
    let bad = volume(1 << 20, &["-n", "X0-CONFIG"], "other", b"");
    let machine = Machine::new(&[("sda", &bad), ("sdb", &FAT12)]);
    let _store = machine.store();
    let status = machine.status();
    assert!(
        status.starts_with(
            "configuration imported from /dev/sdb as generation 2; /dev/sda: the volume"
        ),
        "{status}"
    );
}

#[test]
fn a_device_that_never_answers_is_left_behind() {
    let machine = Machine::new(&[("sdb", &FAT12)]);
    let _store = machine.store();
    let stuck = machine.config.dev.join("sda");
    // Opening a pipe that nobody writes to waits for ever, as a broken stick does.
    run("/usr/bin/mkfifo", &[], &stuck);
    let device = machine.folder.path().join("sys/devices/pci0/block/sda");
    fs::create_dir_all(&device).unwrap();
    symlink(device, machine.config.sys.join("class/block/sda")).unwrap();
    let status = machine.status();
    assert!(status.contains("imported from /dev/sdb"), "{status}");
    assert!(
        status.contains("/dev/sda: does not answer in time"),
        "{status}"
    );
}

#[test]
fn a_broken_file_of_an_earlier_version_is_named() {
    let machine = Machine::new(&[]);
    fs::write(&machine.config.legacy, "[system]\nhostname = 5\n").unwrap();
    let _store = machine.store();
    let status = machine.status();
    assert!(
        status.contains("/config/x0.toml: x0.toml: line 2, column 12: invalid type"),
        "{status}"
    );
}

proptest! {
    #[test]
    fn no_change_of_the_tables_breaks_the_reader(
        changes in prop::collection::vec((0_usize..40_000, any::<u8>()), 1..20),
    ) {
        let mut image = FAT12.clone();
        for (at, value) in changes {
            image[at] = value;
        }
        read(image.as_slice()).ok();
    }

    #[test]
    fn no_boot_sector_breaks_the_reader(
        fields in prop::collection::vec(any::<u8>(), 62),
        cut in 0_usize..2000,
    ) {
        let mut image = FAT12.clone();
        image[11..62 + 11].copy_from_slice(&fields);
        read(image.as_slice()).ok();
        // The volume ends early, as on a stick with a false size.
        image[11..73].copy_from_slice(&FAT12[11..73]);
        image.truncate(cut * 64);
        read(image.as_slice()).ok();
    }

    #[test]
    fn no_chain_makes_it_loop(links in prop::collection::vec(any::<u16>(), 256)) {
        let mut image = FAT12.clone();
        for (place, link) in image[512..].chunks_exact_mut(2).zip(&links) {
            place.copy_from_slice(&link.to_le_bytes());
        }
        read(image.as_slice()).ok();
    }
}
