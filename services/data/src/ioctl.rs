//! The ioctls for which there is no safe wrapper.

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Setter, opcode};

use crate::seed::SEED_BYTES;

/// `struct rand_pool_info` of <linux/random.h> with one full seed.
#[repr(C)]
struct RandPoolInfo {
    entropy_bits: c_int,
    buffer_bytes: c_int,
    buffer: [u8; SEED_BYTES],
}

/// Adds a seed to the kernel's pool and credits all of its bits (random(4), `RNDADDENTROPY`).
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub(crate) fn add_entropy(device: BorrowedFd<'_>, seed: &[u8; SEED_BYTES]) -> Result<(), Errno> {
    const RNDADDENTROPY: ioctl::Opcode = opcode::write::<[c_int; 2]>(b'R', 3);
    let info = RandPoolInfo {
        entropy_bits: c_int::try_from(SEED_BYTES * 8).expect("256 bits"),
        buffer_bytes: c_int::try_from(SEED_BYTES).expect("32 bytes"),
        buffer: *seed,
    };
    // SAFETY: RNDADDENTROPY reads one rand_pool_info, whose buffer has the length that it states.
    unsafe { ioctl::ioctl(device, Setter::<RNDADDENTROPY, _>::new(info)) }
}

/// Makes a mounted ext4 `blocks` blocks long (`EXT4_IOC_RESIZE_FS` of the kernel's fs/ext4).
///
/// # Errors
/// Without `CAP_SYS_RESOURCE`; when the file system has errors or the partition is shorter.
pub(crate) fn resize_ext4(mount_point: BorrowedFd<'_>, blocks: u64) -> Result<(), Errno> {
    const EXT4_IOC_RESIZE_FS: ioctl::Opcode = opcode::write::<u64>(b'f', 16);
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64.
    unsafe { ioctl::ioctl(mount_point, Setter::<EXT4_IOC_RESIZE_FS, _>::new(blocks)) }
}

/// `struct blkpg_partition` of <linux/blkpg.h>.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of the same header.
#[repr(C)]
struct BlkpgArgument {
    operation: c_int,
    flags: c_int,
    data_bytes: c_int,
    data: *const BlkpgPartition,
}

/// Tells the kernel a partition's new length; it may be in use, and so may its disk.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`; when the partition is not there or would overlap another one.
pub(crate) fn resize_partition(
    disk: impl AsFd,
    number: u32,
    start_bytes: u64,
    size_bytes: u64,
) -> Result<(), Errno> {
    const BLKPG: ioctl::Opcode = opcode::none(0x12, 105);
    const BLKPG_RESIZE_PARTITION: c_int = 3;
    let partition = BlkpgPartition {
        start: i64::try_from(start_bytes).map_err(|_| Errno::OVERFLOW)?,
        length: i64::try_from(size_bytes).map_err(|_| Errno::OVERFLOW)?,
        number: c_int::try_from(number).map_err(|_| Errno::OVERFLOW)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        operation: BLKPG_RESIZE_PARTITION,
        flags: 0,
        data_bytes: c_int::try_from(size_of::<BlkpgPartition>()).expect("152 bytes"),
        data: &raw const partition,
    };
    // SAFETY: BLKPG reads one blkpg_ioctl_arg and, for this operation, the one blkpg_partition that
    // it points to, which lives until the call returns.
    unsafe { ioctl::ioctl(disk, Setter::<BLKPG, _>::new(argument)) }
}
