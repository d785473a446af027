//! Whether somebody's equipment is at the other end of a serial line.
#![expect(
    unsafe_code,
    reason = "no library that is in use here wraps this one ioctl"
)]

use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `TIOCMGET` of tty_ioctl(4) has had this number since before numbers were structured.
const TIOCMGET: Opcode = 0x5415;
/// Data carrier detect.
const TIOCM_CD: u32 = 0x040;

/// Whether the line's carrier is there. Many cables have no wire for it, and pseudo-terminals and
/// screens have none either: false.
pub(crate) fn is_there(terminal: impl AsFd) -> bool {
    // SAFETY: TIOCMGET writes one int (tty_ioctl(4)), which is what the Getter has room for.
    let lines = unsafe { ioctl(terminal, Getter::<{ TIOCMGET }, u32>::new()) };
    lines.is_ok_and(|lines| lines & TIOCM_CD != 0)
}
