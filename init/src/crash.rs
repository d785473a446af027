//! What happens when PID 1 itself fails. Once per boot it executes itself anew and goes on with its
//! last record ([`crate::state`]): at most the turn of the loop in which it failed is lost. Failing
//! again it says why and dies: the kernel panics, pstore keeps its last messages, and the machine
//! resets (`panic=5`); the slot selector does the rest.
//!
//! A PID 1 that freezes instead, as others do, leaves a machine that nobody reaps for and that only
//! a power cut brings back.

use std::ffi::{c_int, c_void};
use std::io::Write;
use std::panic::PanicHookInfo;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use crate::sys::{self, PreparedProgram, Program};

/// Opened before anything can go wrong: a handler can't open files.
static KMSG: AtomicI32 = AtomicI32::new(-1);
/// What to execute, with a last argument that is to be filled in.
static SUCCESSOR: AtomicPtr<PreparedProgram> = AtomicPtr::new(ptr::null_mut());
/// The highest descriptor that the record names; -1 while there is no record to go on with.
static HIGHEST: AtomicI32 = AtomicI32::new(-1);

/// Installs the panic hook and the handlers of fatal signals.
pub(crate) fn install() {
    KMSG.store(sys::open_for_ever(c"/dev/kmsg"), Ordering::Relaxed);
    std::panic::set_hook(Box::new(on_panic));
    let fatal = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGABRT,
        libc::SIGFPE,
    ];
    // SAFETY: the handler below does nothing but write(2), fcntl(2), execve(2) and _exit(2) on memory
    // that was prepared before.
    let installed = unsafe { sys::on_fault(&fatal, on_fault) };
    installed.expect("these signals exist and the stack is large enough");
}

/// Says what to execute; why is appended as its last argument.
pub(crate) fn prepare(successor: Program) {
    let prepared = Box::leak(Box::new(successor.prepare()));
    SUCCESSOR.store(prepared, Ordering::Release);
}

/// There is a record to go on with.
pub(crate) fn arm(highest_fd: c_int) {
    HIGHEST.store(highest_fd, Ordering::Release);
}

/// There is none.
pub(crate) fn disarm() {
    HIGHEST.store(-1, Ordering::Release);
}

fn on_panic(panic: &PanicHookInfo<'_>) {
    let mut line = Line::new("<2>x0: PID 1 panicked");
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    if let Some(place) = panic.location() {
        write!(line, " at {}:{}", place.file(), place.line()).ok();
    }
    write!(line, ": {}", message.unwrap_or("no message")).ok();
    line.come_back_or_die(101);
}

extern "C" fn on_fault(signal: c_int, _info: *const libc::siginfo_t, _context: *mut c_void) {
    let mut line = Line::new("<2>x0: PID 1 got fatal signal");
    write!(line, " {signal}").ok();
    line.come_back_or_die(128 + signal);
}

/// A message without any allocation.
struct Line {
    bytes: [u8; 240],
    length: usize,
}

/// `<2>x0: `, which the kernel's log wants and the next program doesn't.
const PREFIX_BYTES: usize = 7;

impl Line {
    fn new(start: &str) -> Self {
        let mut line = Self {
            bytes: [0; 240],
            length: 0,
        };
        line.write_all(start.as_bytes()).ok();
        line
    }

    fn come_back_or_die(mut self, status: c_int) -> ! {
        let highest = HIGHEST.swap(-1, Ordering::AcqRel);
        // SAFETY: the pointer is null or was leaked by `prepare`, which shares it with nobody.
        let successor = unsafe { SUCCESSOR.swap(ptr::null_mut(), Ordering::AcqRel).as_mut() };
        if let (Some(successor), 3..) = (successor, highest) {
            for fd in 3..=highest {
                sys::keep_over_exec(fd, true);
            }
            self.length = self.length.min(self.bytes.len() - 1);
            self.bytes[self.length] = 0;
            let text = self.bytes.get(PREFIX_BYTES..=self.length);
            if let Some(text) =
                text.and_then(|text| std::ffi::CStr::from_bytes_until_nul(text).ok())
            {
                successor.exec_with(text);
            }
        }
        self.die(status)
    }

    fn die(mut self, status: c_int) -> ! {
        let end = b"; it ends now, and the machine resets\n";
        self.length = self.length.min(self.bytes.len() - end.len());
        self.write_all(end).ok();
        let text = &self.bytes[..self.length];
        sys::write_raw(KMSG.load(Ordering::Relaxed), text);
        sys::write_raw(2, text.get(3..).unwrap_or_default());
        sys::exit(status)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = &mut self.bytes[self.length..];
        let length = room.len().min(bytes.len());
        room[..length].copy_from_slice(&bytes[..length]);
        self.length += length;
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
