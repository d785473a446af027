//! What the slot selector and Linux userland both know about booting.
//!
//! Responsible for: the two boot records (layout, checks, which is newer), the
//! choice of a slot and every change of the records, and the bounds-checked
//! readers for what lies on a disk that may be hostile: GPT and PE image.
//!
//! Not responsible for: finding the disk (crate `disk` in Linux, `init/selector`
//! in the firmware) and deciding whether a boot was healthy (PID 1).
//!
//! Talks to: nobody. With the feature `std`, [`device`] reads and writes the
//! records of an open BOOTSTATE partition.
//!
//! # Assumptions about the medium
//!
//! 1. A write that was followed by a successful flush is on the medium, whole.
//! 2. A write cut by a loss of power may leave any mixture of old bytes, new
//!    bytes and garbage inside the 4096 bytes that were written. Nothing is
//!    assumed about the order of sectors, nor that a sector is atomic.
//! 3. A cut write does not change the *other* record, half a megabyte away. A
//!    medium that loses both all the same is met too: see below.
//! 4. Wrong data can carry a right CRC-32 with a chance of 2^-32. The result is
//!    then still a valid state: every state that decodes has a choice.
//!
//! # Invariants
//!
//! - A change is always written to the *other* record, never over the newest
//!   valid one; so one valid record is on the medium at every instant. (The
//!   selector has one exception: see its `store` module.)
//! - [`State::next_boot`] is total: whatever state decodes, there is a slot to
//!   boot, and no run of failing boots leaves a slot untried for ever.
//! - Both records lost means [`State::lost`]: both slots bootable, A first, and
//!   each says in its reason that the records were lost.
//! - Sequence numbers are compared as serial numbers (RFC 1982), so a record
//!   with the largest number does not stay the newest for ever.
//!
//! # Byte layout of a record (little endian)
//!
//! Record 0 lies at byte 0 of the partition BOOTSTATE, record 1 at byte 524288.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! |      0 |    8 | magic `X0BOOTST` |
//! |      8 |    2 | format version: 1 |
//! |     10 |    1 | slot booted last: 0 none, 1 A, 2 B |
//! |     11 |    1 | watchdog the selector armed: 0 none, 1 firmware's only, 2 i6300esb |
//! |     12 |    2 | its timeout in seconds |
//! |     14 |    2 | reserved |
//! |     16 |    8 | sequence number |
//! |     24 |    8 | boot counter: how often a slot was started |
//! |     32 |   32 | reserved |
//! |     64 |  512 | slot A |
//! |    576 |  512 | slot B |
//! |   1088 | 3004 | reserved |
//! |   4092 |    4 | CRC-32 (IEEE 802.3) of bytes 0 to 4091 |
//!
//! A slot:
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! |      0 |    1 | priority; the higher is booted first |
//! |      1 |    1 | tries left, at most 15 |
//! |      2 |    1 | flags: bit 0 good (was healthy once), bit 1 banned |
//! |      3 |    1 | reserved |
//! |      4 |    2 | reason code of the last failure, 0 none |
//! |      6 |    1 | length of the reason text, at most 160 |
//! |      7 |    1 | length of the version text, at most 64 |
//! |      8 |    4 | security epoch of the image |
//! |     12 |    4 | reserved |
//! |     16 |  160 | reason text, UTF-8 |
//! |    176 |   64 | version text, UTF-8 |
//! |    240 |  272 | reserved |
//!
//! # Compatibility
//!
//! The selector on the ESP is not updated in the field, so records of format 1
//! have to be understood for ever. New fields go into reserved bytes, zero means
//! "not set", and a reader that does not know them keeps them: decoding and
//! encoding again preserves every reserved byte. Reserved flag bits, unknown
//! reason codes and unknown watchdogs are kept too. A change that an old
//! selector must not misread takes a new format version, and with it a new
//! selector: that is a re-flash.

#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]

#[cfg(any(feature = "std", test))]
extern crate std;

mod choice;
mod pair;
mod record;
mod state;
mod text;

#[cfg(feature = "std")]
pub mod device;
pub mod fuzz;
pub mod gpt;
pub mod pe;

#[cfg(test)]
mod torn;

pub use choice::{ArmError, Choice, Why};
pub use pair::{Loaded, RecordIndex};
pub use record::{RECORD_BYTES, RecordError, decode, encode};
pub use state::{Reason, ReasonCode, Slot, SlotId, State, TRIES_LIMIT, TRIES_MAX, Watchdog};
pub use text::Text;

/// PARTLABEL of the partition with the records.
pub const PARTITION_NAME: &str = "BOOTSTATE";

/// Where the two records start, in bytes from the start of the partition.
///
/// Half a megabyte lies between them: flash that loses a whole erase block in a
/// cut write must not take both.
pub const RECORD_OFFSETS: [u64; 2] = [0, 512 * 1024];

/// Record 0 in a freshly built image: both slots untested, A first. Record 1
/// stays empty.
#[must_use]
pub fn fresh(version: &str) -> [u8; RECORD_BYTES] {
    let mut state = State::fresh();
    for slot in SlotId::ALL {
        state[slot].version = Text::new(version);
    }
    encode(&state)
}
