//! One terminal: opened without becoming anybody's controlling terminal, raw, never waited for, and
//! given back as it was found.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector,
    SpecialCodeIndex, Termios, Winsize, tcflush, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use zeroize::Zeroizing;

use crate::carrier;
use crate::core::Core;
use crate::input::{Key, Parser};
use crate::model::Snapshot;
use crate::screen::{CLEAR, GOODBYE, Painter, Size};

/// A terminal that is open.
#[derive(Debug)]
pub(crate) struct Terminal {
    device: OwnedFd,
    found: Termios,
    parser: Parser,
    painter: Painter,
    /// What the device has not taken yet. The next page is drawn only when this is empty, so a slow
    /// line gets fewer pages instead of old ones.
    out: Vec<u8>,
    pub(crate) core: Core,
}

impl Terminal {
    /// Opens `device` and takes it over.
    pub(crate) fn open(device: &Path) -> io::Result<Self> {
        // NONBLOCK: opening a serial line must not wait for a carrier.
        let flags = OFlags::NONBLOCK.union(OFlags::NOCTTY);
        let opened: OwnedFd = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(device)?
            .into();
        let found = tcgetattr(&opened)?;
        tcsetattr(&opened, OptionalActions::Now, &raw(found.clone()))?;
        Ok(Self {
            device: opened,
            found,
            parser: Parser::default(),
            painter: Painter::new(is_screen(device)),
            out: Vec::new(),
            core: Core::default(),
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// What the kernel knows of the size; a serial line's is not known to anybody.
    pub(crate) fn size(&self) -> Size {
        match tcgetwinsize(&self.device) {
            Ok(size) => Size::new(size.ws_col, size.ws_row),
            Err(_) => Size::VT100,
        }
    }

    /// What has come, in small portions so that a flood does not stop everything else. It may be
    /// part of a password.
    pub(crate) fn read(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(vec![0; 64]);
        let count = match rustix::io::read(&self.device, bytes.as_mut_slice()) {
            Ok(0) => return Err(io::Error::other("the line was hung up")),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        bytes.truncate(count);
        Ok(bytes)
    }

    /// The key that a byte completes.
    pub(crate) fn key(&mut self, byte: u8) -> Option<Key> {
        self.parser.push(byte)
    }

    /// Gives the line to a person's session: as terminals usually are, with `notice` on it.
    pub(crate) fn lend(&mut self, notice: &str) -> io::Result<()> {
        if tcgetwinsize(&self.device).is_ok_and(|size| size.ws_row == 0 || size.ws_col == 0) {
            // Programs take an unknown size for no room at all.
            let vt100 = Winsize {
                ws_row: 24,
                ws_col: 80,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(&self.device, vt100)?;
        }
        // The page's last bytes are of no use to anybody, and the notice must not wait for them.
        self.out.clear();
        tcflush(&self.device, QueueSelector::IOFlush)?;
        let has_carrier = carrier::is_there(&self.device);
        let cooked = cooked(self.found.clone(), has_carrier);
        tcsetattr(&self.device, OptionalActions::Now, &cooked)?;
        self.out.extend_from_slice(CLEAR);
        self.out.extend_from_slice(notice.as_bytes());
        self.flush()
    }

    /// Takes the line back. What was typed meanwhile was not meant for the page.
    pub(crate) fn take_back(&mut self) -> io::Result<()> {
        self.out.clear();
        self.parser = Parser::default();
        tcsetattr(
            &self.device,
            OptionalActions::Flush,
            &raw(self.found.clone()),
        )?;
        self.repaint();
        Ok(())
    }

    /// Whether an ESC waits for what may follow it.
    pub(crate) fn waits(&self) -> bool {
        self.parser.waits()
    }

    /// Nothing followed.
    pub(crate) fn pause(&mut self) -> Option<Key> {
        self.parser.pause()
    }

    /// The next page is sent in full.
    pub(crate) fn repaint(&mut self) {
        self.painter.forget();
    }

    pub(crate) fn toggle_colours(&mut self) {
        self.painter.toggle_colours();
    }

    /// Whether the device has still to take what it was given.
    pub(crate) fn is_busy(&self) -> bool {
        !self.out.is_empty()
    }

    /// Draws the page as it is now. Only for a device that is not busy.
    pub(crate) fn draw(&mut self, now_ms: u64, snapshot: &Snapshot) -> io::Result<()> {
        let frame = self.core.frame(now_ms, snapshot, self.size());
        self.painter.paint(&frame, &mut self.out);
        self.flush()
    }

    /// Gives the device what it takes without waiting.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match rustix::io::write(&self.device, &self.out) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A line that is stuck would keep close(2) waiting for 30 s: what it did not take is lost.
        if self.is_busy() {
            tcflush(&self.device, QueueSelector::OFlush).ok();
        }
        rustix::io::write(&self.device, GOODBYE).ok();
        tcsetattr(&self.device, OptionalActions::Now, &self.found).ok();
    }
}

/// Keys as they are typed, unechoed; speed and parity stay as the kernel's console has set them.
fn raw(mut termios: Termios) -> Termios {
    termios.input_modes = InputModes::IGNBRK;
    // Others may write lines on the same line: theirs shall begin at the left edge, too.
    termios.output_modes = OutputModes::OPOST | OutputModes::ONLCR;
    termios.local_modes = LocalModes::empty();
    // Without CLOCAL a missing carrier would hang the line up.
    termios.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    termios.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios.special_codes[SpecialCodeIndex::VTIME] = 0;
    termios
}

/// As getty(8) would leave it. With a carrier its loss ends the session; a cable without that wire
/// must not.
fn cooked(mut termios: Termios, has_carrier: bool) -> Termios {
    termios.input_modes = InputModes::ICRNL | InputModes::IXON | InputModes::IUTF8;
    termios.output_modes = OutputModes::OPOST | OutputModes::ONLCR;
    termios.local_modes = LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHOCTL
        | LocalModes::ECHOKE
        | LocalModes::IEXTEN;
    termios.control_modes |= ControlModes::CREAD;
    termios
        .control_modes
        .set(ControlModes::CLOCAL, !has_carrier);
    termios.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios.special_codes[SpecialCodeIndex::VTIME] = 0;
    for (code, byte) in [
        (SpecialCodeIndex::VINTR, 0x03),
        (SpecialCodeIndex::VQUIT, 0x1c),
        (SpecialCodeIndex::VERASE, 0x7f),
        (SpecialCodeIndex::VKILL, 0x15),
        (SpecialCodeIndex::VEOF, 0x04),
        (SpecialCodeIndex::VSUSP, 0x1a),
    ] {
        termios.special_codes[code] = byte;
    }
    termios
}

/// The kernel's own screens have colours; of what hangs on a line nothing is known.
pub(crate) fn is_screen(device: &Path) -> bool {
    let name = device.to_string_lossy();
    let number = name.strip_prefix("/dev/tty");
    number.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty())
}

/// A terminal that may be there or come back.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) path: PathBuf,
    pub(crate) terminal: Option<Terminal>,
    /// When it is tried again, and how long after that.
    retry_at_ms: u64,
    retry_after_ms: u64,
    /// What was logged last, so that a line that is not there does not fill the log.
    logged: String,
}

const RETRY_FIRST_MS: u64 = 1_000;
const RETRY_LAST_MS: u64 = 30_000;

impl Slot {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            terminal: None,
            retry_at_ms: 0,
            retry_after_ms: RETRY_FIRST_MS,
            logged: String::new(),
        }
    }

