//! Every change of a state: the selector's choice and userland's verdicts.
//!
//! The choice, in this order:
//!
//! 1. A slot that is not banned and has no try left is banned: it *struck out*.
//!    A reason that userland recorded meanwhile stays, else the selector says so.
//! 2. Of the slots that are not banned: the highest priority, then one that was
//!    good, then A. That makes a trial come before the committed slot.
//! 3. All banned, the *last resort*: rounds in which a slot that was good once
//!    gets three boots and another one gets one. A ban is thus never a brick,
//!    and no slot starves.
//!
//! Each boot costs one try, also that of a good slot: a slot that was good for a
//! year and now dies early must end like a new one. Commit refills.

use core::fmt;

use crate::state::{
    PRIORITY_COMMITTED, PRIORITY_FALLBACK, PRIORITY_TRIAL, Reason, ReasonCode, Slot, SlotId, State,
    TRIES_MAX,
};
use crate::text::Text;

/// What the selector does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub slot: SlotId,
    pub why: Why,
    /// After this boot.
    pub tries_left: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was healthy before.
    Good,
    /// Every slot is banned.
    LastResort,
    /// A new image, armed by an update.
    Trial,
    /// Never was healthy, nor banned: a fresh disk, or records were lost.
    Untested,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::LastResort => "last resort, all slots are banned",
            Self::Trial => "on trial",
            Self::Untested => "untested",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmError {
    /// The system runs from this slot.
    Running(SlotId),
}

impl fmt::Display for ArmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Running(slot) = self;
        write!(
            f,
            "slot {slot} is the running one; arm slot {}",
            slot.other()
        )
    }
}

impl core::error::Error for ArmError {}

impl State {
    /// The selector's choice, and the state to write before it starts that slot.
    #[must_use]
    pub fn next_boot(&self) -> (Choice, Self) {
        let mut next = *self;
        for slot in SlotId::ALL {
            next.strike_out(slot);
        }
        let last_resort = SlotId::ALL.iter().all(|slot| next[*slot].banned);
        if last_resort && SlotId::ALL.iter().all(|slot| next[*slot].tries == 0) {
            for slot in &mut next.slots {
                slot.tries = if slot.good { TRIES_MAX } else { 1 };
            }
        }
        let rank = |slot: &Slot| {
            let bootable = slot.tries > 0 && (last_resort || !slot.banned);
            let order = if last_resort {
                (u8::from(slot.good), slot.priority)
            } else {
                (slot.priority, u8::from(slot.good))
            };
            (bootable, order)
        };
        let slot = if rank(&next[SlotId::B]) > rank(&next[SlotId::A]) {
            SlotId::B
        } else {
            SlotId::A
        };
        let chosen = &mut next[slot];
        chosen.tries = chosen.tries.saturating_sub(1);
        let tries_left = chosen.tries;
        let why = if last_resort {
            Why::LastResort
        } else if chosen.good {
            Why::Good
        } else if chosen.priority >= PRIORITY_TRIAL {
            Why::Trial
        } else {
            Why::Untested
        };
        next.last = Some(slot);
        next.boots = next.boots.wrapping_add(1);
        (
            Choice {
                slot,
                why,
                tries_left,
            },
            next,
        )
    }

    /// The system that runs from `slot` is healthy.
    ///
    /// This lifts a ban: a banned slot runs only as the last resort, and one that
    /// proved to be healthy there is better than going on in turns with a dead one.
    pub fn commit(&mut self, slot: SlotId) {
        let other = &mut self[slot.other()];
        other.priority = other.priority.min(PRIORITY_FALLBACK);
        let slot = &mut self[slot];
        slot.priority = PRIORITY_COMMITTED;
        slot.tries = TRIES_MAX;
        slot.good = true;
        slot.banned = false;
        slot.reason = Reason::NONE;
    }

    /// Notes why a boot of `slot` failed. The try is gone already; the ban comes
    /// when all are. On a banned slot this replaces the reason, for userland
    /// that learns more (from pstore) than the selector could know.
    pub fn fail(&mut self, slot: SlotId, reason: Reason) {
        self[slot].reason = reason;
    }

    /// Takes `slot` out at once: trying again would not help.
    pub fn ban(&mut self, slot: SlotId, reason: Reason) {
        let slot = &mut self[slot];
        slot.banned = true;
        slot.tries = 0;
        slot.reason = reason;
    }

