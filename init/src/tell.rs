//! PID 1's own messages: to the kernel's log, and to the console until a service takes it over.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use crate::event::Level;

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Teller {
    kmsg: Option<File>,
    console: Option<File>,
    /// No service owns the console yet.
    pub(crate) progress: bool,
}

impl Teller {
    /// On a machine. `/dev/console` must exist.
    pub(crate) fn machine() -> Self {
        // Non-blocking: a serial line that takes no output must not stop PID 1.
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let open = |path: &str| {
            let mut options = File::options();
            options.write(true).custom_flags(flags).open(path).ok()
        };
        Self {
            kmsg: open("/dev/kmsg"),
            console: open("/dev/console"),
            progress: true,
        }
    }

    /// Everything to standard error.
    pub(crate) fn contained() -> Self {
        Self {
            kmsg: None,
            console: None,
            progress: true,
        }
    }

    pub(crate) fn tell(&mut self, level: Level, text: &str) {
        let priority = match level {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Info => 6,
        };
        match &mut self.kmsg {
            // One write is one record. Nobody could be told when it fails.
            Some(kmsg) => drop(kmsg.write_all(format!("<{priority}>x0: {text}\n").as_bytes())),
            None if self.console.is_none() => eprintln!("x0: {text}"),
            None => {}
        }
        if self.progress {
            self.console(text);
        }
    }

    /// To the console, whoever owns it.
    pub(crate) fn console(&mut self, text: &str) {
        if let Some(console) = &mut self.console {
            console.write_all(format!("x0: {text}\r\n").as_bytes()).ok();
        }
    }
}