    /// When [`Slot::open`] would do something, or nothing while the terminal is open.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.terminal.is_none().then_some(self.retry_at_ms)
    }

    /// Opens the terminal if it is time.
    pub(crate) fn open(&mut self, now_ms: u64) {
        if self.terminal.is_some() || now_ms < self.retry_at_ms {
            return;
        }
        match Terminal::open(&self.path) {
            Ok(terminal) => {
                tracing::info!(device = %self.path.display(), "showing the page");
                self.terminal = Some(terminal);
                self.logged.clear();
            }
            Err(error) => self.lost(now_ms, &error),
        }
    }

    /// Does something with the terminal; an error closes it until later, and touches no other.
    pub(crate) fn with(&mut self, now_ms: u64, work: impl FnOnce(&mut Terminal) -> io::Result<()>) {
        if let Some(terminal) = &mut self.terminal
            && let Err(error) = work(terminal)
        {
            self.terminal = None;
            self.retry_after_ms = RETRY_FIRST_MS;
            self.lost(now_ms, &error);
        }
    }

    fn lost(&mut self, now_ms: u64, error: &io::Error) {
        self.retry_at_ms = now_ms.saturating_add(self.retry_after_ms);
        self.retry_after_ms = (self.retry_after_ms * 2).min(RETRY_LAST_MS);
        let text = error.to_string();
        if text != self.logged {
            tracing::info!(device = %self.path.display(), error = text, "no terminal, trying again");
            self.logged = text;
        }
    }
}