    /// A person clears a ban. The slot becomes the one to fall back to; what
    /// runs now stays first.
    pub fn unban(&mut self, slot: SlotId) {
        let slot = &mut self[slot];
        slot.banned = false;
        slot.tries = TRIES_MAX;
        slot.reason = Reason::NONE;
    }

    /// A new image was written to `slot`, read back and verified: boot it next.
    pub fn arm(
        &mut self,
        slot: SlotId,
        version: &str,
        security_epoch: u32,
    ) -> Result<(), ArmError> {
        if self.last == Some(slot) {
            return Err(ArmError::Running(slot));
        }
        let other = &mut self[slot.other()];
        other.priority = other.priority.min(PRIORITY_COMMITTED);
        self[slot] = Slot {
            version: Text::new(version),
            security_epoch,
            reserved: self[slot].reserved,
            ..Slot::new(PRIORITY_TRIAL)
        };
        Ok(())
    }

    /// Whether a reboot can reach the other slot without a last resort.
    #[must_use]
    pub fn has_alternative(&self, running: SlotId) -> bool {
        let other = &self[running.other()];
        !other.banned && other.tries > 0
    }

    fn strike_out(&mut self, slot: SlotId) {
        let slot = &mut self[slot];
        if slot.banned || slot.tries > 0 {
            return;
        }
        slot.banned = true;
        if !slot.reason.explains_a_failure() {
            slot.reason = Reason::new(ReasonCode::STRUCK_OUT, "no boot became healthy");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Boots once; the choice must be `slot`.
    fn boot(state: &mut State, slot: SlotId) -> Choice {
        let (choice, next) = state.next_boot();
        assert_eq!(choice.slot, slot, "{state:#?}");
        assert_eq!(next.last, Some(slot));
        assert_eq!(next.boots, state.boots + 1);
        *state = next;
        choice
    }

    #[test]
    fn three_deaths_lead_to_the_other_slot_for_ever() {
        let mut state = State::fresh();
        for tries_left in [2, 1, 0] {
            let choice = boot(&mut state, SlotId::A);
            assert_eq!(
                choice,
                Choice {
                    slot: SlotId::A,
                    why: Why::Untested,
                    tries_left
                }
            );
        }
        boot(&mut state, SlotId::B);
        assert!(state[SlotId::A].banned);
        assert_eq!(state[SlotId::A].reason.code, ReasonCode::STRUCK_OUT);
        assert!(!state.has_alternative(SlotId::B));
        for _ in 0..10 {
            state.commit(SlotId::B);
            assert_eq!(boot(&mut state, SlotId::B).why, Why::Good);
        }
        state.commit(SlotId::B);
        state.unban(SlotId::A);
        assert!(state.has_alternative(SlotId::B));
        boot(&mut state, SlotId::B);
    }

    #[test]
    fn good_slot_that_starts_to_die_is_left_too() {
        let mut state = State::fresh();
        boot(&mut state, SlotId::A);
        state.commit(SlotId::A);
        for _ in 0..3 {
            assert_eq!(boot(&mut state, SlotId::A).why, Why::Good);
        }
        boot(&mut state, SlotId::B);
    }

    #[test]
    fn reported_reason_survives_the_strike() {
        let mut state = State::fresh();
        boot(&mut state, SlotId::A);
        boot(&mut state, SlotId::A);
        state.fail(
            SlotId::A,
            Reason::new(ReasonCode::UNHEALTHY, "network gave up"),
        );
        boot(&mut state, SlotId::A);
        boot(&mut state, SlotId::B);
        assert_eq!(state[SlotId::A].reason.text.as_str(), "network gave up");
    }

    #[test]
    fn trial_goes_first_and_falls_back_after_three_tries() {
        let mut state = State::fresh();
        boot(&mut state, SlotId::A);
        state.commit(SlotId::A);
        assert_eq!(
            state.arm(SlotId::A, "2", 0),
            Err(ArmError::Running(SlotId::A))
        );
        state.arm(SlotId::B, "2", 7).unwrap();
        for _ in 0..3 {
            assert_eq!(boot(&mut state, SlotId::B).why, Why::Trial);
        }
        assert_eq!(boot(&mut state, SlotId::A).why, Why::Good);
        state.commit(SlotId::A);
        assert!(state[SlotId::B].banned);
        assert_eq!(state[SlotId::B].version.as_str(), "2");
        assert_eq!(state[SlotId::B].security_epoch, 7);
        boot(&mut state, SlotId::A);
    }

    #[test]
    fn committed_trial_becomes_the_first_and_the_old_one_the_fallback() {
        let mut state = State::fresh();
        boot(&mut state, SlotId::A);
        state.commit(SlotId::A);
        state.arm(SlotId::B, "2", 0).unwrap();
        boot(&mut state, SlotId::B);
        state.commit(SlotId::B);
        for _ in 0..3 {
            boot(&mut state, SlotId::B);
        }
        boot(&mut state, SlotId::A);
    }

    #[test]
    fn last_resort_takes_turns_and_prefers_what_was_good() {
        let mut state = State::fresh();
        boot(&mut state, SlotId::A);
        state.commit(SlotId::A);
        state.ban(SlotId::A, Reason::new(ReasonCode::OPERATOR, ""));
        state.ban(SlotId::B, Reason::new(ReasonCode::CORRUPT, ""));
        for _ in 0..3 {
            for slot in [SlotId::A, SlotId::A, SlotId::A, SlotId::B] {
                assert_eq!(boot(&mut state, slot).why, Why::LastResort);
            }
        }
        assert_eq!(state[SlotId::B].reason.code, ReasonCode::CORRUPT);
    }

    #[test]
    fn healthy_last_resort_ends_the_turns() {
        let mut state = State::fresh();
        for slot in SlotId::ALL {
            state.ban(slot, Reason::new(ReasonCode::CORRUPT, ""));
        }
        let (choice, next) = state.next_boot();
        state = next;
        state.commit(choice.slot);
        for _ in 0..3 {
            assert_eq!(boot(&mut state, choice.slot).why, Why::Good);
        }
    }

    fn any_slot() -> impl Strategy<Value = Slot> {
        (
            any::<u8>(),
            0..=crate::TRIES_LIMIT,
            any::<bool>(),
            any::<bool>(),
            any::<u16>(),
        )
            .prop_map(|(priority, tries, good, banned, code)| Slot {
                tries,
                good,
                banned,
                reason: Reason::new(ReasonCode(code), "because"),
                ..Slot::new(priority)
            })
    }

    fn any_state() -> impl Strategy<Value = State> {
        (
            any_slot(),
            any_slot(),
            any::<u64>(),
            prop_oneof![Just(None), Just(Some(SlotId::A)), Just(Some(SlotId::B))],
        )
            .prop_map(|(a, b, boots, last)| State {
                slots: [a, b],
                boots,
                last,
                ..State::fresh()
            })
    }

    proptest! {
        /// From any state at all, with any verdicts of the selector and of
        /// userland on boots that never get healthy: each slot is started within
        /// a bounded number of boots.
        #[test]
        fn no_slot_starves(mut state in any_state(), verdicts in prop::collection::vec(0..4u8, 80)) {
            let mut unseen = [0usize; 2];
            for verdict in verdicts {
                let (choice, next) = state.next_boot();
                state = next;
                for (slot, unseen) in SlotId::ALL.into_iter().zip(&mut unseen) {
                    *unseen = if slot == choice.slot { 0 } else { *unseen + 1 };
                    // Both may have to strike out before the first full round.
                    prop_assert!(*unseen <= 2 * usize::from(crate::TRIES_LIMIT) + 4);
                }
                match verdict {
                    0 => state.fail(choice.slot, Reason::new(ReasonCode::PANIC, "dm-verity")),
                    1 => state.ban(choice.slot, Reason::new(ReasonCode::CORRUPT, "")),
                    _ => {}
                }
            }
        }

        /// A slot that is healthy whenever it is started ends up being the one
        /// that is started every time.
        #[test]
        fn a_healthy_slot_is_found_and_kept(mut state in any_state(), healthy in 0..2usize) {
            let healthy = SlotId::ALL[healthy];
            let mut in_a_row = 0;
            for _ in 0..60 {
                let (choice, next) = state.next_boot();
                state = next;
                in_a_row = if choice.slot == healthy { in_a_row + 1 } else { 0 };
                if choice.slot == healthy {
                    state.commit(healthy);
                }
            }
            prop_assert!(in_a_row >= 20, "{} times in a row", in_a_row);
        }

        #[test]
        fn a_try_is_taken_whenever_there_is_one(state in any_state()) {
            let (choice, next) = state.next_boot();
            prop_assert_eq!(next[choice.slot].tries, choice.tries_left);
            prop_assert!(choice.why == Why::LastResort || !next[choice.slot].banned);
            prop_assert!(choice.why == Why::LastResort || state[choice.slot].tries == choice.tries_left + 1);
        }
    }
}
