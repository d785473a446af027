//! Torn writes, simulated: whatever a loss of power leaves of a write, the old
//! or the new state is read, and both have a choice.

use std::vec::Vec;

use crate::{Choice, Loaded, RECORD_BYTES, Reason, ReasonCode, RecordIndex, SlotId, State, fresh};

const SECTOR_BYTES: usize = 512;
const SECTORS: usize = RECORD_BYTES / SECTOR_BYTES;

/// The two records as the medium has them.
#[derive(Clone)]
struct Medium([[u8; RECORD_BYTES]; 2]);

impl Medium {
    fn fresh() -> Self {
        Self([fresh("0.1.0"), [0; RECORD_BYTES]])
    }

    fn load(&self) -> Loaded {
        Loaded::new(&self.0[0], &self.0[1])
    }

    fn record(&mut self, index: RecordIndex) -> &mut [u8; RECORD_BYTES] {
        &mut self.0[index as usize]
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The selector's choice.
    Boot,
    Commit,
    Fail,
    Ban,
    Unban,
    Arm,
}

const STEPS: [Step; 6] = [
    Step::Boot,
    Step::Commit,
    Step::Fail,
    Step::Ban,
    Step::Unban,
    Step::Arm,
];

fn apply(step: Step, state: &State) -> State {
    let mut next = *state;
    let running = state.last.unwrap_or(SlotId::A);
    match step {
        Step::Boot => next = state.next_boot().1,
        Step::Commit => next.commit(running),
        Step::Fail => next.fail(
            running,
            Reason::new(ReasonCode::PANIC, "dm-verity: block 7"),
        ),
        Step::Ban => next.ban(running, Reason::new(ReasonCode::UNHEALTHY, "no route")),
        Step::Unban => next.unban(running.other()),
        Step::Arm => next.arm(running.other(), "0.2.0", 3).unwrap_or(()),
    }
    next
}

/// How finely a write is cut.
#[derive(Clone, Copy, PartialEq)]
enum Grain {
    /// Each subset of sectors: each order in which they may be written when
    /// power goes.
    Sectors,
    /// Each prefix and each suffix too, byte by byte.
    SectorsAndBytes,
}

/// Each way in which this write can be cut. `check` sees the record afterwards.
/// What was not written is old, zero, erased or garbage.
fn tear(
    grain: Grain,
    old: &[u8; RECORD_BYTES],
    new: &[u8; RECORD_BYTES],
    mut check: impl FnMut(&[u8; RECORD_BYTES]),
) {
    for fill in [None, Some(0x00), Some(0xff), Some(0xa5)] {
        let below = fill.map_or(*old, |fill| [fill; RECORD_BYTES]);
        for subset in 0..1u32 << SECTORS {
            let mut record = below;
            for sector in (0..SECTORS).filter(|sector| subset >> sector & 1 == 1) {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                record[range.clone()].copy_from_slice(&new[range]);
            }
            check(&record);
        }
        if grain == Grain::Sectors || fill == Some(0xa5) {
            continue;
        }
        let mut prefix = below;
        let mut suffix = *new;
        // A byte that is the same before and after makes no other record.
        for at in (0..RECORD_BYTES).filter(|at| new[*at] != below[*at]) {
            check(&prefix);
            check(&suffix);
            prefix[at] = new[at];
            suffix[at] = below[at];
        }
    }
}

/// Runs `steps`, and cuts each of their writes in every way.
fn survive(start: &Medium, grain: Grain, steps: &[Step]) {
    let mut medium = start.clone();
    for (position, step) in steps.iter().enumerate() {
        let loaded = medium.load();
        let index = loaded.write_to();
        let new = loaded.successor(&apply(*step, &loaded.state));
        let old = *medium.record(index);
        let mut after = medium.clone();
        *after.record(index) = new;
        let (before, after_state) = (loaded.state, after.load().state);
        assert_eq!(after.load().newest, Some(index));
        let mut cut = medium.clone();
        // Each different outcome is judged once; all that matters is the state.
        let mut judged: Vec<State> = Vec::new();
        // A new disk whose first write is cut may have lost both.
        let may_be_lost = loaded.newest.is_none();
        tear(grain, &old, &new, |record| {
            *cut.record(index) = *record;
            let state = cut.load().state;
            if judged.contains(&state) {
                return;
            }
            assert!(
                state == before || state == after_state || (may_be_lost && state == State::lost()),
                "step {position} of {steps:?} left neither the old nor the new state"
            );
            bootable(&state);
            judged.push(state);
        });
        medium = after;
    }
}

/// From here each slot is started within a bounded number of boots, so whichever
/// of them is sound is found.
fn bootable(state: &State) {
    let mut state = *state;
    let mut started = [false; 2];
    for _ in 0..12 {
        let (Choice { slot, .. }, next) = state.next_boot();
        started[slot as usize] = true;
        state = next;
    }
    assert_eq!(started, [true; 2], "{state:?}");
}

/// Every two steps, on a new disk and on one in use.
#[test]
fn every_cut_of_every_short_history() {
    let start = Medium::fresh();
    let mut in_use = start.clone();
    for step in [Step::Boot, Step::Commit, Step::Boot] {
        let loaded = in_use.load();
        let new = loaded.successor(&apply(step, &loaded.state));
        *in_use.record(loaded.write_to()) = new;
    }
    for first in STEPS {
        for second in STEPS {
            survive(&start, Grain::Sectors, &[first, second]);
            survive(&in_use, Grain::Sectors, &[first, second]);
        }
        survive(&in_use, Grain::SectorsAndBytes, &[first]);
    }
}

#[test]
fn every_cut_of_a_whole_life() {
    use Step::{Arm, Ban, Boot, Commit, Fail, Unban};
    let life = [
        Boot, Commit, Boot, Fail, Boot, Boot, Boot, Commit, Unban, Arm, Boot, Boot, Fail, Boot,
        Boot, Commit, Ban, Boot, Boot, Boot, Boot, Commit,
    ];
    survive(&Medium::fresh(), Grain::SectorsAndBytes, &life);
}

/// Nothing valid on the medium yet, and across the sequence number's wrap.
#[test]
fn every_cut_of_the_first_writes_on_garbage() {
    let steps = [Step::Boot, Step::Boot, Step::Commit];
    survive(
        &Medium([[0; RECORD_BYTES]; 2]),
        Grain::SectorsAndBytes,
        &steps,
    );
    survive(
        &Medium([[0xa5; RECORD_BYTES]; 2]),
        Grain::SectorsAndBytes,
        &steps,
    );
    let last = State {
        sequence: u64::MAX - 1,
        ..State::fresh()
    };
    let mut medium = Medium([[0; RECORD_BYTES]; 2]);
    *medium.record(RecordIndex::Zero) = crate::encode(&last);
    survive(&medium, Grain::SectorsAndBytes, &steps);
}

/// Power goes in every single write, for ever: the selector still gets to start
/// each slot, because a cut write costs at most the try it was about to take.
#[test]
fn cuts_in_every_boot_starve_no_slot() {
    let mut medium = Medium::fresh();
    let mut started = [0usize; 2];
    for round in 0..64usize {
        let loaded = medium.load();
        let (choice, next) = loaded.state.next_boot();
        let new = loaded.successor(&next);
        let record = medium.record(loaded.write_to());
        // Every second write is cut in the middle, the others arrive.
        let written = if round.is_multiple_of(2) {
            RECORD_BYTES / 2
        } else {
            RECORD_BYTES
        };
        record[..written].copy_from_slice(&new[..written]);
        if written == RECORD_BYTES {
            started[choice.slot as usize] += 1;
        }
    }
    assert!(started.iter().all(|times| *times >= 8), "{started:?}");
}

/// A reader that flips a coin on which bytes were written sees old or new too.
mod random {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_mixture_of_bytes_gives_old_or_new(
            mask in prop::collection::vec(any::<bool>(), RECORD_BYTES),
            garbage in prop::collection::vec(any::<u8>(), RECORD_BYTES),
            over_garbage in any::<bool>(),
            step in 0..STEPS.len(),
        ) {
            let mut medium = Medium::fresh();
            let loaded = medium.load();
            let next = apply(STEPS[step], &loaded.state);
            let new = loaded.successor(&next);
            let record = medium.record(loaded.write_to());
            for at in 0..RECORD_BYTES {
                if mask[at] {
                    record[at] = new[at];
                } else if over_garbage {
                    record[at] = garbage[at];
                }
            }
            let state = medium.load().state;
            prop_assert!(state == loaded.state || crate::encode(&state) == new);
            bootable(&state);
        }
    }
}
