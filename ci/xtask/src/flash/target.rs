//! Whether a disk may be overwritten, and how a person recognises it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::copy::MIB;

/// Where the kernel tells about disks and mounts; tests bring trees of their own.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) sys: PathBuf,
    pub(super) proc: PathBuf,
    pub(super) run: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            run: "/run".into(),
        }
    }
}

/// A disk or file that may be overwritten.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    name: String,
    bytes: u64,
    model: String,
    serial: String,
    is_file: bool,
}

impl Target {
    /// Refuses everything that is not a whole, unused, writable disk.
    pub(super) fn examine(host: &Host, device: &Path, file_wanted: bool) -> Result<Self> {
        let path = device
            .canonicalize()
            .with_context(|| format!("find {}", device.display()))?;
        let metadata =
            fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        if metadata.is_file() {
            ensure!(
                file_wanted,
                "{} is an ordinary file: say --file if that is meant",
                path.display()
            );
            return Ok(Self {
                name: file_name(&path),
                path,
                bytes: metadata.len(),
                model: "ordinary file".to_owned(),
                serial: String::new(),
                is_file: true,
            });
        }
        ensure!(
            metadata.file_type().is_block_device(),
            "{} is not a disk (a block device such as /dev/sdb)",
            path.display()
        );
        let number = Number {
            major: major(metadata.rdev()),
            minor: minor(metadata.rdev()),
        };
        Self::examine_disk(host, path, number)
    }

    fn examine_disk(host: &Host, path: PathBuf, number: Number) -> Result<Self> {
        let shown = path.display();
        let folder = host.sys.join("dev/block").join(number.to_string());
        let folder = folder
            .canonicalize()
            .with_context(|| format!("find {shown} in {}", folder.display()))?;
        let name = file_name(&folder);
        if folder.join("partition").exists() {
            let disk = folder.parent().map(file_name).unwrap_or_default();
            bail!("{shown} is a partition: the image is for the whole disk, /dev/{disk}");
        }
        let own = disk_and_partitions(&folder)?;
        ensure!(
            !system_disks(host)?.contains(&number),
            "{shown} holds this machine's own system"
        );
        for (device, folder) in &own {
            let name = file_name(folder);
            if let Some(place) = mount_points(host)?
                .iter()
                .find(|(mounted, _)| mounted == device)
            {
                bail!("/dev/{name} is mounted on {}: umount it first", place.1);
            }
            if let Some(holder) = entries(&folder.join("holders")).first() {
                bail!(
                    "/dev/{name} is in use by {} (LVM, RAID or encryption)",
                    file_name(holder)
                );
            }
            let swaps = text(&host.proc.join("swaps"));
            let is_swap =
                |line: &str| line.split_whitespace().next() == Some(&format!("/dev/{name}"));
            ensure!(
                !swaps.lines().any(is_swap),
                "/dev/{name} is in use as swap: swapoff it first"
            );
        }
        ensure!(
            text(&folder.join("ro")) != "1",
            "{shown} is write-protected"
        );
        let sectors: u64 = text(&folder.join("size")).parse().unwrap_or(0);
        ensure!(sectors > 0, "{shown} has no medium in it");
        let vendor_and_model = [
            text(&folder.join("device/vendor")),
            text(&folder.join("device/model")),
        ];
        Ok(Self {
            model: vendor_and_model.join(" ").trim().to_owned(),
            serial: serial(host, &folder, number),
            bytes: sectors * 512,
            name,
            path,
            is_file: false,
        })
    }

    pub(super) fn check_size(&self, image_bytes: u64) -> Result<()> {
        ensure!(
            self.bytes >= image_bytes,
            "{} is too small: it has {} MiB, and the image needs {} MiB",
            self.path.display(),
            self.bytes / MIB,
            image_bytes / MIB
        );
        Ok(())
    }

