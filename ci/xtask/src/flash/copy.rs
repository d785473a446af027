//! Copies an image by its block map, and reads back what was written.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::image::BlockMap;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

pub(super) const MIB: u64 = 1024 * 1024;
const CHUNK: usize = 1024 * 1024;
/// How much may wait in the page cache: without a bound, progress would show memory's speed.
const UNSYNCED_MAX_BYTES: u64 = 16 * MIB;

/// The bytes of an image in their order.
pub(super) enum Source {
    Raw(File),
    /// zstd runs beside us; its window of 1 GiB is why `--long=30` must be said.
    Compressed(Child),
}

impl Source {
    pub(super) fn open(image: &Path) -> Result<Self> {
        if image.extension().is_none_or(|extension| extension != "zst") {
            let file = File::open(image).with_context(|| format!("open {}", image.display()))?;
            return Ok(Self::Raw(file));
        }
        let child = Command::new("zstd")
            .args(["--decompress", "--stdout", "--quiet", "--long=30"])
            .arg(image)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start zstd: is it installed? (ci/setup)")?;
        Ok(Self::Compressed(child))
    }

    /// Says whether the decompressor was content.
    pub(super) fn finish(self) -> Result<()> {
        let Self::Compressed(mut child) = self else {
            return Ok(());
        };
        if let Some(mut rest) = child.stdout.take() {
            io::copy(&mut rest, &mut io::sink()).context("read the rest of the image")?;
        }
        let status = child.wait().context("wait for zstd")?;
        ensure!(status.success(), "zstd found the image damaged ({status})");
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Raw(file) => {
                let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
                file.seek(SeekFrom::Current(bytes)).map(drop)
            }
            Self::Compressed(_) => {
                let copied = io::copy(&mut self.take(bytes), &mut io::sink())?;
                if copied < bytes {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(())
            }
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Raw(file) => file.read(buffer),
            Self::Compressed(child) => match &mut child.stdout {
                Some(output) => output.read(buffer),
                None => Ok(0),
            },
        }
    }
}

/// Writes every range. The first MiB, with the partition table, is blanked at the start and
/// written last, so that a disk on which this was interrupted does not look like a whole one.
pub(super) fn write(source: &mut Source, map: &BlockMap, device: &File) -> Result<()> {
    let mut progress = Progress::new("writing", map.mapped_bytes());
    let mut head = None;
    let mut position = 0;
    let mut unsynced = 0;
    let mut buffer = vec![0; CHUNK];
    for (range, expected) in &map.ranges {
        source
            .skip(range.start_bytes() - position)
            .map_err(image_error)?;
        position = range.start_bytes();
        let end = position + range.bytes();
        let mut hash = Sha256::new();
        while position < end {
            let part = &mut buffer[..chunk(end - position)];
            source.read_exact(part).map_err(image_error)?;
            hash.update(&*part);
            if position == 0 {
                head = Some(part.to_vec());
                part.fill(0);
            }
            device
                .write_all_at(part, position)
                .with_context(|| format!("write at MiB {} of the device", position / MIB))?;
            position += part.len() as u64;
            unsynced += part.len() as u64;
            progress.add(part.len() as u64);
            if unsynced >= UNSYNCED_MAX_BYTES {
                device.sync_data().context("flush the device")?;
                unsynced = 0;
            }
        }
        ensure!(
            format!("{:x}", Hex(&hash.finalize())) == *expected,
            "the image is damaged: blocks {} to {} are not those of its block map",
            range.first,
            range.last
        );
    }
    device.sync_data().context("flush the device")?;
    if let Some(head) = head {
        device
            .write_all_at(&head, 0)
            .context("write the partition table")?;
    }
    device.sync_all().context("flush the device")?;
    progress.finish();
    Ok(())
}

/// Reads every range from the device itself, not from what memory has of it.
pub(super) fn verify(map: &BlockMap, device: &File) -> Result<()> {
    let _ = rustix::fs::fadvise(device, 0, None, rustix::fs::Advice::DontNeed);
    let mut progress = Progress::new("verifying", map.mapped_bytes());
    let mut buffer = vec![0; CHUNK];
    for (range, expected) in &map.ranges {
        let mut hash = Sha256::new();
        let mut position = range.start_bytes();
        let end = position + range.bytes();
        while position < end {
            let part = &mut buffer[..chunk(end - position)];
            device
                .read_exact_at(part, position)
                .with_context(|| format!("read back at MiB {}", position / MIB))?;
            hash.update(&*part);
            position += part.len() as u64;
            progress.add(part.len() as u64);
        }
        if format!("{:x}", Hex(&hash.finalize())) != *expected {
            bail!(
                "the device reads back differently between MiB {} and {}: it is worn out, or \
                 smaller than it says",
                range.start_bytes() / MIB,
                end / MIB
            );
        }
    }
    progress.finish();
    Ok(())
}

fn chunk(left: u64) -> usize {
    usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK))
}

fn image_error(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        anyhow::anyhow!("the image ends too early: it is damaged or was not fully downloaded")
    } else {
        anyhow::Error::new(error).context("read the image")
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One line on the terminal that says how far it is; on anything else, the last line only.
struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress {
    fn new(what: &'static str, total: u64) -> Self {
        Self {
            what,
            total,
            done: 0,
            started: Instant::now(),
            shown: None,
        }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let due = self
            .shown
            .is_none_or(|shown| shown.elapsed() > Duration::from_millis(200));
        if due && io::stderr().is_terminal() {
            self.shown = Some(Instant::now());
            eprint!(
                "\r{}\x1b[K",
                line(self.what, self.done, self.total, self.started.elapsed())
            );
            let _ = io::stderr().flush();
        }
    }

    fn finish(&self) {
        let start = if self.shown.is_some() { "\r" } else { "" };
        let end = if self.shown.is_some() { "\x1b[K" } else { "" };
        let line = line(self.what, self.done, self.total, self.started.elapsed());
        eprintln!("{start}{line}{end}");
    }
}

fn line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let elapsed_ms = elapsed.as_millis().max(1);
    let rate = u128::from(done) * 1000 / elapsed_ms;
    let left_s = u128::from(total - done.min(total)) / rate.max(1);
    let (done, total, rate) = (done / MIB, total / MIB, rate / u128::from(MIB));
    format!("{what}: {done} of {total} MiB, {rate} MiB/s, {left_s} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_bytes_rate_and_remaining_time() {
        let text = line("writing", 50 * MIB, 150 * MIB, Duration::from_secs(5));
        assert_eq!(text, "writing: 50 of 150 MiB, 10 MiB/s, 10 s left");
        let text = line("writing", 0, 150 * MIB, Duration::ZERO);
        assert!(text.starts_with("writing: 0 of 150 MiB, 0 MiB/s"), "{text}");
    }
}
