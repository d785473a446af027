use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// A disk keeps or loses whole sectors.
const SECTOR: usize = 512;

/// When the power fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Never,
    /// At the n-th write, change of length or flush.
    AtOperation(u64),
    /// At the n-th flush, of which any part may have happened.
    BeforeFlush(u64),
    /// Right after the n-th flush, before anybody is told.
    AfterFlush(u64),
}

/// A disk with a cache: what was not flushed is kept in part, in any order, torn between sectors.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// As every reader sees it.
    cached: Vec<u8>,
    /// As of the last flush.
    durable: Vec<u8>,
    pending: Vec<Pending>,
    cut: Cut,
    is_off: bool,
    /// Says that it has flushed, and has not.
    is_forgetful: bool,
    operations: u64,
    flushes: u64,
    random: Random,
}

#[derive(Clone, Debug)]
enum Pending {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Disk {
    pub(super) fn new(content: Vec<u8>, cut: Cut, random: Random) -> Self {
        Self(Arc::new(Mutex::new(State {
            cached: content.clone(),
            durable: content,
            pending: Vec::new(),
            cut,
            is_off: false,
            is_forgetful: false,
            operations: 0,
            flushes: 0,
            random,
        })))
    }

    #[cfg(test)]
    pub(super) fn forgetful(cut: Cut, random: Random) -> Self {
        let disk = Self::new(Vec::new(), cut, random);
        disk.state().is_forgetful = true;
        disk
    }

    /// What lies on it already.
    pub(super) fn fill(&self, content: &[u8]) {
        let mut state = self.state();
        state.cached = content.to_vec();
        state.durable = content.to_vec();
    }

    /// Operations and flushes so far.
    pub(super) fn count(&self) -> (u64, u64) {
        let state = self.state();
        (state.operations, state.flushes)
    }

    /// What is found when the power is back.
    pub(super) fn surviving(&self) -> Vec<u8> {
        let mut state = self.state();
        let State {
            durable,
            pending,
            random,
            ..
        } = &mut *state;
        let mut found = durable.clone();
        let mut parts: Vec<Pending> = pending.drain(..).flat_map(sectors).collect();
        // Sometimes most of it was on its way already, sometimes next to nothing.
        let share = random.below(101);
        for last in (1..parts.len()).rev() {
            let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(0);
            parts.swap(last, other);
        }
        for part in parts {
            if random.below(100) < share {
                part.apply(&mut found);
            }
        }
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation; an error when there is no power (any more).
    fn operate(&mut self) -> io::Result<()> {
        self.is_off |= matches!(self.cut, Cut::AtOperation(at) if at == self.operations);
        self.operations += 1;
        self.powered()
    }

    fn powered(&self) -> io::Result<()> {
        match self.is_off {
            true => Err(io::Error::other("no power")),
            false => Ok(()),
        }
    }

    fn change(&mut self, pending: Pending) -> io::Result<()> {
        // What is under way when the power fails may still reach the disk in part.
        let outcome = self.operate();
        if outcome.is_ok() || matches!(self.cut, Cut::AtOperation(at) if at + 1 == self.operations)
        {
            pending.clone().apply(&mut self.cached);
            self.pending.push(pending);
        }
        outcome
    }
}

impl Pending {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Length(length) => content.resize(length, 0),
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[offset..end].copy_from_slice(&bytes);
            }
        }
    }
}

fn sectors(pending: Pending) -> Vec<Pending> {
    let Pending::Write(offset, bytes) = pending else {
        return vec![pending];
    };
    let mut parts = Vec::new();
    let mut begin = 0;
    while begin < bytes.len() {
        let end = (((offset + begin) / SECTOR + 1) * SECTOR - offset).min(bytes.len());
        parts.push(Pending::Write(offset + begin, bytes[begin..end].to_vec()));
        begin = end;
    }
    parts
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.powered()?;
        Ok(state.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.powered()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let found = state.cached.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = usize::try_from(len).map_err(io::Error::other)?;
        self.state().change(Pending::Length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let number = state.flushes;
        state.flushes += 1;
        if matches!(state.cut, Cut::BeforeFlush(at) if at == number) {
            state.is_off = true;
            return state.powered();
        }
        if !state.is_forgetful {
            state.durable = state.cached.clone();
            state.pending.clear();
        }
        state.is_off |= matches!(state.cut, Cut::AfterFlush(at) if at == number);
        state.powered()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.state().change(Pending::Write(offset, data.to_vec()))
    }
}

/// SplitMix64: the same numbers on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
