//! The records on the disk: read, write to the other one, read back.
//!
//! The one exception from the rule of crate `bootstate`: when the other record
//! cannot be written (a dead block), the newest one is overwritten. A loss of
//! power in that write may cost both records, which is survivable; not counting
//! tries would boot a dead slot for ever. When nothing at all can be written,
//! slots boot uncounted: corrupt images are still left, hangs are not.

use core::fmt;

use bootstate::gpt::Partition;
use bootstate::{Loaded, PARTITION_NAME, RECORD_BYTES, RecordIndex, State};

use crate::disk::{Disk, DiskError};
use crate::memory::Pages;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaveError {
    /// What is read back is something else.
    Differs,
    Disk(DiskError),
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs => f.write_str("the boot record reads differently than it was written"),
            Self::Disk(error) => write!(f, "{error}"),
        }
    }
}

pub(crate) struct Store {
    place: Result<(Partition, Pages), DiskError>,
    pub(crate) loaded: Loaded,
}

impl Store {
    /// Without a partition for the records, there is still a slot to boot.
    pub(crate) fn load(disk: &mut Disk) -> Self {
        let mut place = disk.partition(PARTITION_NAME).and_then(|partition| {
            let buffer = Pages::new(RECORD_BYTES).map_err(|error| DiskError::Io(error.status()))?;
            Ok((partition, buffer))
        });
        let loaded = match &mut place {
            Ok((partition, buffer)) => load(disk, partition, buffer),
            Err(_) => Loaded::new(&[], &[]),
        };
        Self { place, loaded }
    }

    /// Makes `state` the newest on the disk.
    pub(crate) fn save(&mut self, disk: &mut Disk, state: &State) -> Result<(), SaveError> {
        let (partition, buffer) = self
            .place
            .as_mut()
            .map_err(|error| SaveError::Disk(*error))?;
        let record = self.loaded.successor(state);
        let first = self.loaded.write_to();
        let saved = write(disk, partition, first, &record, buffer)
            .or_else(|_| write(disk, partition, first.other(), &record, buffer));
        self.loaded = load(disk, partition, buffer);
        saved
    }
}

fn write(
    disk: &mut Disk,
    partition: &Partition,
    index: RecordIndex,
    record: &[u8; RECORD_BYTES],
    buffer: &mut Pages,
) -> Result<(), SaveError> {
    buffer.copy_from_slice(record);
    disk.write(partition, index.offset(), buffer)
        .map_err(SaveError::Disk)?;
    buffer.fill(0);
    disk.read(partition, index.offset(), buffer)
        .map_err(SaveError::Disk)?;
    if **buffer == *record {
        Ok(())
    } else {
        Err(SaveError::Differs)
    }
}

/// A record that cannot be read is an invalid one.
fn load(disk: &mut Disk, partition: &Partition, buffer: &mut Pages) -> Loaded {
    let mut records = [[0; RECORD_BYTES]; 2];
    let readable = RecordIndex::ALL.map(|index| {
        let read = disk.read(partition, index.offset(), buffer);
        if read.is_ok() {
            records[index as usize].copy_from_slice(buffer);
        }
        read.is_ok()
    });
    let record = |index: usize| {
        if readable[index] {
            &records[index][..]
        } else {
            &[]
        }
    };
    Loaded::new(record(0), record(1))
}
