//! Lets DATA reach to the end of the disk, by steps that may be cut off anywhere.
//!
//! The new second copy of the table is written and flushed at the disk's end first; only then the
//! first copy changes. At every moment one of the two is whole, and [`plan`] on the next boot goes
//! on from whatever it finds. What changes in the first copy lies in the first 4 KiB of the disk
//! (header and DATA's entry), which are written in one go: most disks do that all or nothing. Where
//! it tears all the same, the kernel (`gpt` on its command line) and the firmware use the second
//! copy, and the next boot restores the first one from it.

use std::io;

use crate::device::Device;
use crate::gpt::{BLOCK_BYTES, Partition, Table, TableError};

const NAME: &str = "DATA";
/// The end of DATA is a multiple of this, as partition tools do it.
const ALIGNMENT_BLOCKS: u64 = 2048;
const PAGE_BYTES: usize = 4096;

/// Why the table stays as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrowError {
    #[error("the partition table is not one of this system, and is left alone")]
    Foreign(#[source] TableError),
    #[error(
        "both copies of the partition table are damaged, and left alone (second copy: {backup})"
    )]
    Damaged {
        #[source]
        primary: TableError,
        backup: TableError,
    },
    #[error("partition {number} lies behind DATA, which cannot grow; the table is left alone")]
    NotLast { number: u32 },
    #[error("the first blocks of the disk cannot be read")]
    Unreadable,
}

/// One step of a change on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes at this offset.
    Write { offset: u64, bytes: Vec<u8> },
    /// Wait until everything before is safe.
    Flush,
}

/// What has to be done, and what DATA is afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Empty where the table is as it should be.
    pub steps: Vec<Step>,
    /// DATA after these steps.
    pub data: Partition,
}

/// Finds out what is missing for DATA to reach to the end of `disk`, and for both copies of the
/// table to be whole.
///
/// # Errors
/// When the table is not one that this system could have written.
pub fn plan(disk: &impl Device) -> Result<Plan, GrowError> {
    let blocks = disk.size_bytes() / BLOCK_BYTES;
    let current = trusted(disk, blocks)?;
    let (wanted, data) = grown(current, blocks)?;
    let mut steps = Vec::new();
    let (start, backup) = wanted.backup_bytes(blocks);
    if !reads(disk, start * BLOCK_BYTES, &backup) {
        steps.push(Step::Write {
            offset: start * BLOCK_BYTES,
            bytes: backup,
        });
        steps.push(Step::Flush);
    }
    let primary = changed_pages(disk, &wanted.primary_bytes(blocks))?;
    if !primary.is_empty() {
        steps.extend(primary);
        steps.push(Step::Flush);
    }
    Ok(Plan { steps, data })
}

/// Carries the steps out.
///
/// # Errors
/// The first one that the device reports; the rest is then not done.
pub fn carry_out(disk: &mut impl Device, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Write { offset, bytes } => disk.write_at(*offset, bytes)?,
            Step::Flush => disk.flush()?,
        }
    }
    Ok(())
}

/// The first copy; the second one where the first is merely damaged.
fn trusted(disk: &impl Device, blocks: u64) -> Result<Table, GrowError> {
    match Table::read(disk, 1) {
        Ok(table) => Ok(table),
        Err(primary) if primary.is_damage() => Table::read(disk, blocks.saturating_sub(1))
            .map_err(|backup| GrowError::Damaged { primary, backup }),
        Err(primary) => Err(GrowError::Foreign(primary)),
    }
}

fn grown(mut table: Table, blocks: u64) -> Result<(Table, Partition), GrowError> {
    let mut data = table.named(NAME).map_err(GrowError::Foreign)?;
    if let Some(behind) = table
        .partitions()
        .find(|partition| partition.first_block > data.first_block)
    {
        return Err(GrowError::NotLast {
            number: behind.number,
        });
    }
    let last_usable = table.last_usable(blocks);
    let aligned_end = (last_usable + 1) / ALIGNMENT_BLOCKS * ALIGNMENT_BLOCKS;
    // Never shorter than it is: the image builder's own end need not be aligned.
    data.last_block = data.last_block.max(aligned_end.saturating_sub(1));
    table.resize(data, data.last_block, last_usable);
    Ok((table, data))
}

/// What of the disk's first pages has to be written for `primary` to stand in block 1 and after:
/// whole pages, the one with the header last. Block 0 keeps what it holds.
fn changed_pages(disk: &impl Device, primary: &[u8]) -> Result<Vec<Step>, GrowError> {
    let first = 512;
    let table_end = first + primary.len();
    let current = disk
        .read_up_to(0, table_end.next_multiple_of(PAGE_BYTES))
        .map_err(|_| GrowError::Unreadable)?;
    let mut wanted = current.clone();
    wanted[first..table_end].copy_from_slice(primary);
    let mut steps: Vec<Step> = wanted
        .chunks(PAGE_BYTES)
        .zip(current.chunks(PAGE_BYTES))
        .zip((0..).step_by(PAGE_BYTES))
        .filter(|((wanted, current), _)| wanted != current)
        .map(|((wanted, _), offset)| Step::Write {
            offset,
            bytes: wanted.to_vec(),
        })
        .collect();
    steps.reverse();
    Ok(steps)
}

fn reads(disk: &impl Device, offset: u64, expected: &[u8]) -> bool {
    disk.read_up_to(offset, expected.len())
        .is_ok_and(|found| found == expected)
}
