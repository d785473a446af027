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
    SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
};

use crate::core::Core;
use crate::input::{Key, Parser};
use crate::model::Snapshot;
use crate::screen::{GOODBYE, Painter, Size};

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
            painter: Painter::new(has_colours(device)),
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

    /// The keys that have come, in small portions so that a flood does not stop everything else.
    pub(crate) fn keys(&mut self) -> io::Result<Vec<Key>> {
        let mut bytes = [0; 64];
        match rustix::io::read(&self.device, &mut bytes) {
            Ok(0) => Err(io::Error::other("the line was hung up")),
            Ok(count) => {
                let parser = &mut self.parser;
                let keys = bytes[..count].iter().filter_map(|b| parser.push(*b));
                Ok(keys.collect())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
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

/// The kernel's own screens have colours; of what hangs on a line nothing is known.
fn has_colours(device: &Path) -> bool {
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
