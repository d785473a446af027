//! The virtio port, read line by line.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Ports are announced by the hypervisor one by one after the kernel has started.
const MAY_TAKE: Duration = Duration::from_secs(5);
/// How often is looked for the port and for a host at its other end. There is no event for
/// either: without a host a port reports its hang-up whenever it is asked.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// No request is longer.
const MAX_LINE_BYTES: usize = 1 << 16;

pub(crate) struct Port {
    file: File,
    received: Vec<u8>,
}

impl Port {
    /// Opens the port as soon as it is there; nothing when it does not come, or the service is to
    /// stop.
    pub(crate) fn wait_for(path: &str, shutdown: impl AsFd) -> io::Result<Option<Self>> {
        let deadline = Instant::now() + MAY_TAKE;
        while !Path::new(path).exists() {
            if Instant::now() >= deadline || pause(&shutdown)? {
                return Ok(None);
            }
        }
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Some(Self {
            file,
            received: Vec::new(),
        }))
    }

    /// The next line without its end; nothing when the service is to stop.
    pub(crate) fn line(&mut self, shutdown: impl AsFd) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.received.len() > MAX_LINE_BYTES {
                self.received.clear();
            }
            let (host, port) = {
                let mut fds = [
                    PollFd::new(&self.file, PollFlags::IN),
                    PollFd::new(&shutdown, PollFlags::IN),
                ];
                wait(&mut fds, None)?;
                if fds[1].revents().contains(PollFlags::IN) {
                    return Ok(None);
                }
                let port = fds[0].revents();
                (!port.contains(PollFlags::HUP), port)
            };
            if host && port.contains(PollFlags::IN) {
                let mut chunk = [0; 4096];
                let length = self.file.read(&mut chunk)?;
                self.received.extend_from_slice(&chunk[..length]);
            } else if !host {
                // Half a line of a host that left is of no use to the next one.
                self.received.clear();
                if pause(&shutdown)? {
                    return Ok(None);
                }
            }
        }
    }

    /// Answers. A host that left gets no answer, and that is no error.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

/// Waits a little; true when the service is to stop.
fn pause(shutdown: &impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(shutdown, PollFlags::IN)];
    wait(&mut fds, Some(&LOOK))?;
    Ok(fds[0].revents().contains(PollFlags::IN))
}

fn wait(fds: &mut [PollFd<'_>], limit: Option<&Timespec>) -> io::Result<()> {
    match poll(fds, limit) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
