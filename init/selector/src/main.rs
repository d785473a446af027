//! The slot selector: from firmware to a signed kernel image in one of two slots.
//!
//! Responsible for: taking one try off the slot it chooses, writing that down
//! before it starts anything, arming the watchdogs, and leaving a slot that
//! cannot be loaded for the other one. It always ends in a started slot or in a
//! reset; it never waits for a person.
//!
//! Not responsible for: the signature of what it starts (the firmware checks it
//! in `LoadImage`), nor for whether a boot was healthy (PID 1 writes that).
//!
//! Talks to: the firmware's block devices, and Linux through BOOTSTATE (crate
//! `bootstate`, which holds all logic that can be tested on the host).
//!
//! It takes no input but the disk it was started from, and passes nothing on to
//! the kernel: the command line is inside the signed image.

#![no_std]
#![no_main]

use core::time::Duration;

use uefi::runtime::ResetType;
use uefi::{Status, boot, entry, runtime};

use crate::console::say;

mod console;
mod disk;
mod memory;
mod select;
mod slot;
mod store;
mod watchdog;

/// Long enough to be read, short enough for a machine that nobody watches.
const MESSAGE_TIME: Duration = Duration::from_secs(5);

#[entry]
fn main() -> Status {
    let failure = select::run();
    say!("x0: {failure}");
    reset()
}

fn reset() -> ! {
    say!("x0: the machine is reset in {} s", MESSAGE_TIME.as_secs());
    boot::stall(MESSAGE_TIME);
    runtime::reset(ResetType::COLD, Status::ABORTED, None)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("x0: selector: {info}");
    reset()
}
