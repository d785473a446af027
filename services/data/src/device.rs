use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;

/// A disk or partition, or what a test puts in its place. All offsets and lengths are in bytes.
pub trait Device {
    /// How many bytes it holds.
    fn size_bytes(&self) -> u64;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// Those of the device; `UnexpectedEof` past its end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Until [`Device::flush`] a power cut may lose any part.
    ///
    /// # Errors
    /// Those of the device.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Turns a range into zeroes.
    ///
    /// # Errors
    /// Those of the device.
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// Those of the device.
    fn flush(&mut self) -> io::Result<()>;

    /// `length` bytes from `offset`, which may end early at the end of the device.
    ///
    /// # Errors
    /// Those of the device.
    fn read_up_to(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = self.size_bytes().saturating_sub(offset);
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        let mut buffer = vec![0; length];
        if length == 0 {
            return Ok(buffer);
        }
        self.read_at(offset, &mut buffer)?;
        Ok(buffer)
    }
}

/// A block device (or an image in a regular file), whose size its owner knows from sysfs.
#[derive(Debug)]
pub struct Disk {
    file: File,
    size_bytes: u64,
}

impl Disk {
    /// Wraps an open device of `size_bytes`.
    #[must_use]
    pub fn new(file: File, size_bytes: u64) -> Self {
        Self { file, size_bytes }
    }

    /// The open device, for what only an ioctl can do.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Device for Disk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        // On a block device the kernel lets the drive do it, or writes the zeroes itself.
        rustix::fs::fallocate(&self.file, FallocateFlags::ZERO_RANGE, offset, length)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Device for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let source = from
            .checked_add(buffer.len())
            .and_then(|end| self.get(from..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        range(self, offset, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        range(self, offset, length)?.fill(0);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn range(bytes: &mut [u8], offset: u64, length: u64) -> io::Result<&mut [u8]> {
    let from = usize::try_from(offset).ok();
    let to = offset
        .checked_add(length)
        .and_then(|end| usize::try_from(end).ok());
    from.zip(to)
        .and_then(|(from, to)| bytes.get_mut(from..to))
        .ok_or_else(|| io::ErrorKind::WriteZero.into())
}
