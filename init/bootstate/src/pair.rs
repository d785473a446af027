//! The two records: which one counts, and which one is written next.

use crate::record::{RECORD_BYTES, RecordError, decode, encode};
use crate::state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordIndex {
    Zero,
    One,
}

impl RecordIndex {
    pub const ALL: [Self; 2] = [Self::Zero, Self::One];

    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// In bytes from the start of the partition.
    #[must_use]
    pub fn offset(self) -> u64 {
        match self {
            Self::Zero => crate::RECORD_OFFSETS[0],
            Self::One => crate::RECORD_OFFSETS[1],
        }
    }
}

/// Both records, read and judged.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// The newest valid state, or [`State::lost`].
    pub state: State,
    /// Where it came from; `None`: neither record is valid.
    pub newest: Option<RecordIndex>,
    /// Why record 0 or record 1 does not count.
    pub invalid: [Option<RecordError>; 2],
}

impl Loaded {
    /// Takes what could be read of each record; nothing at all is fine.
    #[must_use]
    pub fn new(record0: &[u8], record1: &[u8]) -> Self {
        let records = [decode(record0), decode(record1)];
        let newest = match (&records[0], &records[1]) {
            (Ok(zero), Ok(one)) if is_newer(one.sequence, zero.sequence) => Some(RecordIndex::One),
            (Ok(_), _) => Some(RecordIndex::Zero),
            (Err(_), Ok(_)) => Some(RecordIndex::One),
            (Err(_), Err(_)) => None,
        };
        let state = match newest {
            Some(RecordIndex::Zero) => records[0],
            Some(RecordIndex::One) => records[1],
            None => Ok(State::lost()),
        };
        Self {
            state: state.unwrap_or_else(|_| State::lost()),
            newest,
            invalid: records.map(Result::err),
        }
    }

    /// The record to write next: never the newest valid one.
    #[must_use]
    pub fn write_to(&self) -> RecordIndex {
        self.newest.map_or(RecordIndex::Zero, RecordIndex::other)
    }

    /// The bytes that make `state` the newest when they are in [`Self::write_to`].
    #[must_use]
    pub fn successor(&self, state: &State) -> [u8; RECORD_BYTES] {
        let sequence = self.state.sequence.wrapping_add(1);
        encode(&State { sequence, ..*state })
    }
}

/// Serial number arithmetic: half of all numbers are newer than a given one.
fn is_newer(sequence: u64, than: u64) -> bool {
    let distance = sequence.wrapping_sub(than);
    distance != 0 && distance < 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64) -> [u8; RECORD_BYTES] {
        encode(&State {
            sequence,
            ..State::fresh()
        })
    }

    #[test]
    fn the_newer_counts_and_the_other_is_written() {
        let cases = [
            (1, 2, RecordIndex::One),
            (3, 2, RecordIndex::Zero),
            (u64::MAX, 0, RecordIndex::One),
            (0, u64::MAX, RecordIndex::Zero),
            (7, 7, RecordIndex::Zero),
            (0, 1 << 63, RecordIndex::Zero),
        ];
        for (zero, one, newest) in cases {
            let loaded = Loaded::new(&record(zero), &record(one));
            assert_eq!(loaded.newest, Some(newest), "{zero} {one}");
            assert_eq!(loaded.write_to(), newest.other());
        }
    }

    #[test]
    fn a_successor_is_newer_also_across_the_wrap() {
        let loaded = Loaded::new(&record(u64::MAX), &[]);
        let next = Loaded::new(&record(u64::MAX), &loaded.successor(&loaded.state));
        assert_eq!(next.newest, Some(RecordIndex::One));
        assert_eq!(next.state.sequence, 0);
    }

    #[test]
    fn nothing_readable_gives_a_bootable_default() {
        let loaded = Loaded::new(&[], &[0; RECORD_BYTES]);
        assert_eq!(loaded.newest, None);
        assert_eq!(
            loaded.invalid,
            [Some(RecordError::Short), Some(RecordError::Empty)]
        );
        assert_eq!(loaded.state, State::lost());
        assert_eq!(loaded.write_to(), RecordIndex::Zero);
    }
}
