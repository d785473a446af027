//! What a power cut can leave of a series of writes: shared by the tests of growing and formatting.

use std::io;

use data::device::Device;

const SECTOR: usize = 512;

/// A device in memory that remembers every sector written since the last flush, in order.
#[derive(Clone)]
pub(crate) struct Recorder {
    /// What is safe.
    pub(crate) safe: Vec<u8>,
    /// What the writer sees.
    pub(crate) seen: Vec<u8>,
    /// For each flush: the device before it, and the sectors written before it.
    pub(crate) epochs: Vec<Epoch>,
    pending: Vec<(usize, [u8; SECTOR])>,
}

/// Everything between two flushes.
#[derive(Clone)]
pub(crate) struct Epoch {
    pub(crate) before: Vec<u8>,
    pub(crate) sectors: Vec<(usize, [u8; SECTOR])>,
}

impl Recorder {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            safe: bytes.clone(),
            seen: bytes,
            epochs: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Every device that a cut can leave: for each epoch each prefix of its sectors, in the order
    /// of writing and backwards, each single sector alone, and each one missing. Of long epochs
    /// about `sample` of each kind.
    pub(crate) fn cuts(&self, sample: usize) -> impl Iterator<Item = Vec<u8>> {
        self.epochs.iter().flat_map(move |epoch| {
            let count = epoch.sectors.len();
            let step = count.div_ceil(sample).max(1);
            let some = move || (0..count).step_by(step);
            let forwards = some().map(move |n| epoch.with(|at| at < n));
            let backwards = some().map(move |n| epoch.with(|at| at >= n));
            let alone = some().map(move |n| epoch.with(|at| at == n));
            let missing = some().map(move |n| epoch.with(|at| at != n));
            forwards.chain(backwards).chain(alone).chain(missing)
        })
    }
}

impl Epoch {
    fn with(&self, reached_disk: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut bytes = self.before.clone();
        for (n, (at, sector)) in self.sectors.iter().enumerate() {
            if reached_disk(n) {
                bytes[*at..at + SECTOR].copy_from_slice(sector);
            }
        }
        bytes
    }
}

impl Device for Recorder {
    fn size_bytes(&self) -> u64 {
        self.seen.size_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.seen.read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.seen.write_at(offset, bytes)?;
        let from = usize::try_from(offset).unwrap();
        assert!(from.is_multiple_of(SECTOR) && bytes.len().is_multiple_of(SECTOR));
        for (sector, at) in bytes.chunks(SECTOR).zip((from..).step_by(SECTOR)) {
            self.pending.push((at, sector.try_into().unwrap()));
        }
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.write_at(offset, &vec![0; usize::try_from(length).unwrap()])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.epochs.push(Epoch {
            before: self.safe.clone(),
            sectors: std::mem::take(&mut self.pending),
        });
        self.safe.clone_from(&self.seen);
        Ok(())
    }
}