    /// Opens it for us alone: the kernel refuses when anything uses it after all.
    pub(super) fn open(&self) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if !self.is_file {
            options.custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed());
        }
        options.open(&self.path).with_context(|| {
            format!(
                "open {} for writing (root may; nothing else may use it)",
                self.path.display()
            )
        })
    }

    /// Has the kernel look at the new partition table; plugging the disk in again does the same.
    pub(super) fn announce(&self) {
        if !self.is_file {
            let mut command = Command::new("blockdev");
            command
                .arg("--rereadpt")
                .arg(&self.path)
                .stderr(Stdio::null());
            let _ = command.status();
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_called(&self, answer: &str) -> bool {
        !answer.is_empty() && (answer == self.name || Path::new(answer) == self.path)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |text: &str| {
            if text.is_empty() {
                "unknown".into()
            } else {
                text.to_owned()
            }
        };
        writeln!(f, "device  {}", self.path.display())?;
        writeln!(f, "model   {}", known(&self.model))?;
        writeln!(f, "serial  {}", known(&self.serial))?;
        write!(f, "size    {} MiB", self.bytes / MIB)
    }
}

/// A device number; sysfs and the mount table write it `major:minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number {
    major: u32,
    minor: u32,
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

fn major(device: u64) -> u32 {
    rustix::fs::major(device)
}

fn minor(device: u64) -> u32 {
    rustix::fs::minor(device)
}

/// The disk's folder in sysfs and those of its partitions, with their numbers.
fn disk_and_partitions(folder: &Path) -> Result<Vec<(Number, PathBuf)>> {
    let mut found = Vec::new();
    for folder in std::iter::once(folder.to_owned()).chain(entries(folder)) {
        let is_part = folder.join("partition").exists() || found.is_empty();
        if let Some(number) = Number::parse(&text(&folder.join("dev"))).filter(|_| is_part) {
            found.push((number, folder));
        }
    }
    ensure!(
        !found.is_empty(),
        "{} has no device number",
        folder.display()
    );
    Ok(found)
}

/// Device and place of every mounted file system. btrfs and overlays have a number that belongs
/// to no disk; for them the mounted device's path is asked.
fn mount_points(host: &Host) -> Result<Vec<(Number, String)>> {
    let path = host.proc.join("self/mountinfo");
    let table = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut points = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (Some(number), Some(place)) = (words.get(2), words.get(4)) else {
            continue;
        };
        let place = place.replace("\\040", " ");
        points.extend(Number::parse(number).map(|number| (number, place.clone())));
        let source = words
            .iter()
            .position(|word| *word == "-")
            .and_then(|at| words.get(at + 2));
        let metadata = source.and_then(|source| fs::metadata(source).ok());
        if let Some(metadata) = metadata.filter(|it| it.file_type().is_block_device()) {
            let device = metadata.rdev();
            points.push((
                Number {
                    major: major(device),
                    minor: minor(device),
                },
                place,
            ));
        }
    }
    Ok(points)
}

/// Every disk below the file systems that this machine cannot do without, through partitions,
/// LVM, RAID and encryption.
fn system_disks(host: &Host) -> Result<BTreeSet<Number>> {
    const PLACES: [&str; 5] = ["/", "/usr", "/boot", "/boot/efi", "/efi"];
    let mut waiting: Vec<Number> = mount_points(host)?
        .into_iter()
        .filter(|(_, place)| PLACES.contains(&place.as_str()))
        .map(|(number, _)| number)
        .collect();
    let mut disks = BTreeSet::new();
    while let Some(number) = waiting.pop() {
        let Ok(folder) = host
            .sys
            .join("dev/block")
            .join(number.to_string())
            .canonicalize()
        else {
            continue;
        };
        if !disks.insert(number) {
            continue;
        }
        let below = entries(&folder.join("slaves"));
        let parent = folder
            .parent()
            .filter(|_| folder.join("partition").exists());
        let next = below.iter().map(PathBuf::as_path).chain(parent);
        waiting.extend(next.filter_map(|folder| Number::parse(&text(&folder.join("dev")))));
    }
    Ok(disks)
}

fn serial(host: &Host, folder: &Path, number: Number) -> String {
    let own = text(&folder.join("device/serial"));
    if !own.is_empty() {
        return own;
    }
    let udev = text(&host.run.join("udev/data").join(format!("b{number}")));
    let value = |key: &str| {
        let line = udev.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.strip_prefix('='))
            .map(str::to_owned)
    };
    value("E:ID_SERIAL_SHORT")
        .or_else(|| value("E:ID_SERIAL"))
        .unwrap_or_default()
}

