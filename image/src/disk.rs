//! Puts the partitions' content onto the disk image and remembers which bytes matter.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Error;
use crate::bmap::Range;
use crate::layout::{self, ALIGNMENT_BYTES, PARTITIONS, Slot};
use crate::tool::{at, read};

/// The content of the partitions that have some.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    pub(crate) esp: &'a Path,
    pub(crate) esp_used_bytes: u64,
    pub(crate) bootstate: &'a [u8],
    pub(crate) boot: [&'a Path; 2],
    pub(crate) root: &'a Path,
}

/// Writes the sparse image and returns the ranges that flashing must write. Ranges come from
/// what each partition means, not from where zeros are: a FAT's empty entries and DATA's blank
/// start are zeros that must reach a disk which held something else before.
pub(crate) fn build(content: &Content<'_>, out: &Path) -> Result<Vec<Range>, Error> {
    let disk_bytes = layout::disk_bytes();
    let _ = std::fs::remove_file(out);
    let file = File::create_new(out).map_err(at("create", out))?;
    file.set_len(disk_bytes).map_err(at("extend", out))?;
    let table = crate::gpt::table(layout::DISK, disk_bytes, &PARTITIONS);
    let mut image = Image {
        file: &file,
        path: out,
        ranges: Vec::new(),
    };
    image.place(0, ALIGNMENT_BYTES, &table.primary)?;

    let mut start = ALIGNMENT_BYTES;
    for partition in &PARTITIONS {
        let (bytes, meaningful) = match partition.name {
            "ESP" => (read(content.esp)?, content.esp_used_bytes),
            "BOOTSTATE" => (content.bootstate.to_vec(), partition.bytes),
            "DATA" => (Vec::new(), partition.bytes),
            name if name == Slot::A.boot().name => whole(content.boot[0])?,
            name if name == Slot::B.boot().name => whole(content.boot[1])?,
            _ => whole(content.root)?,
        };
        if bytes.len() as u64 > partition.bytes {
            return Err(Error::TooLarge {
                partition: partition.name,
                bytes: bytes.len() as u64,
                limit: partition.bytes,
            });
        }
        image.place(start, meaningful, &bytes)?;
        start += partition.bytes;
    }
    let backup_at = disk_bytes - table.backup.len() as u64;
    image.place(backup_at, table.backup.len() as u64, &table.backup)?;
    let ranges = image.ranges;
    file.sync_all().map_err(at("flush", out))?;
    Ok(ranges)
}

struct Image<'a> {
    file: &'a File,
    path: &'a Path,
    ranges: Vec<Range>,
}

impl Image<'_> {
    fn place(&mut self, start: u64, meaningful: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut at_byte = start;
        for chunk in bytes.chunks(64 * 1024) {
            if chunk.iter().any(|byte| *byte != 0) {
                self.file
                    .write_all_at(chunk, at_byte)
                    .map_err(at("write", self.path))?;
            }
            at_byte += chunk.len() as u64;
        }
        self.ranges.push(Range::covering(start, meaningful));
        Ok(())
    }
}

fn whole(path: &Path) -> Result<(Vec<u8>, u64), Error> {
    let bytes = read(path)?;
    let length = bytes.len() as u64;
    Ok((bytes, length))
}
