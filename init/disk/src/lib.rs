//! Which disk the system runs from, and where its partitions are.
//!
//! Responsible for: walking from the verity root down to the disk that holds it,
//! and finding partitions by label on that disk only. A USB stick or a spare disk
//! with the same labels is never picked.
//!
//! Not responsible for: reading or writing any of it (crate `bootstate`, service
//! `data`).
//!
//! Talks to: sysfs. The top of the tree is a parameter, so that tests can build
//! one.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The kernel's name of the root device (`root=/dev/dm-0`).
const ROOT_DEVICE: &str = "dm-0";
/// sysfs counts in these, whatever the disk's own block size.
const SECTOR_BYTES: u64 = 512;

#[derive(Debug, thiserror::Error)]
pub enum FindDiskError {
    #[error("the root {ROOT_DEVICE} lies on several disks: {0:?}")]
    Ambiguous(Vec<String>),
    #[error("the root is no {ROOT_DEVICE} on top of a partition; boot the image through verity")]
    NoPartition,
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum FindPartitionError {
    #[error("two partitions of {disk} are labelled {label}")]
    Ambiguous { disk: String, label: String },
    #[error("{disk} has no partition labelled {label}")]
    Missing { disk: String, label: String },
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Kernel name, as `vda` or `nvme0n1`.
    pub name: String,
    pub bytes: u64,
    folder: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Kernel name, as `vda2` or `nvme0n1p2`.
    pub name: String,
    pub number: u32,
    /// From the start of the disk.
    pub start_bytes: u64,
    pub bytes: u64,
}

impl Disk {
    /// The disk under the verity root.
    pub fn of_root() -> Result<Self, FindDiskError> {
        Self::of_root_in(Path::new("/"))
    }

    /// As [`Self::of_root`], with `sys` found in `top`.
    pub fn of_root_in(top: &Path) -> Result<Self, FindDiskError> {
        let slaves = top.join("sys/block").join(ROOT_DEVICE).join("slaves");
        let entries = match fs::read_dir(&slaves) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FindDiskError::NoPartition);
            }
            Err(source) => {
                return Err(FindDiskError::Read {
                    path: slaves,
                    source,
                });
            }
        };
        let mut folders = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|source| FindDiskError::Read {
                    path: slaves.clone(),
                    source,
                })?
                .path();
            // A link into the device tree, where a partition lies in its disk's folder.
            let folder = path
                .canonicalize()
                .map_err(|source| FindDiskError::Read { path, source })?;
            if folder.join("partition").exists()
                && let Some(disk) = folder.parent()
            {
                folders.push(disk.to_owned());
            }
        }
        // Data and hash tree in one partition or in two of the same disk.
        folders.sort();
        folders.dedup();
        let folder = match folders.as_slice() {
            [] => return Err(FindDiskError::NoPartition),
            [folder] => folder.clone(),
            _ => {
                return Err(FindDiskError::Ambiguous(
                    folders.iter().map(|path| name(path)).collect(),
                ));
            }
        };
        let sectors = read_number(&folder.join("size"))
            .map_err(|(path, source)| FindDiskError::Read { path, source })?;
        Ok(Self {
            name: name(&folder),
            bytes: sectors * SECTOR_BYTES,
            folder,
        })
    }

    /// The one partition of that label on this disk.
    pub fn partition(&self, label: &str) -> Result<Partition, FindPartitionError> {
        let read_error = |(path, source)| FindPartitionError::Read { path, source };
        let entries = fs::read_dir(&self.folder)
            .map_err(|source| read_error((self.folder.clone(), source)))?;
        let mut found = None;
        for entry in entries {
            let folder = entry
                .map_err(|source| read_error((self.folder.clone(), source)))?
                .path();
            if !folder.join("partition").exists()
                || !has_label(&folder, label).map_err(read_error)?
            {
                continue;
            }
            if found.is_some() {
                let (disk, label) = (self.name.clone(), label.to_owned());
                return Err(FindPartitionError::Ambiguous { disk, label });
            }
            let number = |file| read_number(&folder.join(file)).map_err(read_error);
            found = Some(Partition {
                name: name(&folder),
                number: u32::try_from(number("partition")?).unwrap_or(u32::MAX),
                start_bytes: number("start")? * SECTOR_BYTES,
                bytes: number("size")? * SECTOR_BYTES,
            });
        }
        found.ok_or_else(|| {
            let (disk, label) = (self.name.clone(), label.to_owned());
            FindPartitionError::Missing { disk, label }
        })
    }

    /// The device node, in devtmpfs.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

