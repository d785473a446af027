//! The serial line as a person sees it: a terminal of 80 columns and 24 lines.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// The appliance's first serial port. What comes is drained, kept and logged from the start.
#[derive(Debug)]
pub struct Serial {
    stream: UnixStream,
    received: Arc<Mutex<Received>>,
}

struct Received {
    bytes: Vec<u8>,
    terminal: vt100::Parser,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Serial {
    /// Takes the other end of the line at `socket`; everything goes to the file `log` too.
    pub fn connect(socket: &Path, log: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connect to the serial line at {}", socket.display()))?;
        let mut log = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let mut reader = stream
            .try_clone()
            .context("clone the serial line's socket")?;
        let received = Arc::new(Mutex::new(Received {
            bytes: Vec::new(),
            terminal: vt100::Parser::new(ROWS, COLUMNS, 0),
        }));
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Ends with QEMU, or with this end.
            while let Ok(length @ 1..) = reader.read(&mut chunk) {
                let _ = log.write_all(&chunk[..length]);
                let mut received = kept.lock().unwrap_or_else(PoisonError::into_inner);
                received.bytes.extend_from_slice(&chunk[..length]);
                received.terminal.process(&chunk[..length]);
            }
        });
        Ok(Self { stream, received })
    }

    /// Types `keys`.
    pub fn send(&mut self, keys: &[u8]) -> Result<()> {
        self.stream
            .write_all(keys)
            .context("type on the serial line")
    }

    /// What the terminal shows now.
    #[must_use]
    pub fn screen(&self) -> String {
        self.received().terminal.screen().contents()
    }

    /// How many bytes came so far: the place from which [`Serial::since`] reads.
    #[must_use]
    pub fn position(&self) -> usize {
        self.received().bytes.len()
    }

    /// What came after `position`, with what is not UTF-8 replaced.
    #[must_use]
    pub fn since(&self, position: usize) -> String {
        let received = self.received();
        String::from_utf8_lossy(received.bytes.get(position..).unwrap_or_default()).into_owned()
    }

    fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        // Lets the reading thread end although it holds a clone.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
