//! Mounting at `/data`.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::mount::MountFlags;

use crate::superblock::BLOCK_BYTES;

/// Nothing on DATA is a program or a device; reading a file is nothing worth a write.
const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOATIME);
/// A file system with an error becomes read-only: the router goes on routing and damages nothing
/// further. (`errors=panic` would reset it into the same error, also from the other slot, and
/// `continue` would write on top of the damage.) `resgid` lets `provision` use the blocks that are
/// reserved for root, so that a full DATA still takes a new configuration.
const EXT4_OPTIONS: &CStr = c"errors=remount-ro,resgid=202";
/// In place of an unusable DATA: bounded, since it takes memory.
const TMPFS_OPTIONS: &CStr = c"size=16m,nr_inodes=1k,mode=0755";

/// The file system type that is mounted at `mount_point`, if any.
///
/// # Errors
/// When /proc is not there.
pub fn mounted_type(mount_point: &str) -> io::Result<Option<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(find_type(&table, mount_point))
}

/// Mounts DATA.
///
/// # Errors
/// Those of mount(2).
pub fn ext4(node: &Path, mount_point: &Path) -> io::Result<()> {
    rustix::mount::mount(node, mount_point, "ext4", FLAGS, EXT4_OPTIONS)?;
    Ok(())
}

/// Mounts memory in place of DATA.
///
/// # Errors
/// Those of mount(2).
pub fn tmpfs(mount_point: &Path) -> io::Result<()> {
    rustix::mount::mount("x0-data", mount_point, "tmpfs", FLAGS, TMPFS_OPTIONS)?;
    Ok(())
}

/// Lets a mounted ext4 reach to the end of its partition.
///
/// # Errors
/// Those of the kernel, which refuses for instance where it found errors.
pub fn grow(mount_point: &Path, partition_bytes: u64) -> io::Result<()> {
    let folder = File::open(mount_point)?;
    crate::ioctl::resize_ext4(folder.as_fd(), partition_bytes / BLOCK_BYTES)?;
    Ok(())
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub total_bytes: u64,
    /// For those who may not use the reserve.
    pub free_bytes: u64,
    pub files_left: u64,
    /// The kernel made it so because of an error (`errors=remount-ro`).
    pub is_read_only: bool,
}

impl Usage {
    /// So little is left that a service may fail to store something soon.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free_bytes < (1 << 20).min(self.total_bytes / 50) || self.files_left < 16
    }
}

/// Asks how full the file system at `mount_point` is.
///
/// # Errors
/// Those of statvfs(3).
pub fn usage(mount_point: &Path) -> io::Result<Usage> {
    let answer = rustix::fs::statvfs(mount_point)?;
    Ok(Usage {
        total_bytes: answer.f_blocks.saturating_mul(answer.f_frsize),
        free_bytes: answer.f_bavail.saturating_mul(answer.f_frsize),
        files_left: answer.f_favail,
        is_read_only: answer.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// The last line counts: later mounts lie on top of earlier ones.
fn find_type(mountinfo: &str, mount_point: &str) -> Option<String> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let at = before.split(' ').nth(4)?;
            (at == mount_point).then(|| after.split(' ').next())?
        })
        .next_back()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_uppermost_mount() {
        let table = "22 1 254:0 / / ro - erofs /dev/root ro\n\
                     30 22 0:25 / /data rw,nosuid - tmpfs x0-data rw\n\
                     31 30 254:7 / /data rw,nosuid shared:5 - ext4 /dev/vda7 rw\n";
        assert_eq!(find_type(table, "/data").as_deref(), Some("ext4"));
        assert_eq!(find_type(table, "/dat"), None);
        assert_eq!(find_type("broken line\n", "/data"), None);
    }

    #[test]
    fn the_reserve_is_for_provision() {
        let manifest = include_str!("../../provision/service.toml");
        assert!(manifest.contains("id = 202"));
        assert!(EXT4_OPTIONS.to_str().unwrap().contains("resgid=202"));
    }

    #[test]
    fn full_is_relative_on_a_small_disk() {
        let usage = |total_bytes, free_bytes| Usage {
            total_bytes,
            free_bytes,
            files_left: 100,
            is_read_only: false,
        };
        assert!(usage(10 << 30, 1000).is_full());
        assert!(!usage(10 << 30, 2 << 20).is_full());
        assert!(!usage(4 << 20, 1 << 19).is_full());
    }
}
