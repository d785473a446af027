use std::io::{self, Read, Write};

use tokio::sync::mpsc::{Receiver, Sender};

/// What the owner brings, for a worker that reads.
#[derive(Debug)]
pub(crate) struct Source {
    chunks: Receiver<Option<Vec<u8>>>,
    rest: Vec<u8>,
    is_over: bool,
}

impl Source {
    pub(super) fn new(chunks: Receiver<Option<Vec<u8>>>) -> Self {
        Self {
            chunks,
            rest: Vec::new(),
            is_over: false,
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.is_over {
            match self.chunks.blocking_recv() {
                Some(Some(chunk)) => self.rest = chunk,
                Some(None) => self.is_over = true,
                // Half a file must not pass for a whole one.
                None => return Err(cut_off()),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }
}

/// What the owner fetches, for a worker that writes.
#[derive(Debug)]
pub(crate) struct Target(Sender<Vec<u8>>);

impl Target {
    pub(super) fn new(chunks: Sender<Vec<u8>>) -> Self {
        Self(chunks)
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(super::CHUNK_MAX_BYTES);
        let sent = self.0.blocking_send(bytes[..length].to_vec());
        // Not `Interrupted`, which `write_all` tries again.
        sent.map_err(|_| cut_off())?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the job was cancelled")
}
