//! The facts that a record holds.

use core::fmt;
use core::ops::{Index, IndexMut};

use crate::text::Text;

/// Tries a slot gets when it is new, committed or unbanned.
pub const TRIES_MAX: u8 = 3;
/// No record may hold more: each try is a reboot that a router's users wait for.
pub const TRIES_LIMIT: u8 = 15;

/// Booted before all others: a new image on trial.
pub(crate) const PRIORITY_TRIAL: u8 = 20;
/// The slot that was healthy last.
pub(crate) const PRIORITY_COMMITTED: u8 = 15;
/// The slot to fall back to.
pub(crate) const PRIORITY_FALLBACK: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotId {
    A,
    B,
}

impl SlotId {
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// As in `x0.slot=a` on the kernel's command line.
    #[must_use]
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "a" | "A" => Some(Self::A),
            "b" | "B" => Some(Self::B),
            _ => None,
        }
    }

    /// PARTLABEL of the partition with this slot's kernel image.
    #[must_use]
    pub fn boot_partition(self) -> &'static str {
        match self {
            Self::A => "BOOT-A",
            Self::B => "BOOT-B",
        }
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Why a slot failed. Numbers are for ever: see the crate's compatibility rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ReasonCode(pub u16);

impl ReasonCode {
    pub const NONE: Self = Self(0);
    /// All tries used without a healthy boot, and nobody said why.
    pub const STRUCK_OUT: Self = Self(1);
    /// The slot's partition is missing or could not be read.
    pub const UNREADABLE: Self = Self(2);
    /// The image is no valid PE image, or its hash is not the signed one.
    pub const CORRUPT: Self = Self(3);
    /// The firmware refused the image's signature.
    pub const REFUSED: Self = Self(4);
    /// The firmware could not load the image for another reason.
    pub const LOAD_FAILED: Self = Self(5);
    /// The image returned to the selector instead of starting a kernel.
    pub const RETURNED: Self = Self(6);
    /// Both records were unreadable; what was known about the slot is lost.
    pub const STATE_LOST: Self = Self(7);
    /// Userland ran and never became healthy.
    pub const UNHEALTHY: Self = Self(8);
    /// The kernel or PID 1 panicked.
    pub const PANIC: Self = Self(9);
    /// The hardware watchdog reset the machine.
    pub const WATCHDOG: Self = Self(10);
    /// A person banned the slot.
    pub const OPERATOR: Self = Self(11);

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NONE => "none",
            Self::STRUCK_OUT => "struck out",
            Self::UNREADABLE => "unreadable",
            Self::CORRUPT => "corrupt",
            Self::REFUSED => "signature refused",
            Self::LOAD_FAILED => "not loaded",
            Self::RETURNED => "returned",
            Self::STATE_LOST => "records lost",
            Self::UNHEALTHY => "unhealthy",
            Self::PANIC => "panic",
            Self::WATCHDOG => "watchdog",
            Self::OPERATOR => "operator",
            _ => "unknown reason",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reason {
    pub code: ReasonCode,
    pub text: Text<160>,
}

impl Reason {
    pub const NONE: Self = Self {
        code: ReasonCode::NONE,
        text: Text::EMPTY,
    };

    #[must_use]
    pub fn new(code: ReasonCode, text: &str) -> Self {
        Self {
            code,
            text: Text::new(text),
        }
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        self.code == ReasonCode::NONE && self.text.is_empty()
    }

    /// Somebody knew why the slot failed.
    #[must_use]
    pub fn explains_a_failure(&self) -> bool {
        !self.is_none() && self.code != ReasonCode::STATE_LOST
    }
}

/// `corrupt: hash differs from the signed one`
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

/// What the selector armed before it started the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Watchdog {
    #[default]
    None,
    /// The firmware's own, which ends when the kernel takes over the machine.
    Firmware {
        timeout_s: u16,
    },
    I6300esb {
        timeout_s: u16,
    },
    /// Written by a newer selector.
    Unknown {
        kind: u8,
        timeout_s: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub priority: u8,
    /// At most [`TRIES_LIMIT`].
    pub tries: u8,
    /// Was healthy at least once since its image was written.
    pub good: bool,
    /// Failed; booted only when no other slot is left.
    pub banned: bool,
    /// Of the last failure; kept while the slot is banned.
    pub reason: Reason,
    pub version: Text<64>,
    pub security_epoch: u32,
    pub(crate) reserved: SlotReserved,
}

/// See the crate's compatibility rule.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotReserved {
    pub(crate) flags: u8,
    pub(crate) after_flags: u8,
    pub(crate) after_epoch: [u8; 4],
    pub(crate) tail: [u8; 272],
}

impl fmt::Debug for SlotReserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl Slot {
    #[must_use]
    pub fn new(priority: u8) -> Self {
        Self {
            priority,
            tries: TRIES_MAX,
            good: false,
            banned: false,
            reason: Reason::NONE,
            version: Text::EMPTY,
            security_epoch: 0,
            reserved: SlotReserved {
                flags: 0,
                after_flags: 0,
                after_epoch: [0; 4],
                tail: [0; 272],
            },
        }
    }
}

/// One record's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub(crate) sequence: u64,
    /// How often a slot was started, this boot included.
    pub boots: u64,
    pub last: Option<SlotId>,
    pub watchdog: Watchdog,
    pub(crate) slots: [Slot; 2],
    pub(crate) reserved: StateReserved,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateReserved {
    pub(crate) after_watchdog: [u8; 2],
    pub(crate) head: [u8; 32],
    pub(crate) tail: [u8; 3004],
}

impl fmt::Debug for StateReserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl State {
    /// A new disk: both slots hold the same, untested image; A first.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            sequence: 1,
            boots: 0,
            last: None,
            watchdog: Watchdog::None,
            slots: [Slot::new(PRIORITY_COMMITTED), Slot::new(PRIORITY_FALLBACK)],
            reserved: StateReserved {
                after_watchdog: [0; 2],
                head: [0; 32],
                tail: [0; 3004],
            },
        }
    }

    /// What to go on with when neither record can be read: as a new disk, and
    /// each slot says so.
    #[must_use]
    pub fn lost() -> Self {
        let mut state = Self::fresh();
        for slot in SlotId::ALL {
            state[slot].reason = Reason::new(
                ReasonCode::STATE_LOST,
                "both BOOTSTATE records were unreadable",
            );
        }
        state
    }

    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Index<SlotId> for State {
    type Output = Slot;

    fn index(&self, slot: SlotId) -> &Slot {
        match slot {
            SlotId::A => &self.slots[0],
            SlotId::B => &self.slots[1],
        }
    }
}

impl IndexMut<SlotId> for State {
    fn index_mut(&mut self, slot: SlotId) -> &mut Slot {
        match slot {
            SlotId::A => &mut self.slots[0],
            SlotId::B => &mut self.slots[1],
        }
    }
}
