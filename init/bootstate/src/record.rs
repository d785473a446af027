//! A state as 4096 bytes and back. The layout is drawn in the crate's head.

use core::fmt;

use crate::state::{
    Reason, ReasonCode, Slot, SlotId, SlotReserved, State, StateReserved, TRIES_LIMIT, Watchdog,
};
use crate::text::Text;

pub const RECORD_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"X0BOOTST";
const FORMAT: u16 = 1;
const CRC_AT: usize = RECORD_BYTES - 4;
const SLOTS_AT: usize = 64;
const SLOT_BYTES: usize = 512;
const FLAG_GOOD: u8 = 1;
const FLAG_BANNED: u8 = 2;

/// Why 4096 bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A part of the write is missing, or the medium lost bits.
    Checksum,
    /// All zero: never written.
    Empty,
    /// The checksum holds, but a field has a value that we never write.
    Field(&'static str),
    /// Written by a system that this one is too old for.
    Format(u16),
    /// Not ours.
    Magic,
    /// Fewer than 4096 bytes could be read.
    Short,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => f.write_str("checksum is wrong (torn write?)"),
            Self::Empty => f.write_str("never written"),
            Self::Field(name) => write!(f, "{name} out of range"),
            Self::Format(version) => write!(f, "format {version} instead of {FORMAT}"),
            Self::Magic => f.write_str("no boot record"),
            Self::Short => f.write_str("could not be read"),
        }
    }
}

impl core::error::Error for RecordError {}

#[must_use]
pub fn encode(state: &State) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    let (kind, timeout_s) = match state.watchdog {
        Watchdog::None => (0, 0),
        Watchdog::Firmware { timeout_s } => (1, timeout_s),
        Watchdog::I6300esb { timeout_s } => (2, timeout_s),
        Watchdog::Unknown { kind, timeout_s } => (kind, timeout_s),
    };
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[10] = match state.last {
        None => 0,
        Some(SlotId::A) => 1,
        Some(SlotId::B) => 2,
    };
    bytes[11] = kind;
    bytes[12..14].copy_from_slice(&timeout_s.to_le_bytes());
    bytes[14..16].copy_from_slice(&state.reserved.after_watchdog);
    bytes[16..24].copy_from_slice(&state.sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&state.boots.to_le_bytes());
    bytes[32..64].copy_from_slice(&state.reserved.head);
    for (slot, bytes) in state
        .slots
        .iter()
        .zip(bytes[SLOTS_AT..].chunks_exact_mut(SLOT_BYTES))
    {
        encode_slot(slot, bytes);
    }
    bytes[SLOTS_AT + 2 * SLOT_BYTES..CRC_AT].copy_from_slice(&state.reserved.tail);
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub fn decode(bytes: &[u8]) -> Result<State, RecordError> {
    let bytes: &[u8; RECORD_BYTES] = bytes.first_chunk().ok_or(RecordError::Short)?;
    if bytes[0..8] != *MAGIC {
        let empty = bytes.iter().all(|byte| *byte == 0);
        return Err(if empty {
            RecordError::Empty
        } else {
            RecordError::Magic
        });
    }
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    if bytes[CRC_AT..] != crc.to_le_bytes() {
        return Err(RecordError::Checksum);
    }
    let format = u16::from_le_bytes(array(bytes, 8));
    if format != FORMAT {
        return Err(RecordError::Format(format));
    }
    let timeout_s = u16::from_le_bytes(array(bytes, 12));
    let (head, slot_b) = (SLOTS_AT, SLOTS_AT + SLOT_BYTES);
    Ok(State {
        sequence: u64::from_le_bytes(array(bytes, 16)),
        boots: u64::from_le_bytes(array(bytes, 24)),
        last: match bytes[10] {
            0 => None,
            1 => Some(SlotId::A),
            2 => Some(SlotId::B),
            _ => return Err(RecordError::Field("last slot")),
        },
        watchdog: match bytes[11] {
            0 if timeout_s == 0 => Watchdog::None,
            1 => Watchdog::Firmware { timeout_s },
            2 => Watchdog::I6300esb { timeout_s },
            kind => Watchdog::Unknown { kind, timeout_s },
        },
        slots: [
            decode_slot(&bytes[head..slot_b])?,
            decode_slot(&bytes[slot_b..slot_b + SLOT_BYTES])?,
        ],
        reserved: StateReserved {
            after_watchdog: array(bytes, 14),
            head: array(bytes, 32),
            tail: array(bytes, SLOTS_AT + 2 * SLOT_BYTES),
        },
    })
}

