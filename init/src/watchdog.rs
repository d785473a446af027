//! The hardware watchdog: if PID 1 stops petting it, the machine resets.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::event::Moment;
use crate::state::SavedWatchdog;
use crate::sys;

/// After so long without a sign of life the hardware resets the machine.
const TIMEOUT_S: i32 = 30;
const PET_EVERY_MS: u64 = 8_000;

/// `WDIOF_CARDRESET`: the last reset was the watchdog's.
const CARD_RESET: i32 = 0x20;

/// An open watchdog.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: File,
    petted: Moment,
    pub(crate) timeout_s: i32,
    /// It reset the machine before this boot.
    pub(crate) fired: bool,
}

impl Watchdog {
    /// Opens the first watchdog, which arms it.
    pub(crate) fn open(now: Moment) -> Option<Self> {
        let device = File::options().write(true).open("/dev/watchdog0").ok()?;
        let timeout_s = sys::set_watchdog_timeout_s(&device, TIMEOUT_S).unwrap_or(0);
        let fired = sys::watchdog_boot_status(&device).is_ok_and(|flags| flags & CARD_RESET != 0);
        let mut watchdog = Self {
            device,
            petted: now,
            timeout_s,
            fired,
        };
        watchdog.pet(now);
        Some(watchdog)
    }

    /// One that an earlier PID 1 opened.
    pub(crate) fn adopt(device: OwnedFd, saved: &SavedWatchdog) -> Self {
        Self {
            device: device.into(),
            petted: saved.petted,
            timeout_s: saved.timeout_s,
            fired: saved.fired,
        }
    }

    pub(crate) fn save(&self) -> SavedWatchdog {
        SavedWatchdog {
            fd: self.device.as_raw_fd(),
            petted: self.petted,
            timeout_s: self.timeout_s,
            fired: self.fired,
        }
    }

    pub(crate) fn deadline(&self) -> Moment {
        self.petted.after_ms(PET_EVERY_MS)
    }

    pub(crate) fn pet_when_due(&mut self, now: Moment) {
        if self.deadline() <= now {
            self.pet(now);
        }
    }

    /// Before power off. A machine that only restarts keeps it armed: a hang in the firmware or the
    /// kernel on the way is then cut short as well.
    pub(crate) fn disarm(mut self) {
        // The magic close of linux/watchdog-api: without this letter closing does not disarm.
        self.device.write_all(b"V").ok();
    }

    fn pet(&mut self, now: Moment) {
        // Failure to pet is answered by the hardware, in the only way that helps.
        self.device.write_all(b"\n").ok();
        self.petted = now;
    }
}