impl Partition {
    /// The device node, in devtmpfs.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

type ReadError = (PathBuf, io::Error);

fn has_label(folder: &Path, label: &str) -> Result<bool, ReadError> {
    let path = folder.join("uevent");
    let uevent = fs::read_to_string(&path).map_err(|error| (path, error))?;
    Ok(uevent
        .lines()
        .any(|line| line.strip_prefix("PARTNAME=") == Some(label)))
}

fn read_number(path: &Path) -> Result<u64, ReadError> {
    let error = |error| (path.to_owned(), error);
    let text = fs::read_to_string(path).map_err(error)?;
    text.trim()
        .parse()
        .map_err(|source| error(io::Error::new(io::ErrorKind::InvalidData, source)))
}

fn name(folder: &Path) -> String {
    folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A tree with the disks that are asked for, each with partitions of labels.
    fn tree(disks: &[(&str, &[&str])], slaves: &[&str]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let slaves_folder = top.path().join("sys/devices/virtual/block/dm-0/slaves");
        fs::create_dir_all(&slaves_folder).unwrap();
        fs::create_dir_all(top.path().join("sys/block")).unwrap();
        symlink(
            "../devices/virtual/block/dm-0",
            top.path().join("sys/block/dm-0"),
        )
        .unwrap();
        for (disk, labels) in disks {
            let folder = top.path().join("sys/devices/pci0/block").join(disk);
            write(folder.join("size"), "2048\n");
            write(folder.join("queue/rotational"), "0\n");
            for (index, label) in labels.iter().enumerate() {
                let number = index + 1;
                let name = format!("{disk}{number}");
                let partition = folder.join(&name);
                write(partition.join("partition"), &format!("{number}\n"));
                write(partition.join("start"), &format!("{}\n", number * 8));
                write(partition.join("size"), "8\n");
                write(
                    partition.join("uevent"),
                    &format!("DEVNAME={name}\nPARTNAME={label}\n"),
                );
                if slaves.contains(&name.as_str()) {
                    let target = format!("../../../../pci0/block/{disk}/{name}");
                    symlink(target, slaves_folder.join(&name)).unwrap();
                }
            }
        }
        top
    }

    const LABELS: &[&str] = &["ESP", "BOOTSTATE", "ROOT-A", "DATA"];

    #[test]
    fn finds_partitions_of_the_root_s_own_disk_only() {
        let top = tree(
            &[("sda", LABELS), ("vda", LABELS), ("vdb", LABELS)],
            &["vda3"],
        );
        let disk = Disk::of_root_in(top.path()).unwrap();
        assert_eq!((disk.name.as_str(), disk.bytes), ("vda", 1 << 20));
        assert_eq!(disk.node(), Path::new("/dev/vda"));
        let partition = disk.partition("BOOTSTATE").unwrap();
        assert_eq!(
            partition,
            Partition {
                name: "vda2".to_owned(),
                number: 2,
                start_bytes: 16 * 512,
                bytes: 8 * 512,
            }
        );
        assert_eq!(partition.node(), Path::new("/dev/vda2"));
    }

    #[test]
    fn two_partitions_of_one_disk_may_hold_the_root() {
        let top = tree(&[("vda", LABELS)], &["vda3", "vda4"]);
        assert_eq!(Disk::of_root_in(top.path()).unwrap().name, "vda");
    }

    #[test]
    fn says_what_is_missing_or_ambiguous() {
        let top = tree(
            &[("vda", &["ROOT-A", "DATA", "DATA"]), ("vdb", LABELS)],
            &["vda1"],
        );
        let disk = Disk::of_root_in(top.path()).unwrap();
        let missing = disk.partition("BOOTSTATE").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "vda has no partition labelled BOOTSTATE"
        );
        let ambiguous = disk.partition("DATA").unwrap_err();
        assert_eq!(
            ambiguous.to_string(),
            "two partitions of vda are labelled DATA"
        );
        assert!(disk.partition("DAT").is_err());
    }

    #[test]
    fn refuses_a_root_that_is_nowhere_or_on_two_disks() {
        let nowhere = tree(&[("vda", LABELS)], &[]);
        assert!(matches!(
            Disk::of_root_in(nowhere.path()),
            Err(FindDiskError::NoPartition)
        ));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            Disk::of_root_in(empty.path()),
            Err(FindDiskError::NoPartition)
        ));
        let two = tree(&[("vda", LABELS), ("vdb", LABELS)], &["vda3", "vdb3"]);
        assert!(matches!(
            Disk::of_root_in(two.path()),
            Err(FindDiskError::Ambiguous(_))
        ));
    }
}
