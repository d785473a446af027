//! Disk images: copies to break, what lies in their partitions, volumes with a configuration.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use image::layout;

use crate::tool;

/// Copies the sparse image `from` to `to` and extends the copy to `bytes`, as if it had been
/// flashed to a disk of that size.
pub fn copy(from: &Path, to: &Path, bytes: u64) -> Result<()> {
    let [from_text, to_text] = [from, to].map(|path| path.display().to_string());
    tool(
        "cp",
        &["--sparse=always", "--reflink=auto", &from_text, &to_text],
    )?;
    let disk = OpenOptions::new()
        .write(true)
        .open(to)
        .context("open the copied disk")?;
    let length = disk.metadata().context("look at the copied disk")?.len();
    ensure!(
        length <= bytes,
        "the image has {length} bytes, the disk only {bytes}"
    );
    disk.set_len(bytes)
        .with_context(|| format!("extend {to_text}"))
}

/// Puts the content of the image `from` onto the disk `to`, which was copied from another image;
/// the partition table, grown by the first boot, and DATA stay.
pub fn refresh(from: &Path, to: &Path) -> Result<()> {
    const CHUNK: usize = 1 << 20;
    let end = layout::start_bytes("DATA").context("the layout has DATA")?;
    let image = File::open(from).with_context(|| format!("open {}", from.display()))?;
    let disk = OpenOptions::new().read(true).write(true).open(to);
    let disk = disk.with_context(|| format!("open {}", to.display()))?;
    let [mut new, mut old] = [vec![0; CHUNK], vec![0; CHUNK]];
    for offset in (layout::ALIGNMENT_BYTES..end).step_by(CHUNK) {
        image
            .read_exact_at(&mut new, offset)
            .context("read the image")?;
        disk.read_exact_at(&mut old, offset)
            .context("read the disk")?;
        // Both are sparse: what is equal stays a hole.
        if new != old {
            disk.write_all_at(&new, offset).context("write the disk")?;
        }
    }
    Ok(())
}

/// Reads `length` bytes at `offset` in the partition `name` of an image.
pub fn read(disk: &Path, name: &str, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    File::open(disk)
        .and_then(|file| file.read_exact_at(&mut bytes, start(name)? + offset))
        .with_context(|| format!("read {name} of {}", disk.display()))?;
    Ok(bytes)
}

/// Writes `bytes` at `offset` in the partition `name` of an image.
pub fn write(disk: &Path, name: &str, offset: u64, bytes: &[u8]) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(disk)
        .and_then(|file| file.write_all_at(bytes, start(name)? + offset))
        .with_context(|| format!("write {name} of {}", disk.display()))
}

/// Inverts the byte at `offset` in the partition `name`.
pub fn flip(disk: &Path, name: &str, offset: u64) -> Result<()> {
    let byte = read(disk, name, offset, 1)?[0];
    write(disk, name, offset, &[!byte])
}

/// Decodes the boot records of an image.
pub fn boot_state(disk: &Path) -> Result<bootstate::State> {
    Ok(boot_records(disk)?.state)
}

fn boot_records(disk: &Path) -> Result<bootstate::Loaded> {
    let record = |offset| {
        read(
            disk,
            bootstate::PARTITION_NAME,
            offset,
            bootstate::RECORD_BYTES,
        )
    };
    let [zero, one] = bootstate::RECORD_OFFSETS;
    Ok(bootstate::Loaded::new(&record(zero)?, &record(one)?))
}

/// Writes boot records of an image as if the appliance had done so.
pub fn change_boot_state(disk: &Path, change: impl FnOnce(&mut bootstate::State)) -> Result<()> {
    let records = boot_records(disk)?;
    let mut state = records.state;
    change(&mut state);
    let record = records.successor(&state);
    write(
        disk,
        bootstate::PARTITION_NAME,
        records.write_to().offset(),
        &record,
    )
}

/// Makes the volume that a person prepares on a USB stick: FAT, labelled `X0-CONFIG`, with
/// `document` as x0.toml.
pub fn provisioning_volume(path: &Path, document: &[u8]) -> Result<()> {
    let text = path.display().to_string();
    File::create(path)
        .and_then(|file| file.set_len(8 * layout::MIB))
        .with_context(|| format!("create {text}"))?;
    tool("mkfs.vfat", &["-n", "X0-CONFIG", &text])?;
    let file = path.with_extension("toml");
    fs::write(&file, document).with_context(|| format!("write {}", file.display()))?;
    tool(
        "mcopy",
        &["-i", &text, &file.display().to_string(), "::/x0.toml"],
    )?;
    fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))
}

fn start(name: &str) -> std::io::Result<u64> {
    let missing = || std::io::Error::other(format!("the layout has no partition {name}"));
    layout::start_bytes(name).ok_or_else(missing)
}
