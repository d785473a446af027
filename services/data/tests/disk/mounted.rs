//! DATA formatted, mounted, grown and repaired by the real kernel, on a loop device.
//!
//! Needs root and loop devices. Where the test machine has none, this says so and passes: the cases
//! in QEMU walk the same way on a real disk.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use data::device::{Device, Disk};
use data::format::format;
use data::mount;
use data::store::{self, Location, StoreError};

const MIB: u64 = 1 << 20;
const DISK_BYTES: u64 = 256 * MIB;

/// A loop device in the place of DATA, and a folder to mount it at.
struct Loop {
    node: PathBuf,
    folder: tempfile::TempDir,
    _file: tempfile::NamedTempFile,
}

impl Loop {
    fn attach() -> Option<Self> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(DISK_BYTES).unwrap();
        let output = Command::new("/usr/sbin/losetup")
            .args(["--find", "--show"])
            .arg(file.path())
            .output()
            .ok()
            .filter(|output| output.status.success());
        let Some(output) = output else {
            eprintln!("skipped: no loop device to be had, or not root");
            return None;
        };
        let node = String::from_utf8(output.stdout).unwrap();
        Some(Self {
            node: node.trim().into(),
            folder: tempfile::tempdir().unwrap(),
            _file: file,
        })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn location(&self, size_bytes: u64) -> Location {
        Location {
            disk_node: self.node.clone(),
            disk_bytes: DISK_BYTES,
            node: self.node.clone(),
            number: 1,
            start_bytes: 0,
            size_bytes,
        }
    }

    fn device(&self) -> Disk {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.node)
            .unwrap();
        Disk::new(file, DISK_BYTES)
    }

    fn unmount(&self) -> bool {
        rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::empty()).is_ok()
    }

    fn total_mib(&self) -> u64 {
        mount::usage(self.path()).unwrap().total_bytes / MIB
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.unmount();
        Command::new("/usr/sbin/losetup")
            .arg("--detach")
            .arg(&self.node)
            .status()
            .ok();
    }
}

#[test]
fn keeps_files_and_grows_while_mounted() {
    let Some(data) = Loop::attach() else { return };
    store::mount(&data.location(64 * MIB), data.path()).unwrap();
    fs::write(data.path().join("kept"), "yes").unwrap();
    assert!((40..64).contains(&data.total_mib()), "{}", data.total_mib());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table
        .lines()
        .find(|line| line.contains(data.path().to_str().unwrap()))
        .unwrap();
    for option in ["nosuid", "nodev", "noexec", "noatime", "resgid=202"] {
        assert!(line.contains(option), "{option} is missing: {line}");
    }
    assert!(data.unmount());
    store::mount(&data.location(DISK_BYTES), data.path()).unwrap();
    assert_eq!(fs::read(data.path().join("kept")).unwrap(), b"yes");
    // Some containers withhold the capability that growing takes. It must not keep DATA away.
    let own = rustix::thread::capabilities(None).unwrap().effective;
    if own.contains(rustix::thread::CapabilitySet::SYS_RESOURCE) {
        assert!(data.total_mib() > 200, "{}", data.total_mib());
    } else {
        assert!(data.total_mib() > 40, "{}", data.total_mib());
    }
}

#[test]
fn a_file_system_with_noted_errors_is_checked_first() {
    let Some(data) = Loop::attach() else { return };
    format(&mut data.device()).unwrap();
    debugfs(&data.node, "set_super_value state 2");
    store::mount(&data.location(DISK_BYTES), data.path()).unwrap();
    fs::write(data.path().join("new"), "x").unwrap();
}

#[test]
fn a_lost_superblock_after_a_power_cut_is_put_back() {
    let Some(data) = Loop::attach() else { return };
    store::mount(&data.location(DISK_BYTES), data.path()).unwrap();
    let mut kept = fs::File::create(data.path().join("kept")).unwrap();
    kept.write_all(b"yes").unwrap();
    kept.sync_all().unwrap();
    drop(kept);
    // What is on the disk now, with the journal not yet empty, is what a power cut leaves.
    let cut = data.device().read_up_to(0, 256 << 20).unwrap();
    assert!(data.unmount());
    let mut device = data.device();
    device.write_at(0, &cut).unwrap();
    device.write_at(0, &[0x5A; 4096]).unwrap();
    device.flush().unwrap();
    store::mount(&data.location(DISK_BYTES), data.path()).unwrap();
    assert_eq!(fs::read(data.path().join("kept")).unwrap(), b"yes");
}

#[test]
fn what_cannot_be_repaired_without_loss_is_left_alone() {
    let Some(data) = Loop::attach() else { return };
    format(&mut data.device()).unwrap();
    // The root folder is gone.
    debugfs(&data.node, "clri <2>");
    let mut before = vec![0; 1 << 20];
    data.device().read_at(1 << 20, &mut before).unwrap();
    let error = store::mount(&data.location(DISK_BYTES), data.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let mut after = vec![0; 1 << 20];
    data.device().read_at(1 << 20, &mut after).unwrap();
    assert!(before == after);
}

#[test]
fn a_full_one_still_takes_time_and_seed() {
    let Some(data) = Loop::attach() else { return };
    let location = data.location(16 * MIB);
    store::mount(&location, data.path()).unwrap();
    let (clock, seed) = (data.path().join("clock"), data.path().join("random-seed"));
    data::clock::store(&clock).unwrap();
    data::seed::renew(&seed, None).unwrap();
    let old_seed = fs::read(&seed).unwrap();
    // Root may use the reserve as well, so nothing at all is left.
    let mut hog = fs::File::create(data.path().join("hog")).unwrap();
    while hog.write_all(&[7; 4096]).is_ok() {}
    drop(hog);
    assert!(mount::usage(data.path()).unwrap().is_full());
    data::clock::store(&clock).unwrap();
    data::seed::renew(&seed, None).unwrap();
    assert_ne!(fs::read(&seed).unwrap(), old_seed);
    assert!(data.unmount());
    store::mount(&location, data.path()).unwrap();
}

#[test]
fn foreign_data_is_named_and_left_alone() {
    let Some(data) = Loop::attach() else { return };
    let mut device = data.device();
    device.write_at(0, b"LUKS\xba\xbe").unwrap();
    device.flush().unwrap();
    let error = store::mount(&data.location(DISK_BYTES), data.path()).unwrap_err();
    assert!(
        error.to_string().contains("holds a LUKS encrypted volume"),
        "{error}"
    );
    assert!(
        device
            .read_up_to(6, 1 << 20)
            .unwrap()
            .iter()
            .all(|&byte| byte == 0)
    );
}

fn debugfs(node: &Path, request: &str) {
    let output = Command::new("/usr/sbin/debugfs")
        .args(["-w", "-R", request])
        .arg(node)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
