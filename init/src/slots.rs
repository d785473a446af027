//! What this boot tells the slot selector, and what the selector knew about earlier ones.
//!
//! The disk is touched by a forked child with a deadline, never by PID 1 itself: a disk that hangs
//! must not keep it from petting the watchdog and answering the console.

use std::io;
use std::os::fd::OwnedFd;

use bootstate::device::Device;
use bootstate::{PARTITION_NAME, Reason, ReasonCode, SlotId, State, TRIES_MAX};
use disk::Disk;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::Moment;
use crate::sys;

/// What a child is to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Job {
    /// This boot is good.
    Commit,
    /// This boot failed for this reason. `ban`: it had been good before it failed.
    Escalate { reason: String, ban: bool },
    /// Read the records; note in them what is known of the previous boot's end.
    Load {
        panic: Option<String>,
        watchdog_fired: bool,
    },
}

/// What the records said.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Records {
    pub(crate) boots: Option<u64>,
    /// There is another slot worth booting.
    pub(crate) alternative: bool,
    pub(crate) previous_end: Option<String>,
}

/// A child at work.
#[derive(Debug)]
pub(crate) struct Helper {
    pub(crate) job: Job,
    pub(crate) pid: u32,
    pub(crate) deadline: Moment,
    answer: OwnedFd,
}

const DEADLINE_MS: u64 = 20_000;
/// A pipe takes this much in one write.
const ANSWER_BYTES: usize = 4096;

impl Helper {
    pub(crate) fn start(now: Moment, slot: SlotId, job: Job) -> io::Result<Self> {
        let (answer, answerer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let pid = sys::spawn(None, || {
            let (mark, text) = match work(slot, &job) {
                Ok(records) => ("+", records.to_json()),
                Err(error) => ("-", error),
            };
            let mut message = format!("{mark}{text}");
            message.truncate(message.floor_char_boundary(ANSWER_BYTES));
            // Without an answer the parent knows that it failed, if not why.
            rustix::io::write(&answerer, message.as_bytes()).ok();
            0
        })?;
        Ok(Self {
            job,
            pid,
            deadline: now.after_ms(DEADLINE_MS),
            answer,
        })
    }

    /// What the child said; to be called when it is gone.
    pub(crate) fn answer(&self) -> Result<Records, String> {
        let mut bytes = [0; ANSWER_BYTES];
        let length = rustix::io::read(&self.answer, &mut bytes).unwrap_or(0);
        match bytes[..length].split_first() {
            Some((b'+', json)) => Ok(Records::from_json(json)),
            Some((_, text)) => Err(String::from_utf8_lossy(text).into_owned()),
            None => Err("the disk did not answer in time".into()),
        }
    }
}

impl Records {
    fn to_json(&self) -> String {
        json!({
            "boots": self.boots,
            "alternative": self.alternative,
            "previous_end": self.previous_end,
        })
        .to_string()
    }

    fn from_json(json: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(json).unwrap_or_default();
        Self {
            boots: value["boots"].as_u64(),
            alternative: value["alternative"].as_bool().unwrap_or(false),
            previous_end: value["previous_end"].as_str().map(Into::into),
        }
    }

