//! The disk that the selector was started from, and its partitions.
//!
//! A second disk with the same labels (a USB stick with an image, an old disk
//! kept as a spare) must not be used: the firmware says which partition the
//! selector was loaded from, and that partition's device path without its last
//! node is the path of the disk.
//!
//! The disk is opened with `GetProtocol`: an exclusive open fails, because the
//! firmware's partition driver holds it, and nobody else writes here now.

use core::fmt;

use bootstate::gpt::{GptError, Header, Partition};
use bootstate::{PARTITION_NAME, SlotId};
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol, SearchType};
use uefi::proto::ProtocolPointer;
use uefi::proto::device_path::{DevicePath, DeviceSubType, DeviceType, FfiDevicePath};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::block::BlockIO;
use uefi::{Handle, Status};

use crate::console::say;
use crate::memory::Pages;

/// Disks and controllers limit how much one call may move; 1 MiB is fine for all.
const TRANSFER_BYTES: usize = 1 << 20;
/// Longer than any real path of a disk.
const PATH_MAX_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskError {
    BlockSize(u32),
    Gpt(GptError),
    Io(Status),
    /// Neither the own disk nor exactly one other one has our partitions.
    NotFound,
    OutOfRange,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize(bytes) => write!(f, "the disk has blocks of {bytes} bytes"),
            Self::Gpt(error) => write!(f, "{error}"),
            Self::Io(status) => write!(f, "the disk reports {status}"),
            Self::NotFound => f.write_str(
                "no disk with the partitions BOOTSTATE, BOOT-A and BOOT-B; flash the image again",
            ),
            Self::OutOfRange => f.write_str("it is larger than its partition"),
        }
    }
}

/// A whole disk with a valid partition table.
pub(crate) struct Disk {
    device: ScopedProtocol<BlockIO>,
    media_id: u32,
    block_bytes: usize,
    header: Header,
    entries: Pages,
}

impl Disk {
    /// The disk we were started from, else the only one with our partitions.
    pub(crate) fn find() -> Result<Self, DiskError> {
        if let Some(disk) = own_disk_handle().and_then(|handle| Self::open(handle).ok())
            && SlotId::ALL
                .iter()
                .any(|slot| disk.partition(slot.boot_partition()).is_ok())
        {
            return Ok(disk);
        }
        say!("x0: not started from an appliance's disk, looking for one");
        let handles = boot::locate_handle_buffer(SearchType::from_proto::<BlockIO>())
            .map_err(|_| DiskError::NotFound)?;
        let mut found = None;
        for handle in handles.iter() {
            if let Ok(disk) = Self::open(*handle)
                && disk.is_an_appliance()
            {
                if found.is_some() {
                    say!("x0: two disks have our partitions, remove one");
                    return Err(DiskError::NotFound);
                }
                found = Some(disk);
            }
        }
        found.ok_or(DiskError::NotFound)
    }

    pub(crate) fn partition(&self, name: &str) -> Result<Partition, DiskError> {
        let table = self.header.table(&self.entries).map_err(DiskError::Gpt)?;
        table.find(name).map_err(DiskError::Gpt)
    }

    pub(crate) fn partition_bytes(&self, partition: &Partition) -> u64 {
        partition.blocks.saturating_mul(self.block_bytes as u64)
    }

    /// Reads from `offset` bytes into the partition; both offset and length are
    /// multiples of the block size.
    pub(crate) fn read(
        &mut self,
        partition: &Partition,
        offset: u64,
        target: &mut [u8],
    ) -> Result<(), DiskError> {
        let mut lba = self.lba(partition, offset, target.len())?;
        for chunk in target.chunks_mut(TRANSFER_BYTES) {
            let result = self.device.read_blocks(self.media_id, lba, chunk);
            result.map_err(|error| DiskError::Io(error.status()))?;
            lba += (chunk.len() / self.block_bytes) as u64;
        }
        Ok(())
    }

    /// Writes and has the disk's cache flushed.
    pub(crate) fn write(
        &mut self,
        partition: &Partition,
        offset: u64,
        source: &[u8],
    ) -> Result<(), DiskError> {
        let lba = self.lba(partition, offset, source.len())?;
        self.device
            .write_blocks(self.media_id, lba, source)
            .and_then(|()| self.device.flush_blocks())
            .map_err(|error| DiskError::Io(error.status()))
    }

    /// Rounds up to whole blocks.
    pub(crate) fn whole_blocks(&self, bytes: usize) -> usize {
        bytes.next_multiple_of(self.block_bytes)
    }

