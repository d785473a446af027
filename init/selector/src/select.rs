//! The order of things in one boot.

use core::fmt;

use bootstate::{Choice, Reason, ReasonCode, SlotId, State, Text, Watchdog};
use uefi::{ResultExt, boot};

use crate::console::say;
use crate::disk::{Disk, DiskError};
use crate::memory::{self, NEEDED_MIB};
use crate::store::Store;
use crate::{slot, watchdog};

/// Why no slot runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Disk(DiskError),
    /// The machine has so many MiB.
    Memory(u64),
    /// No slot could be loaded.
    NoSlot,
    /// A kernel image came back instead of starting a kernel.
    Returned(SlotId),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "cannot boot: {error}"),
            Self::Memory(mib) => write!(
                f,
                "too little memory: {mib} MiB, and {NEEDED_MIB} MiB are needed; add memory"
            ),
            Self::NoSlot => f.write_str("no slot can be loaded; flash the image again"),
            Self::Returned(slot) => write!(f, "slot {slot} did not start a kernel"),
        }
    }
}

/// Returns only when nothing could be started.
pub(crate) fn run() -> Failure {
    let armed = watchdog::arm();
    // Before anything is counted: no slot is to blame.
    if let Some(mib) = memory::total_mib().filter(|mib| *mib < NEEDED_MIB) {
        return Failure::Memory(mib);
    }
    match select(armed) {
        Ok(failure) => failure,
        Err(error) => Failure::Disk(error),
    }
}

fn select(mut armed: watchdog::Armed) -> Result<Failure, DiskError> {
    let mut disk = Disk::find()?;
    let mut store = Store::load(&mut disk);
    let mut state = store.loaded.state;
    if let [Some(zero), Some(one)] = store.loaded.invalid {
        say!("x0: both boot records are lost (0: {zero}; 1: {one}), starting anew");
    }
    note_hang(&mut state, &armed);
    let mut tried = [false; 2];
    loop {
        let (choice, next) = state.next_boot();
        state = next;
        state.watchdog = armed.kind;
        let first = tried == [false; 2];
        if core::mem::replace(&mut tried[choice.slot as usize], true) {
            return Ok(Failure::NoSlot);
        }
        save(&mut store, &mut disk, &state);
        report(&choice, armed.kind);
        if first {
            report_banned(&state);
        }
        match slot::load(&mut disk, choice.slot) {
            Ok(image) => {
                armed.restart();
                let status = boot::start_image(image).status();
                let text = Text::format(format_args!("the image ended with {status}"));
                let code = ReasonCode::RETURNED;
                state.fail(choice.slot, Reason { code, text });
                save(&mut store, &mut disk, &state);
                return Ok(Failure::Returned(choice.slot));
            }
            Err(error) => {
                let reason = error.reason();
                say!("x0: slot {} is banned: {reason}", choice.slot);
                state.ban(choice.slot, reason);
                save(&mut store, &mut disk, &state);
            }
        }
    }
}

/// The hardware remembers that its watchdog ended the last boot.
fn note_hang(state: &mut State, armed: &watchdog::Armed) {
    if let Some(last) = state.last
        && armed.expired_before
        && !state[last].reason.explains_a_failure()
    {
        let text = "the machine hung and was reset";
        state.fail(last, Reason::new(ReasonCode::WATCHDOG, text));
    }
}

/// A slot boots also when that cannot be written down: a router that runs is
/// worth more than a count.
fn save(store: &mut Store, disk: &mut Disk, state: &State) {
    if let Err(error) = store.save(disk, state) {
        say!("x0: tries cannot be counted: {error}");
    }
}

/// The line that every boot shows.
fn report(choice: &Choice, watchdog: Watchdog) {
    let Choice {
        slot,
        why,
        tries_left,
    } = choice;
    let (name, timeout_s) = match watchdog {
        Watchdog::I6300esb { timeout_s } => ("i6300esb", timeout_s),
        Watchdog::Firmware { timeout_s } => ("firmware", timeout_s),
        Watchdog::None | Watchdog::Unknown { .. } => ("none", 0),
    };
    say!("x0: slot {slot} ({why}), tries left {tries_left}, watchdog {name} {timeout_s} s");
}

fn report_banned(state: &State) {
    for slot in SlotId::ALL {
        if state[slot].banned {
            say!("x0: slot {slot} is banned: {}", state[slot].reason);
        }
    }
}