    fn of(state: &State, slot: SlotId, evidence: Option<&Reason>) -> Self {
        let mut ends = Vec::new();
        let describe = |reason: &Reason| match (reason.code.name(), reason.text.as_str()) {
            (name, "") => name.to_owned(),
            (name, text) => format!("{name}: {text}"),
        };
        let other = &state[slot.other()];
        let told_below = |reason: &&Reason| other.banned && other.reason == **reason;
        ends.extend(evidence.filter(|reason| !told_below(reason)).map(describe));
        let own = &state[slot].reason;
        if evidence.is_none() && !own.is_none() {
            ends.push(format!("this slot failed before: {}", describe(own)));
        }
        if other.banned {
            let why = describe(&other.reason);
            ends.push(format!("slot {} is banned: {why}", slot.other()));
        }
        Self {
            boots: Some(state.boots),
            alternative: state.has_alternative(slot),
            previous_end: (!ends.is_empty()).then(|| ends.join("; ")),
        }
    }
}

/// In the child.
fn work(slot: SlotId, job: &Job) -> Result<Records, String> {
    let device = open().map_err(|error| chain(&*error))?;
    let update = |change: &dyn Fn(&mut State)| {
        let loaded = device
            .update(|state| change(state))
            .map_err(|error| chain(&error))?;
        Ok::<State, String>(loaded.state)
    };
    match job {
        Job::Commit => {
            let state = update(&|state| state.commit(slot))?;
            Ok(Records::of(&state, slot, None))
        }
        Job::Escalate { reason, ban } => {
            let reason = Reason::new(ReasonCode::UNHEALTHY, reason);
            let state = update(&|state| {
                // A slot that was good in this very boot would be good again after a reboot, and
                // fail again: only a ban ends that.
                if *ban && state.has_alternative(slot) {
                    state.ban(slot, reason);
                } else {
                    state.fail(slot, reason);
                }
            })?;
            Ok(Records::of(&state, slot, None))
        }
        Job::Load {
            panic,
            watchdog_fired,
        } => {
            let mut state = device.load().state;
            let evidence = evidence(panic.as_deref(), *watchdog_fired);
            if let Some(reason) = evidence {
                let failed = failed_before(&state, slot);
                if unexplained(&state[failed].reason) {
                    state = update(&|state| state.fail(failed, reason))?;
                }
            }
            Ok(Records::of(&state, slot, evidence.as_ref()))
        }
    }
}

fn open() -> Result<Device, Box<dyn std::error::Error>> {
    let partition = Disk::of_root()?.partition(PARTITION_NAME)?;
    Ok(Device::open(&partition.node())?)
}

fn evidence(panic: Option<&str>, watchdog_fired: bool) -> Option<Reason> {
    match (panic, watchdog_fired) {
        (Some(text), _) => Some(Reason::new(ReasonCode::PANIC, text)),
        (None, true) => {
            let text = "the hardware watchdog reset the machine";
            Some(Reason::new(ReasonCode::WATCHDOG, text))
        }
        (None, false) => None,
    }
}

/// Which slot the previous boot ran. When this is the first boot after the other slot struck out, it
/// was the other one.
fn failed_before(state: &State, slot: SlotId) -> SlotId {
    let first_boot = state[slot].tries + 1 == TRIES_MAX;
    let other = slot.other();
    if first_boot && state[other].banned && unexplained(&state[other].reason) {
        other
    } else {
        slot
    }
}

fn unexplained(reason: &Reason) -> bool {
    reason.is_none() || reason.code == ReasonCode::STRUCK_OUT
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_pipe() {
        let records = Records {
            boots: Some(7),
            alternative: true,
            previous_end: Some("panic: \"x\"".into()),
        };
        assert_eq!(Records::from_json(records.to_json().as_bytes()), records);
        assert_eq!(Records::from_json(b"nonsense"), Records::default());
    }

    #[test]
    fn a_panic_is_noted_for_the_slot_that_had_it() {
        let mut state = State::fresh();
        for _ in 0..4 {
            state = state.next_boot().1;
        }
        assert_eq!(state.last, Some(SlotId::B));
        assert!(state[SlotId::A].banned);
        assert_eq!(failed_before(&state, SlotId::B), SlotId::A);
        let reason = evidence(Some("dm-verity"), true).unwrap();
        state.fail(SlotId::A, reason);
        let records = Records::of(&state, SlotId::B, Some(&reason));
        let end = records.previous_end.unwrap();
        assert_eq!(end, "slot A is banned: panic: dm-verity");
        assert_eq!(failed_before(&state.next_boot().1, SlotId::B), SlotId::B);
    }

    #[test]
    fn an_uneventful_boot_has_nothing_to_tell() {
        let state = State::fresh().next_boot().1;
        let records = Records::of(&state, SlotId::A, None);
        assert_eq!(records.previous_end, None);
        assert_eq!(records.boots, Some(1));
        assert!(records.alternative);
    }
}