/// A file's content without blanks around it; what is not there is empty.
fn text(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).map(|list| list.flatten().map(|entry| entry.path()));
    let mut found: Vec<PathBuf> = listed.map(Iterator::collect).unwrap_or_default();
    found.sort();
    found
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// sysfs, /proc and /run of a machine with its system on encrypted sda2, and a free sdb.
    struct Machine {
        folder: tempfile::TempDir,
        host: Host,
    }

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let host = Host {
                sys: path("sys"),
                proc: path("proc"),
                run: path("run"),
            };
            let machine = Self { folder, host };
            for (device, number, partition) in [
                ("sda", "8:0", false),
                ("sda/sda1", "8:1", true),
                ("sda/sda2", "8:2", true),
                ("sdb", "8:16", false),
                ("sdb/sdb1", "8:17", true),
                ("dm-0", "253:0", false),
            ] {
                let folder = format!("sys/devices/{device}");
                machine.write(&format!("{folder}/dev"), number);
                machine.write(&format!("{folder}/size"), "8388608\n");
                machine.write(&format!("{folder}/ro"), "0\n");
                if partition {
                    machine.write(&format!("{folder}/partition"), "1\n");
                }
                let link = machine.host.sys.join("dev/block").join(number);
                fs::create_dir_all(link.parent().unwrap()).unwrap();
                symlink(machine.path(&folder), link).unwrap();
            }
            machine.link("sys/devices/sda/sda2/holders/dm-0", "sys/devices/dm-0");
            machine.link("sys/devices/dm-0/slaves/sda2", "sys/devices/sda/sda2");
            machine.write("sys/devices/sdb/device/vendor", "Generic ");
            machine.write("sys/devices/sdb/device/model", "Flash Disk ");
            machine.write("run/udev/data/b8:16", "E:ID_SERIAL_SHORT=1234ABCD\n");
            machine.mounted("30 1 253:0 / / rw - ext4 /dev/mapper/none rw\n");
            machine.write("proc/swaps", "Filename Type Size Used Priority\n");
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, content: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), content).unwrap();
        }

        fn link(&self, name: &str, to: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            symlink(self.path(to), self.path(name)).unwrap();
        }

        fn mounted(&self, table: &str) {
            self.write("proc/self/mountinfo", table);
        }

        fn examine(&self, name: &str, major: u32, minor: u32) -> Result<Target> {
            Target::examine_disk(
                &self.host,
                format!("/dev/{name}").into(),
                Number { major, minor },
            )
        }

        fn refusal(&self, name: &str, major: u32, minor: u32) -> String {
            self.examine(name, major, minor).unwrap_err().to_string()
        }
    }

    #[test]
    fn a_free_disk_is_shown_with_what_a_person_knows_of_it() {
        let target = Machine::new().examine("sdb", 8, 16).unwrap();
        let shown = target.to_string();
        for expected in ["/dev/sdb", "Generic Flash Disk", "1234ABCD", "4096 MiB"] {
            assert!(shown.contains(expected), "{shown}");
        }
        assert!(target.is_called("sdb") && target.is_called("/dev/sdb"));
        assert!(!target.is_called("") && !target.is_called("sda"));
        assert!(target.check_size(4096 * MIB).is_ok() && target.check_size(4097 * MIB).is_err());
    }

    #[test]
    fn the_system_disk_is_found_below_encryption() {
        let machine = Machine::new();
        assert!(machine.refusal("sda", 8, 0).contains("own system"));
    }

    #[test]
    fn partitions_mounts_swap_and_holders_are_refused() {
        let machine = Machine::new();
        assert!(
            machine
                .refusal("sdb1", 8, 17)
                .contains("the whole disk, /dev/sdb")
        );

        machine.mounted("31 1 8:17 / /media/my\\040stick rw - vfat /dev/none rw\n");
        assert!(
            machine
                .refusal("sdb", 8, 16)
                .contains("mounted on /media/my stick")
        );

        machine.mounted("");
        machine.write("proc/swaps", "Filename\n/dev/sdb1 partition 1 0 -2\n");
        assert!(machine.refusal("sdb", 8, 16).contains("swap"));

        machine.write("proc/swaps", "Filename\n");
        machine.link("sys/devices/sdb/sdb1/holders/md0", "sys/devices/dm-0");
        assert!(machine.refusal("sdb", 8, 16).contains("in use by md0"));
    }

    #[test]
    fn write_protection_and_an_empty_reader_are_named() {
        let machine = Machine::new();
        machine.write("sys/devices/sdb/ro", "1\n");
        assert!(machine.refusal("sdb", 8, 16).contains("write-protected"));
        machine.write("sys/devices/sdb/ro", "0\n");
        machine.write("sys/devices/sdb/size", "0\n");
        assert!(machine.refusal("sdb", 8, 16).contains("no medium"));
    }

    #[test]
    fn a_file_needs_saying_so_and_a_character_device_is_no_disk() {
        let host = Host::default();
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Target::examine(&host, file.path(), false).unwrap_err();
        assert!(error.to_string().contains("--file"), "{error}");
        assert!(Target::examine(&host, file.path(), true).is_ok());
        let error = Target::examine(&host, "/dev/null".as_ref(), true).unwrap_err();
        assert!(error.to_string().contains("not a disk"), "{error}");
    }
}
