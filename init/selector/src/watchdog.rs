//! Watchdogs from here to PID 1.
//!
//! Two of them: the firmware's own, which covers the time until the kernel takes
//! over the machine (`ExitBootServices` ends it), and the hardware's where there
//! is one, which goes on. The only hardware so far is in module [`i6300esb`].
//!
//! # Is there a gap?
//!
//! Linux 6.12's `i6300esb` driver does not take over a running timer: its probe
//! writes 0 to the lock register, which *stops* the watchdog until somebody opens
//! /dev/watchdog, and it does not report the hardware as running, so
//! `watchdog.open_timeout=` has no effect on it. A hang between probe and PID 1
//! would last for ever. Therefore the selector sets the LOCK bit: until the next
//! hardware reset nothing can stop the timer, the probe's write included (it
//! says "nowayout already set"). The probe still sets its own timeout of 30 s and
//! reloads, so PID 1 has 30 s from there to open the device. No gap is left; the
//! price is that the watchdog also runs through an orderly shutdown, which has to
//! be over within PID 1's timeout.
//!
//! Where no hardware watchdog is found, the time from `ExitBootServices` to the
//! kernel's own watchdog driver is not covered.

use core::time::Duration;

use bootstate::Watchdog;
use uefi::boot;

use self::i6300esb::I6300esb;

mod i6300esb;

/// From the selector's start to the probe of the kernel's driver.
const TIMEOUT: Duration = Duration::from_secs(90);
const TIMEOUT_S: u16 = 90;
/// Codes below 0x10000 are the firmware's own.
const FIRMWARE_CODE: u64 = 0x1_0000;

pub(crate) struct Armed {
    pub(crate) kind: Watchdog,
    /// The last reset was the hardware watchdog's.
    pub(crate) expired_before: bool,
    device: Option<I6300esb>,
}

pub(crate) fn arm() -> Armed {
    let firmware = arm_firmware();
    let mut device = I6300esb::find();
    let expired_before = device.as_mut().is_some_and(I6300esb::has_expired);
    let device = device.and_then(|mut device| device.arm(TIMEOUT_S).is_ok().then_some(device));
    let kind = match (&device, firmware) {
        (Some(_), _) => Watchdog::I6300esb {
            timeout_s: TIMEOUT_S,
        },
        (None, true) => Watchdog::Firmware {
            timeout_s: TIMEOUT_S,
        },
        (None, false) => Watchdog::None,
    };
    Armed {
        kind,
        expired_before,
        device,
    }
}

impl Armed {
    /// Gives the kernel the full time.
    pub(crate) fn restart(&mut self) {
        arm_firmware();
        if let Some(device) = &mut self.device {
            // It runs already; what is left of its time has to do.
            let _ = device.reload();
        }
    }
}

fn arm_firmware() -> bool {
    let seconds = usize::try_from(TIMEOUT.as_secs()).expect("a minute fits any word");
    boot::set_watchdog_timer(seconds, FIRMWARE_CODE, None).is_ok()
}