fn encode_slot(slot: &Slot, bytes: &mut [u8]) {
    let reason = slot.reason.text.as_bytes();
    let version = slot.version.as_bytes();
    let good = if slot.good { FLAG_GOOD } else { 0 };
    let banned = if slot.banned { FLAG_BANNED } else { 0 };
    bytes[0] = slot.priority;
    bytes[1] = slot.tries.min(TRIES_LIMIT);
    bytes[2] = good | banned | slot.reserved.flags;
    bytes[3] = slot.reserved.after_flags;
    bytes[4..6].copy_from_slice(&slot.reason.code.0.to_le_bytes());
    bytes[6] = u8::try_from(reason.len()).expect("the text holds at most 160 bytes");
    bytes[7] = u8::try_from(version.len()).expect("the text holds at most 64 bytes");
    bytes[8..12].copy_from_slice(&slot.security_epoch.to_le_bytes());
    bytes[12..16].copy_from_slice(&slot.reserved.after_epoch);
    bytes[16..16 + reason.len()].copy_from_slice(reason);
    bytes[176..176 + version.len()].copy_from_slice(version);
    bytes[240..].copy_from_slice(&slot.reserved.tail);
}

fn decode_slot(bytes: &[u8]) -> Result<Slot, RecordError> {
    let reason = bytes[16..176]
        .get(..usize::from(bytes[6]))
        .and_then(Text::from_bytes);
    let version = bytes[176..240]
        .get(..usize::from(bytes[7]))
        .and_then(Text::from_bytes);
    if bytes[1] > TRIES_LIMIT {
        return Err(RecordError::Field("tries"));
    }
    Ok(Slot {
        priority: bytes[0],
        tries: bytes[1],
        good: bytes[2] & FLAG_GOOD != 0,
        banned: bytes[2] & FLAG_BANNED != 0,
        reason: Reason {
            code: ReasonCode(u16::from_le_bytes(array(bytes, 4))),
            text: reason.ok_or(RecordError::Field("reason text"))?,
        },
        version: version.ok_or(RecordError::Field("version text"))?,
        security_epoch: u32::from_le_bytes(array(bytes, 8)),
        reserved: SlotReserved {
            flags: bytes[2] & !(FLAG_GOOD | FLAG_BANNED),
            after_flags: bytes[3],
            after_epoch: array(bytes, 12),
            tail: array(bytes, 240),
        },
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..]
        .first_chunk()
        .expect("offsets of the layout lie inside the record")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    fn any_slot() -> impl Strategy<Value = Slot> {
        let facts = (any::<u8>(), 0..=TRIES_LIMIT, any::<bool>(), any::<bool>());
        let texts = (any::<u16>(), any::<String>(), any::<String>(), any::<u32>());
        let reserved = (
            any::<u8>(),
            any::<[u8; 4]>(),
            prop::collection::vec(any::<u8>(), 272),
        );
        (facts, texts, reserved).prop_map(|(facts, texts, reserved)| Slot {
            priority: facts.0,
            tries: facts.1,
            good: facts.2,
            banned: facts.3,
            reason: Reason::new(ReasonCode(texts.0), &texts.1),
            version: Text::new(&texts.2),
            security_epoch: texts.3,
            reserved: SlotReserved {
                flags: reserved.0 & !(FLAG_GOOD | FLAG_BANNED),
                after_flags: reserved.0,
                after_epoch: reserved.1,
                tail: reserved.2.try_into().unwrap(),
            },
        })
    }

    fn any_state() -> impl Strategy<Value = State> {
        let last = prop_oneof![Just(None), Just(Some(SlotId::A)), Just(Some(SlotId::B))];
        let watchdog = prop_oneof![
            Just(Watchdog::None),
            any::<u16>().prop_map(|timeout_s| Watchdog::Firmware { timeout_s }),
            any::<u16>().prop_map(|timeout_s| Watchdog::I6300esb { timeout_s }),
            (3..u8::MAX, any::<u16>())
                .prop_map(|(kind, timeout_s)| Watchdog::Unknown { kind, timeout_s }),
        ];
        let reserved = (
            any::<[u8; 2]>(),
            any::<[u8; 32]>(),
            prop::collection::vec(any::<u8>(), 3004),
        );
        (
            any::<(u64, u64)>(),
            last,
            watchdog,
            any_slot(),
            any_slot(),
            reserved,
        )
            .prop_map(
                |((sequence, boots), last, watchdog, a, b, reserved)| State {
                    sequence,
                    boots,
                    last,
                    watchdog,
                    slots: [a, b],
                    reserved: StateReserved {
                        after_watchdog: reserved.0,
                        head: reserved.1,
                        tail: reserved.2.try_into().unwrap(),
                    },
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(state in any_state()) {
            prop_assert_eq!(decode(&encode(&state)), Ok(state));
        }

        #[test]
        fn hostile_records_never_panic(
            state in any_state(),
            changes in prop::collection::vec((0..RECORD_BYTES, any::<u8>()), 0..20),
        ) {
            let mut bytes = encode(&state);
            for (at, value) in changes {
                bytes[at] = value;
            }
            crate::fuzz::sealed_records(&bytes);
            crate::fuzz::records(&[bytes, encode(&state)].concat());
        }

        #[test]
        fn hostile_fields_never_panic(head in prop::collection::vec(any::<u8>(), 1100)) {
            crate::fuzz::sealed_records(&head);
            crate::fuzz::records(&head);
        }
    }

    /// The layout is for ever: these bytes are read by selectors in the field. The
    /// checksum was computed with zlib.
    #[test]
    fn the_layout_has_not_moved() {
        let mut state = State::fresh();
        state.boots = 0x0102;
        state.last = Some(SlotId::B);
        state.watchdog = Watchdog::I6300esb { timeout_s: 60 };
        state[SlotId::B].good = true;
        state[SlotId::B].security_epoch = 5;
        state.ban(SlotId::A, Reason::new(ReasonCode::CORRUPT, "hash"));
        let bytes = encode(&state);
        assert_eq!(bytes[..16], *b"X0BOOTST\x01\x00\x02\x02\x3c\x00\x00\x00");
        assert_eq!(bytes[16..32], *b"\x01\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0");
        assert_eq!(
            bytes[64..84],
            *b"\x0f\0\x02\0\x03\0\x04\0\0\0\0\0\0\0\0\0hash"
        );
        assert_eq!(bytes[576..588], *b"\x0a\x03\x01\0\0\0\0\0\x05\0\0\0");
        assert_eq!(bytes[4092..], 0xa76a_37ab_u32.to_le_bytes());
    }

    #[test]
    fn says_what_is_wrong() {
        let sealed = |at: usize, value: u8| {
            let mut bytes = encode(&State::fresh());
            bytes[at] = value;
            let crc = crc32fast::hash(&bytes[..CRC_AT]);
            bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
            decode(&bytes).unwrap_err()
        };
        assert_eq!(sealed(0, b'Y'), RecordError::Magic);
        assert_eq!(sealed(8, 2), RecordError::Format(2));
        assert_eq!(sealed(10, 3), RecordError::Field("last slot"));
        assert_eq!(sealed(SLOTS_AT + 1, 16), RecordError::Field("tries"));
        assert_eq!(sealed(SLOTS_AT + 6, 161), RecordError::Field("reason text"));
        assert_eq!(
            sealed(SLOTS_AT + SLOT_BYTES + 7, 65),
            RecordError::Field("version text")
        );
        let mut torn: Vec<u8> = encode(&State::fresh()).to_vec();
        torn[40] = 1;
        assert_eq!(decode(&torn), Err(RecordError::Checksum));
        assert_eq!(decode(&torn[1..]), Err(RecordError::Short));
        assert_eq!(decode(&[0; RECORD_BYTES]), Err(RecordError::Empty));
    }
}
