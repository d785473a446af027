//! Formats DATA so that a power cut at any moment leaves either a whole file system or something
//! that the next boot recognises as its own half-done work.
//!
//! `mke2fs` itself gives no such promise: it flushes once, at its end. So it formats a file in
//! memory of the partition's size (only what it writes takes memory, about 1 MiB), and what it
//! wrote is then copied in an order of ours:
//!
//! 1. the marker goes to the first sector, which ext4 leaves free; flush;
//! 2. everything but the first block is copied, and the journal zeroed; flush;
//! 3. the superblock is copied; flush;
//! 4. the marker is removed; flush.
//!
//! While the marker stands the partition is formatted anew. Nobody can have stored anything by
//! then, because it is mounted only without the marker.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SeekFrom};

use crate::content::{MARKER, MARKER_SECTOR_BYTES};
use crate::device::{Device, Disk};
use crate::superblock::{BLOCK_BYTES, LABEL, LENGTH, OFFSET, Superblock};
use crate::tool::{self, ToolError};

const PROGRAM: &str = "/usr/sbin/mke2fs";
/// It takes milliseconds; this is for a machine in trouble.
const LIMIT: Duration = Duration::from_secs(30);
const CHUNK_BYTES: usize = 1 << 20;

/// Why DATA could not be formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("no memory for the new file system's image")]
    Memory(#[source] io::Error),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("mke2fs failed with code {code}: {said}")]
    Refused { code: i32, said: String },
    #[error("mke2fs made something else than was asked for")]
    Unexpected,
    #[error("the new file system cannot be written")]
    Write(#[source] io::Error),
}

/// Puts an empty file system of ours onto `device`, whatever it held.
///
/// # Errors
/// When it cannot be made or written; the marker then stands on the device, or nothing at all.
pub fn format(device: &mut Disk) -> Result<(), FormatError> {
    let image = make_image(device.size_bytes())?;
    let ranges = written_ranges(image.file()).map_err(FormatError::Memory)?;
    install(&image, &ranges, device)
}

/// An image of an empty file system in memory.
///
/// # Errors
/// When memory is short or `mke2fs` fails.
pub fn make_image(size_bytes: u64) -> Result<Disk, FormatError> {
    let blocks = size_bytes / BLOCK_BYTES;
    let size_bytes = blocks * BLOCK_BYTES;
    // Not CLOEXEC: mke2fs opens it through /proc/self/fd.
    let memory = rustix::fs::memfd_create("data", MemfdFlags::empty())
        .map_err(|error| FormatError::Memory(error.into()))?;
    let file = File::from(memory);
    file.set_len(size_bytes).map_err(FormatError::Memory)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let answer = tool::run(PROGRAM, &arguments(blocks, &path), LIMIT)?;
    match answer.code {
        0 => Ok(Disk::new(file, size_bytes)),
        code => Err(FormatError::Refused {
            code,
            said: answer.said,
        }),
    }
}

/// The byte ranges `(offset, length)` of a sparse file that were written.
///
/// # Errors
/// When the file cannot say.
pub fn written_ranges(file: &File) -> io::Result<Vec<(u64, u64)>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    loop {
        at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(ranges),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(at))?;
        ranges.push((at, end - at));
        at = end;
    }
}

/// Copies the `ranges` of `image` to `device`, in the order that the head of this file explains.
///
/// # Errors
/// When the image is not a file system of ours, or the device cannot be written.
pub fn install(
    image: &impl Device,
    ranges: &[(u64, u64)],
    device: &mut impl Device,
) -> Result<(), FormatError> {
    let mut first_block = [0; 4096];
    image
        .read_at(0, &mut first_block)
        .map_err(FormatError::Memory)?;
    let superblock =
        Superblock::read(&first_block[OFFSET..OFFSET + LENGTH]).ok_or(FormatError::Unexpected)?;
    // On a used disk stale blocks of an older journal could be replayed after the first power cut.
    let journal = superblock.journal().ok_or(FormatError::Unexpected)?;
    let (boot_sector, rest) = first_block.split_at(MARKER_SECTOR_BYTES);
    let mut marker = MARKER.to_vec();
    marker.resize(MARKER_SECTOR_BYTES, 0);

    let copy = || -> io::Result<()> {
        device.write_at(0, &marker)?;
        device.flush()?;
        for (offset, length) in journal {
            device.zero(offset, length)?;
        }
        for &(offset, length) in ranges {
            copy_range(image, device, offset.max(BLOCK_BYTES), offset + length)?;
        }
        device.flush()?;
        device.write_at(MARKER_SECTOR_BYTES as u64, rest)?;
        device.flush()?;
        device.write_at(0, boot_sector)?;
        device.flush()
    };
    copy().map_err(FormatError::Write)
}

fn copy_range(image: &impl Device, device: &mut impl Device, from: u64, to: u64) -> io::Result<()> {
    for offset in (from..to).step_by(CHUNK_BYTES) {
        let length = usize::try_from(to - offset).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        device.write_at(offset, &image.read_up_to(offset, length)?)?;
    }
    Ok(())
}

fn arguments(blocks: u64, path: &str) -> Vec<String> {
    let mut arguments: Vec<String> = [
        // Quiet, and not a question because it is a regular file.
        "-q",
        "-F",
        "-t",
        "ext4",
        // Every feature is named, so that no defaults of a version or a file count: those of
        // mke2fs 1.47 for ext4, with checksums on all metadata.
        "-O",
        "none,has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize,\
               sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr",
        "-b",
        "4096",
        "-I",
        "256",
        // A router keeps few files: a quarter of the usual inode tables to be zeroed later.
        "-i",
        "65536",
        // For root and whoever `resgid` names on mount: a full DATA must still boot and take a
        // new configuration.
        "-m",
        "1",
        "-e",
        "remount-ro",
        "-L",
        LABEL,
    ]
    .map(str::to_owned)
    .into();
    // 16 MiB are plenty for small files; a tiny disk gets the smallest journal there is.
    let journal_mib = if blocks < 65536 { 4 } else { 16 };
    arguments.extend(["-J".to_owned(), format!("size={journal_mib}")]);
    // The kernel zeroes inode tables in the background after the first mount; waiting for it here
    // would be most of the time of the first boot. No discard: nothing but what is written here
    // changes on the disk.
    let mut extended = "lazy_itable_init=1,lazy_journal_init=0,nodiscard,root_owner=0:0".to_owned();
    // Room in the group descriptors for a disk that grows; by default it would take 4 MiB.
    if let Some(most) = blocks.checked_mul(32).filter(|&most| most < 1 << 32) {
        extended.push_str(&format!(",resize={most}"));
    }
    arguments.extend([
        "-E".to_owned(),
        extended,
        path.to_owned(),
        blocks.to_string(),
    ]);
    arguments
}