    fn open(handle: Handle) -> Result<Self, DiskError> {
        let mut device: ScopedProtocol<BlockIO> =
            open(handle).map_err(|error| DiskError::Io(error.status()))?;
        let media = device.media();
        let media_id = media.media_id();
        let size = media.block_size();
        if media.is_logical_partition() || !media.is_media_present() {
            return Err(DiskError::NotFound);
        }
        if !size.is_power_of_two() || !(512..=4096).contains(&size) {
            return Err(DiskError::BlockSize(size));
        }
        let last_lba = media.last_block();
        let block_bytes = size as usize;
        let no_memory = |error: uefi::Error| DiskError::Io(error.status());
        let mut block = Pages::new(block_bytes).map_err(no_memory)?;
        let mut entries =
            Pages::new(bootstate::gpt::ENTRIES_MAX_BYTES as usize).map_err(no_memory)?;
        let mut error = DiskError::Gpt(GptError::Signature);
        // The primary table, else the backup at the end of the disk.
        for lba in [1, last_lba] {
            let tried = device
                .read_blocks(media_id, lba, &mut block)
                .map_err(|error| DiskError::Io(error.status()))
                .and_then(|()| {
                    Header::parse(&block, lba, last_lba.saturating_add(1)).map_err(DiskError::Gpt)
                })
                .and_then(|header| {
                    let bytes = (header.entries_bytes() as usize).next_multiple_of(block_bytes);
                    device
                        .read_blocks(media_id, header.entries_lba, &mut entries[..bytes])
                        .map_err(|error| DiskError::Io(error.status()))?;
                    header.table(&entries).map_err(DiskError::Gpt)?;
                    Ok(header)
                });
            match tried {
                Ok(header) => {
                    return Ok(Self {
                        device,
                        media_id,
                        block_bytes,
                        header,
                        entries,
                    });
                }
                Err(found) => error = found,
            }
        }
        Err(error)
    }

    fn is_an_appliance(&self) -> bool {
        [
            PARTITION_NAME,
            SlotId::A.boot_partition(),
            SlotId::B.boot_partition(),
        ]
        .iter()
        .all(|name| self.partition(name).is_ok())
    }

    fn lba(&self, partition: &Partition, offset: u64, bytes: usize) -> Result<u64, DiskError> {
        let block_bytes = self.block_bytes as u64;
        let end = offset
            .checked_add(bytes as u64)
            .ok_or(DiskError::OutOfRange)?;
        if end > self.partition_bytes(partition)
            || !end.is_multiple_of(block_bytes)
            || !offset.is_multiple_of(block_bytes)
        {
            return Err(DiskError::OutOfRange);
        }
        Ok(partition.first_lba + offset / block_bytes)
    }
}

/// The handle of the disk whose partition the selector was loaded from.
fn own_disk_handle() -> Option<Handle> {
    let image: ScopedProtocol<LoadedImage> = open(boot::image_handle()).ok()?;
    let path: ScopedProtocol<DevicePath> = open(image.device()?).ok()?;
    let mut buffer = [0u8; PATH_MAX_BYTES];
    let mut length = 0;
    for node in path.node_iter() {
        if node.full_type() == (DeviceType::MEDIA, DeviceSubType::MEDIA_HARD_DRIVE) {
            break;
        }
        let bytes = usize::from(node.length());
        let target = buffer.get_mut(length..length + bytes)?;
        // SAFETY: the firmware's path is valid for as long as it is open, and a
        // node is as long as its header says.
        let source = unsafe { core::slice::from_raw_parts(node.as_ffi_ptr().cast::<u8>(), bytes) };
        target.copy_from_slice(source);
        length += bytes;
    }
    // End of the entire path.
    buffer
        .get_mut(length..length + 4)?
        .copy_from_slice(&[0x7f, 0xff, 4, 0]);
    // SAFETY: the buffer holds whole nodes and the end node, and outlives the
    // reference.
    let mut disk_path =
        unsafe { DevicePath::from_ffi_ptr(buffer.as_ptr().cast::<FfiDevicePath>()) };
    let handle = boot::locate_device_path::<BlockIO>(&mut disk_path).ok()?;
    // Nodes left over: the firmware found only a controller on the way.
    let whole = disk_path.node_iter().next().is_none();
    whole.then_some(handle)
}

fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> uefi::Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: nothing connects, disconnects or removes a device while the
    // selector runs, so the interface stays valid.
    let protocol =
        unsafe { boot::open_protocol::<P>(params, OpenProtocolAttributes::GetProtocol) }?;
    if protocol.get().is_none() {
        return Err(Status::UNSUPPORTED.into());
    }
    Ok(protocol)
}
