//! Carries bytes between a session's process and its channel, and tells the client how it ended.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use russh::ChannelId;
use russh::server::Handle;
use rustix::io::Errno;
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};

use crate::session::{self, Job, Terminal};

/// Packets that may wait for a program that does not read. A packet has at most 32 KiB.
const QUEUE: usize = 256;
/// Between the hang-up and the end that nobody can refuse.
const GRACE: Duration = Duration::from_secs(2);
/// After the program has ended, for output of what it left running.
const DRAIN: Duration = Duration::from_millis(500);

/// When the person pressed a key last.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    begin: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
            last_ms: Arc::default(),
        }
    }
}

impl Activity {
    pub(crate) fn note(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Returns when nothing was noted for `limit`.
    pub(crate) async fn rest(&self, limit: Duration) {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        loop {
            let silent_ms = self
                .now_ms()
                .saturating_sub(self.last_ms.load(Ordering::Relaxed));
            let Some(left_ms) = limit_ms.checked_sub(silent_ms).filter(|left| *left > 0) else {
                return;
            };
            tokio::time::sleep(Duration::from_millis(left_ms)).await;
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The way to a session's standard input. Dropping it hangs up.
#[derive(Debug)]
pub(crate) struct Input {
    packets: Option<mpsc::Sender<Vec<u8>>>,
    _hang_up: oneshot::Sender<()>,
}

impl Input {
    /// False: the program has not read for too long.
    pub(crate) fn send(&self, data: &[u8]) -> bool {
        match self
            .packets
            .as_ref()
            .map(|packets| packets.try_send(data.to_vec()))
        {
            Some(Err(mpsc::error::TrySendError::Full(_))) => false,
            // A program that has closed its input misses nothing.
            _ => true,
        }
    }

    /// Nothing more comes.
    pub(crate) fn end(&mut self) {
        self.packets = None;
    }
}

/// Starts a job and carries its bytes until it has ended.
pub(crate) fn start(
    job: &Job,
    terminal: Option<&Terminal>,
    handle: Handle,
    id: ChannelId,
) -> io::Result<Input> {
    let (packets, to_program) = mpsc::channel(QUEUE);
    let (hang_up, hung_up) = oneshot::channel();
    let out = Out { handle, id };
    let (child, outputs) = match terminal {
        Some(terminal) => {
            let child = terminal.start(job)?;
            tokio::spawn(feed_terminal(Arc::clone(&terminal.master), to_program));
            let output = tokio::spawn(read_terminal(Arc::clone(&terminal.master), out.clone()));
            (child, vec![output])
        }
        None => {
            let mut child = session::start_piped(job)?;
            if let Some(input) = child.stdin.take() {
                tokio::spawn(feed(input, to_program));
            }
            let mut outputs = Vec::new();
            if let Some(output) = child.stdout.take() {
                outputs.push(tokio::spawn(read(output, out.clone(), None)));
            }
            if let Some(errors) = child.stderr.take() {
                outputs.push(tokio::spawn(read(errors, out.clone(), Some(1))));
            }
            (child, outputs)
        }
    };
    tokio::spawn(async move {
        let code = wait(child, hung_up).await;
        let drained = async {
            for output in outputs {
                output.await.ok();
            }
        };
        tokio::time::timeout(DRAIN, drained).await.ok();
        out.end(code).await;
    });
    Ok(Input {
        packets: Some(packets),
        _hang_up: hang_up,
    })
}

/// Waits for the end; hangs up when nobody is there any more.
async fn wait(mut child: Child, hung_up: oneshot::Receiver<()>) -> u32 {
    tokio::select! {
        status = child.wait() => return status.map_or(255, session::exit_code),
        _ = hung_up => {}
    }
    session::signal(&child, Signal::HUP);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        session::signal(&child, Signal::KILL);
        child.wait().await.ok();
    }
    255
}

#[derive(Clone)]
struct Out {
    handle: Handle,
    id: ChannelId,
}

impl Out {
    /// False: nobody listens any more.
    async fn send(&self, bytes: &[u8], kind: Option<u32>) -> bool {
        let bytes = bytes.to_vec();
        match kind {
            None => self.handle.data(self.id, bytes).await.is_ok(),
            Some(kind) => self
                .handle
                .extended_data(self.id, kind, bytes)
                .await
                .is_ok(),
        }
    }

    async fn end(&self, code: u32) {
        // Each fails only when the connection is gone.
        self.handle.exit_status_request(self.id, code).await.ok();
        self.handle.eof(self.id).await.ok();
        self.handle.close(self.id).await.ok();
    }
}

async fn feed(mut input: tokio::process::ChildStdin, mut packets: mpsc::Receiver<Vec<u8>>) {
    while let Some(packet) = packets.recv().await {
        if input.write_all(&packet).await.is_err() {
            return;
        }
    }
}

async fn read(mut output: impl tokio::io::AsyncRead + Unpin, out: Out, kind: Option<u32>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = output.read(&mut bytes).await {
        if !out.send(&bytes[..count], kind).await {
            return;
        }
    }
}

async fn feed_terminal(
    master: Arc<AsyncFd<std::os::fd::OwnedFd>>,
    mut packets: mpsc::Receiver<Vec<u8>>,
) {
    while let Some(packet) = packets.recv().await {
        let mut rest = packet.as_slice();
        while !rest.is_empty() {
            let Ok(mut ready) = master.writable().await else {
                return;
            };
            match ready.try_io(|master| Ok(rustix::io::write(master.get_ref(), rest)?)) {
                Ok(Ok(count)) => rest = &rest[count..],
                Ok(Err(error)) if Errno::from_io_error(&error) == Some(Errno::INTR) => {}
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
    }
}

async fn read_terminal(master: Arc<AsyncFd<std::os::fd::OwnedFd>>, out: Out) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let Ok(mut ready) = master.readable().await else {
            return;
        };
        let count = match ready.try_io(|master| Ok(rustix::io::read(master.get_ref(), &mut bytes)?))
        {
            Ok(Ok(count @ 1..)) => count,
            Ok(Err(error)) if Errno::from_io_error(&error) == Some(Errno::INTR) => continue,
            // EIO: nobody has the other end open any more.
            Ok(_) => return,
            Err(_) => continue,
        };
        drop(ready);
        if !out.send(&bytes[..count], None).await {
            return;
        }
    }
}
