//! The records of an open BOOTSTATE partition, for userland.
//!
//! Reads and writes go past the page cache (`O_DIRECT`), so that what is read
//! back after a write comes from the disk, and `O_DSYNC` has the disk's own
//! cache flushed before a write returns. One 4096-byte record is one write.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::pair::{Loaded, RecordIndex};
use crate::record::RECORD_BYTES;
use crate::state::State;

#[derive(Debug, thiserror::Error)]
#[error("cannot open the boot records at {path}")]
pub struct OpenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    #[error(
        "boot record {index:?} reads differently after it was written; the old record stays in force"
    )]
    Differs { index: RecordIndex },
    #[error("cannot read boot record {index:?} back")]
    ReadBack {
        index: RecordIndex,
        #[source]
        source: io::Error,
    },
    #[error("cannot write boot record {index:?}; the old record stays in force")]
    Write {
        index: RecordIndex,
        #[source]
        source: io::Error,
    },
}

/// The partition, or a file like it.
#[derive(Debug)]
pub struct Device {
    file: File,
}

impl Device {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let open = |flags: OFlags| {
            let flags = i32::try_from(flags.bits()).expect("open flags fit the C type");
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags)
                .open(path)
        };
        let durable = OFlags::DSYNC | OFlags::CLOEXEC;
        open(durable | OFlags::DIRECT)
            .or_else(|error| {
                // A file on a file system without direct I/O, as in tests.
                if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) {
                    open(durable)
                } else {
                    Err(error)
                }
            })
            .map(|file| Self { file })
            .map_err(|source| OpenError {
                path: path.to_owned(),
                source,
            })
    }

    /// Reads both records. One that cannot be read counts as invalid.
    #[must_use]
    pub fn load(&self) -> Loaded {
        let [zero, one] = RecordIndex::ALL.map(|index| self.read(index));
        let bytes = |record: &io::Result<Box<Aligned>>| {
            record
                .as_ref()
                .map_or([0; 0].to_vec(), |record| record.0.to_vec())
        };
        Loaded::new(&bytes(&zero), &bytes(&one))
    }

    /// Changes the newest state and writes it to the other record, durably.
    /// Returns what the disk holds then.
    pub fn update(&self, change: impl FnOnce(&mut State)) -> Result<Loaded, UpdateError> {
        let loaded = self.load();
        let mut state = loaded.state;
        change(&mut state);
        let index = loaded.write_to();
        let record = Box::new(Aligned(loaded.successor(&state)));
        self.file
            .write_all_at(&record.0, index.offset())
            .and_then(|()| self.file.sync_data())
            .map_err(|source| UpdateError::Write { index, source })?;
        let read = self
            .read(index)
            .map_err(|source| UpdateError::ReadBack { index, source })?;
        if read.0 != record.0 {
            return Err(UpdateError::Differs { index });
        }
        Ok(self.load())
    }

    fn read(&self, index: RecordIndex) -> io::Result<Box<Aligned>> {
        let mut record = Box::new(Aligned([0; RECORD_BYTES]));
        self.file.read_exact_at(&mut record.0, index.offset())?;
        Ok(record)
    }
}

/// Direct I/O wants memory aligned to the disk's blocks.
#[repr(align(4096))]
struct Aligned([u8; RECORD_BYTES]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, ReasonCode, SlotId, fresh};

    const PARTITION_BYTES: usize = 1024 * 1024;

    /// A partition that starts with `content`.
    fn device(content: &[u8]) -> (tempfile::NamedTempFile, Device) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        if !content.is_empty() {
            file.as_file().set_len(PARTITION_BYTES as u64).unwrap();
        }
        let device = Device::open(file.path()).unwrap();
        (file, device)
    }

    #[test]
    fn each_update_goes_to_the_other_record() {
        let (_file, device) = device(&fresh("0.1.0"));
        assert_eq!(device.load().newest, Some(RecordIndex::Zero));
        for (index, boots) in [
            (RecordIndex::One, 1),
            (RecordIndex::Zero, 2),
            (RecordIndex::One, 3),
        ] {
            let loaded = device.update(|state| *state = state.next_boot().1).unwrap();
            assert_eq!((loaded.newest, loaded.state.boots), (Some(index), boots));
        }
        let loaded = device.update(|state| state.commit(SlotId::A)).unwrap();
        assert!(loaded.state[SlotId::A].good);
        assert_eq!(loaded.state[SlotId::A].version.as_str(), "0.1.0");
    }

    #[test]
    fn garbage_is_replaced_by_a_valid_record() {
        let (_file, device) = device(&[0xa5; PARTITION_BYTES]);
        assert_eq!(device.load().newest, None);
        let reason = Reason::new(ReasonCode::PANIC, "dm-verity");
        let loaded = device
            .update(|state| state.fail(SlotId::A, reason))
            .unwrap();
        assert_eq!(loaded.newest, Some(RecordIndex::Zero));
        assert_eq!(loaded.state[SlotId::A].reason, reason);
        assert_eq!(loaded.state[SlotId::B].reason.code, ReasonCode::STATE_LOST);
    }

    #[test]
    fn a_short_device_is_an_error_only_when_written() {
        let (file, device) = device(&[]);
        assert_eq!(device.load().newest, None);
        std::fs::remove_file(file.path()).unwrap();
        assert!(
            Device::open(file.path())
                .unwrap_err()
                .to_string()
                .contains("boot records")
        );
    }
}
