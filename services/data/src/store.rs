//! From a partition to a mounted DATA: grown, identified, formatted or checked, mounted.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::check::CheckError;
use crate::content::{Content, identify};
use crate::device::Disk;
use crate::format::FormatError;
use crate::grow::GrowError;
use crate::superblock::{BLOCK_BYTES, Superblock};
use crate::{check, format, grow, mount};

/// DATA on the boot disk, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub disk_node: PathBuf,
    pub disk_bytes: u64,
    pub node: PathBuf,
    pub number: u32,
    pub start_bytes: u64,
    pub size_bytes: u64,
}

/// Why DATA was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("the boot disk is not to be found")]
    Disk(#[from] disk::FindDiskError),
    #[error("DATA is not to be found; writing the image to the disk anew makes one")]
    Partition(#[from] disk::FindPartitionError),
}

/// Why DATA is not used in this boot. Nothing was changed on the disk, except by `e2fsck -p`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{node} cannot be opened")]
    Open {
        node: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{node} cannot be read")]
    Read {
        node: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{node} holds {found}; it is left alone. To let x0 use it, zero its first 4 MiB and reboot"
    )]
    Foreign { node: PathBuf, found: &'static str },
    #[error("{node} is damaged ({reason}) and is left alone")]
    Damaged {
        node: PathBuf,
        reason: String,
        #[source]
        source: CheckError,
    },
    #[error("{node} cannot be formatted")]
    Format {
        node: PathBuf,
        #[source]
        source: FormatError,
    },
    #[error("{node} cannot be mounted")]
    Mount {
        node: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why the partition kept its size.
#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    #[error("{node} cannot be opened")]
    Open {
        node: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Table(#[from] GrowError),
    #[error("the partition table of {node} has DATA elsewhere than the kernel; it is left alone")]
    Elsewhere { node: PathBuf },
    #[error("{node} cannot be written")]
    Write {
        node: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the kernel does not take the new size of {node}")]
    Kernel {
        node: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Finds DATA on the disk that the system was started from, and on no other.
///
/// # Errors
/// When that disk, or DATA on it, cannot be told.
pub fn find() -> Result<Location, FindError> {
    let disk = disk::Disk::of_root()?;
    let partition = disk.partition("DATA")?;
    Ok(Location {
        disk_node: disk.node(),
        disk_bytes: disk.bytes,
        node: partition.node(),
        number: partition.number,
        start_bytes: partition.start_bytes,
        size_bytes: partition.bytes,
    })
}

/// Makes DATA reach to the end of its disk, and both copies of the partition table whole.
///
/// # Errors
/// When the table is not one of ours or cannot be written. DATA then keeps its size.
pub fn extend(location: &mut Location) -> Result<(), ExtendError> {
    let node = || location.disk_node.clone();
    let open = |source| ExtendError::Open {
        node: node(),
        source,
    };
    let file = File::open(&location.disk_node).map_err(open)?;
    let mut disk = Disk::new(file, location.disk_bytes);
    let plan = grow::plan(&disk)?;
    if plan.data.number != location.number || plan.data.start_bytes() != location.start_bytes {
        return Err(ExtendError::Elsewhere { node: node() });
    }
    if !plan.steps.is_empty() {
        // Opened for writing only now: on a normal boot nobody writes to the disk's table.
        disk = Disk::new(
            open_to_write(&location.disk_node).map_err(open)?,
            location.disk_bytes,
        );
        grow::carry_out(&mut disk, &plan.steps).map_err(|source| ExtendError::Write {
            node: node(),
            source,
        })?;
        tracing::info!(disk = %location.disk_node.display(), "partition table written");
    }
    let size_bytes = plan.data.size_bytes();
    if size_bytes > location.size_bytes {
        crate::ioctl::resize_partition(
            disk.file(),
            location.number,
            location.start_bytes,
            size_bytes,
        )
        .map_err(|source| ExtendError::Kernel {
            node: location.node.clone(),
            source: source.into(),
        })?;
        tracing::info!(
            size_mib = size_bytes >> 20,
            "DATA grew to the end of its disk"
        );
        location.size_bytes = size_bytes;
    }
    Ok(())
}

/// Mounts DATA at `mount_point`, after formatting it where it is empty, and repairing it where it
/// needs that and nothing gets lost.
///
/// # Errors
/// When it holds something else, or is damaged beyond a safe repair.
pub fn mount(location: &Location, mount_point: &Path) -> Result<(), StoreError> {
    let node = &location.node;
    let superblock = match look(location)? {
        Content::Blank | Content::HalfFormatted => make(location)?,
        Content::Ours(superblock) => match superblock.needs_check {
            Some(reason) => repair(location, reason.to_owned(), None)?,
            None => superblock,
        },
        Content::OursWithoutSuperblock { copy_block } => {
            repair(location, "its superblock is lost".into(), Some(copy_block))?
        }
        Content::Foreign(found) => {
            return Err(StoreError::Foreign {
                node: node.clone(),
                found,
            });
        }
    };
    let superblock = match mount::ext4(node, mount_point) {
        Ok(()) => superblock,
        // The kernel looks closer than our glance at the superblock.
        Err(error) => {
            let superblock = repair(location, format!("it cannot be mounted: {error}"), None)?;
            mount::ext4(node, mount_point).map_err(|source| StoreError::Mount {
                node: node.clone(),
                source,
            })?;
            superblock
        }
    };
    if location.size_bytes / BLOCK_BYTES > superblock.size_bytes / BLOCK_BYTES {
        match mount::grow(mount_point, location.size_bytes) {
            Ok(()) => tracing::info!(size_mib = location.size_bytes >> 20, "file system grown"),
            Err(error) => tracing::warn!(%error, "DATA's file system keeps its old size"),
        }
    }
    Ok(())
}

fn look(location: &Location) -> Result<Content, StoreError> {
    let node = &location.node;
    let file = File::open(node).map_err(|source| StoreError::Open {
        node: node.clone(),
        source,
    })?;
    identify(&Disk::new(file, location.size_bytes)).map_err(|source| StoreError::Read {
        node: node.clone(),
        source,
    })
}

fn make(location: &Location) -> Result<Superblock, StoreError> {
    let node = &location.node;
    let failed = |source| StoreError::Format {
        node: node.clone(),
        source,
    };
    tracing::info!(node = %node.display(), "DATA is empty, formatting it");
    let file = open_to_write(node).map_err(|source| StoreError::Open {
        node: node.clone(),
        source,
    })?;
    format::format(&mut Disk::new(file, location.size_bytes)).map_err(failed)?;
    match look(location)? {
        Content::Ours(superblock) => Ok(superblock),
        _ => Err(failed(FormatError::Unexpected)),
    }
}

fn repair(
    location: &Location,
    reason: String,
    copy_block: Option<u64>,
) -> Result<Superblock, StoreError> {
    tracing::warn!(reason, "DATA needs a check");
    let node = &location.node;
    let damaged = |reason: &str, source| StoreError::Damaged {
        node: node.clone(),
        reason: reason.to_owned(),
        source,
    };
    let said = check::check(node, copy_block).map_err(|source| damaged(&reason, source))?;
    match look(location)? {
        Content::Ours(superblock) if superblock.needs_check.is_none() => {
            tracing::warn!(said, "DATA was repaired");
            Ok(superblock)
        }
        _ => Err(damaged(&reason, CheckError::StillDamaged)),
    }
}

fn open_to_write(node: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(node)
}
