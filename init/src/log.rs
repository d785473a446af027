//! What services write to standard output and error: a bounded ring per service, in memory. It
//! survives its service's death, so that a person can read its last words, and PID 1's own: the rings
//! lie in an anonymous file, which a re-executed PID 1 goes on with.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use api::LogLine;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwrite};

use crate::event::Moment;

/// What one service's lines may take, bookkeeping included.
const RING_BYTES: u64 = 32 * 1024;
/// Longer lines are split.
const LINE_BYTES: usize = 1024;
/// Before each line's text: its length and its moment.
const HEAD_BYTES: usize = 2 + 8;
/// Header and unfinished line, padded so that the ring begins on a page.
const START_BYTES: u64 = 4096;
const PLACE_BYTES: u64 = START_BYTES + RING_BYTES;
/// Lines are written together, up to about this much.
const BATCH_BYTES: usize = 8 * 1024;
const MAGIC: u64 = u64::from_le_bytes(*b"x0log\0\0\x01");
/// Magic, tail, head, forgotten lines, dropped bytes, length of the unfinished line.
const FIELDS: usize = 6;

/// The file in which all rings lie. Without memory for it there are no logs, and services run.
#[derive(Clone, Debug)]
pub struct LogFile(Rc<Option<OwnedFd>>);

/// One service's log.
#[derive(Debug)]
pub struct Log {
    file: LogFile,
    start: u64,
    /// Counted from the log's beginning; the ring holds what lies between them.
    tail: u64,
    head: u64,
    /// What each line in the ring takes, oldest first.
    sizes: VecDeque<u16>,
    /// Lines that were here and are not any more.
    forgotten_lines: u64,
    dropped_bytes: u64,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Lines on their way to the ring.
    batch: Vec<u8>,
}

impl LogFile {
    /// An empty file for `services` logs.
    #[must_use]
    pub fn new(services: usize) -> Self {
        let file = memfd_create(c"x0-logs", MemfdFlags::CLOEXEC)
            .and_then(|file| ftruncate(&file, services as u64 * PLACE_BYTES).map(|()| file));
        Self(Rc::new(file.ok()))
    }

    /// A file that an earlier PID 1 wrote; room is made for `services` logs.
    #[must_use]
    pub fn adopt(file: OwnedFd, services: usize) -> Self {
        let needed = services as u64 * PLACE_BYTES;
        let size = rustix::fs::fstat(&file).map_or(0, |stat| stat.st_size);
        if u64::try_from(size).is_ok_and(|size| size < needed) {
            ftruncate(&file, needed).ok();
        }
        Self(Rc::new(Some(file)))
    }

    /// To be handed over.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().as_ref().map(AsFd::as_fd)
    }

    /// The log at a place of the file, with what it holds.
    #[must_use]
    pub fn log(&self, place: usize) -> Log {
        let mut log = Log {
            file: self.clone(),
            start: place as u64 * PLACE_BYTES,
            tail: 0,
            head: 0,
            sizes: VecDeque::new(),
            forgotten_lines: 0,
            dropped_bytes: 0,
            partial: Vec::new(),
            batch: Vec::new(),
        };
        if log.load().is_none() {
            log.sizes.clear();
            (log.tail, log.head) = (0, 0);
        }
        log
    }

    fn read(&self, bytes: &mut [u8], mut at: u64) -> Option<()> {
        let file = self.fd()?;
        let mut done = 0;
        while done < bytes.len() {
            let length = pread(file, &mut bytes[done..], at).ok()?;
            if length == 0 {
                return None;
            }
            done += length;
            at += length as u64;
        }
        Some(())
    }

    fn write(&self, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
        let file = self.fd().ok_or(Errno::BADF)?;
        while !bytes.is_empty() {
            let length = pwrite(file, bytes, at)?;
            bytes = &bytes[length..];
            at += length as u64;
        }
        Ok(())
    }
}

impl Log {
    /// Its place in the file.
    #[must_use]
    pub fn place(&self) -> usize {
        usize::try_from(self.start / PLACE_BYTES).unwrap_or(0)
    }

    /// Takes output as it came from the pipe.
    pub fn write(&mut self, now: Moment, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LINE_BYTES - self.partial.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.partial.extend_from_slice(&window[..end]);
                    bytes = &bytes[end + 1..];
                    self.end_line(now);
                }
                None => {
                    self.partial.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.partial.len() == LINE_BYTES {
                        self.end_line(now);
                    }
                }
            }
        }
        self.commit();
    }

    /// Takes one line of PID 1 about the service, after whatever the service left unfinished.
    pub fn remark(&mut self, now: Moment, text: &str) {
        if !self.partial.is_empty() {
            self.end_line(now);
        }
        self.push(now, &printable(text));
        self.commit();
    }

    /// How much older output was dropped.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// The number that the next line will get.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.forgotten_lines + self.sizes.len() as u64
    }

    /// The lines from number `first` on, as far as they are still here.
    #[must_use]
    pub fn since(&self, first: u64) -> Vec<LogLine> {
        let skip = first.saturating_sub(self.forgotten_lines);
        let skip = usize::try_from(skip)
            .unwrap_or(usize::MAX)
            .min(self.sizes.len());
        let skipped: u64 = self.sizes.iter().take(skip).map(|s| u64::from(*s)).sum();
        let Some(bytes) = self.between(self.tail + skipped, self.head) else {
            return Vec::new();
        };
        let mut rest = bytes.as_slice();
        let mut lines = Vec::new();
        for size in self.sizes.iter().skip(skip) {
            let Some((record, after)) = rest.split_at_checked(usize::from(*size)) else {
                break;
            };
            rest = after;
            let Some((_, at, text)) = split(record) else {
                break;
            };
            lines.push(LogLine {
                uptime_ms: at,
                text: String::from_utf8_lossy(text).into_owned(),
            });
        }
        lines
    }

    fn end_line(&mut self, now: Moment) {
        let text = printable(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
        self.push(now, &text);
    }

    fn push(&mut self, at: Moment, text: &str) {
        let size = HEAD_BYTES + text.len();
        let short = u16::try_from(size).expect("a line has 1024 characters of 4 bytes at most");
        self.batch.extend_from_slice(&short.to_le_bytes());
        self.batch.extend_from_slice(&at.0.to_le_bytes());
        self.batch.extend_from_slice(text.as_bytes());
        self.sizes.push_back(short);
        if self.batch.len() >= BATCH_BYTES {
            self.commit();
        }
    }

    /// Writes what is on its way. At each moment in between, a crash of PID 1 included, what lies in
    /// the file can be read: old lines go first, and new ones count when they are there.
    fn commit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let end = self.head + batch.len() as u64;
        let mut evicted = false;
        while end - self.tail > RING_BYTES
            && let Some(size) = self.sizes.pop_front()
        {
            self.tail += u64::from(size);
            self.forgotten_lines += 1;
            self.dropped_bytes += u64::from(size).saturating_sub(HEAD_BYTES as u64);
            evicted = true;
        }
        if evicted {
            self.write_header();
        }
        let at = self.head % RING_BYTES;
        let first = batch
            .len()
            .min(usize::try_from(RING_BYTES - at).unwrap_or(0));
        let ring = self.start + START_BYTES;
        let written = (self.file.write(&batch[..first], ring + at))
            .and_then(|()| self.file.write(&batch[first..], ring));
        if written.is_err() {
            // No memory: these lines are lost, and what is there stays readable.
            let mut lost = 0;
            while lost < batch.len() as u64
                && let Some(size) = self.sizes.pop_back()
            {
                lost += u64::from(size);
            }
            self.dropped_bytes += lost;
        } else {
            self.head = end;
        }
        self.write_header();
        self.batch = batch;
        self.batch.clear();
        self.batch.shrink_to(2 * LINE_BYTES);
    }

    fn write_header(&self) {
        let mut bytes = Vec::with_capacity(FIELDS * 8 + self.partial.len());
        for field in [
            MAGIC,
            self.tail,
            self.head,
            self.forgotten_lines,
            self.dropped_bytes,
            self.partial.len() as u64,
        ] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.partial);
        // Nobody could be told when it fails.
        self.file.write(&bytes, self.start).ok();
    }

    fn load(&mut self) -> Option<()> {
        let mut bytes = [0; FIELDS * 8];
        self.file.read(&mut bytes, self.start)?;
        let (fields, _) = bytes.as_chunks::<8>();
        let [magic, tail, head, forgotten, dropped, partial] =
            *<&[[u8; 8]; FIELDS]>::try_from(fields).ok()?;
        let [tail, head] = [tail, head].map(u64::from_le_bytes);
        if u64::from_le_bytes(magic) != MAGIC || head.checked_sub(tail)? > RING_BYTES {
            return None;
        }
        self.forgotten_lines = u64::from_le_bytes(forgotten);
        self.dropped_bytes = u64::from_le_bytes(dropped);
        let partial = usize::try_from(u64::from_le_bytes(partial)).ok()?;
        if partial >= LINE_BYTES {
            return None;
        }
        let mut unfinished = vec![0; partial];
        self.file
            .read(&mut unfinished, self.start + bytes.len() as u64)?;
        let records = self.between(tail, head)?;
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (size, _, _) = split(rest)?;
            self.sizes.push_back(u16::try_from(size).ok()?);
            rest = rest.get(size..)?;
        }
        (self.tail, self.head, self.partial) = (tail, head, unfinished);
        Some(())
    }

    /// What the ring holds between two of its moments.
    fn between(&self, from: u64, to: u64) -> Option<Vec<u8>> {
        let length = usize::try_from(to.checked_sub(from)?).ok()?;
        let mut bytes = vec![0; length];
        let at = from % RING_BYTES;
        let first = length.min(usize::try_from(RING_BYTES - at).ok()?);
        let ring = self.start + START_BYTES;
        self.file.read(&mut bytes[..first], ring + at)?;
        self.file.read(&mut bytes[first..], ring)?;
        Some(bytes)
    }
}

/// The first record of `bytes`: what it takes, its moment, its text.
fn split(bytes: &[u8]) -> Option<(usize, u64, &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    let (at, _) = rest.split_first_chunk()?;
    let size = usize::from(u16::from_le_bytes(*size));
    let text = bytes.get(HEAD_BYTES..size)?;
    Some((size, u64::from_le_bytes(*at), text))
}

/// A service must not be able to move the cursor of the console that shows its log.
fn printable(text: &str) -> Box<str> {
    let replace = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.trim_end_matches('\r').chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log() -> Log {
        LogFile::new(2).log(1)
    }

    fn texts(log: &Log) -> Vec<String> {
        log.since(0).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_come_out_as_they_went_in_whatever_the_pieces() {
        let mut log = log();
        for (ms, piece) in ["one\ntw", "", "o\r\n\nthr", "ee"].into_iter().enumerate() {
            log.write(Moment(ms as u64), piece.as_bytes());
        }
        assert_eq!(texts(&log), ["one", "two", ""]);
        assert_eq!(log.since(1)[0].uptime_ms, 2);
        log.remark(Moment(9), "killed");
        assert_eq!(texts(&log), ["one", "two", "", "three", "killed"]);
    }

    #[test]
    fn old_lines_make_room_and_are_counted() {
        let mut log = log();
        for number in 0..10_000 {
            log.write(Moment(0), format!("line {number:05}\n").as_bytes());
        }
        assert!(log.head - log.tail <= RING_BYTES);
        let lines = texts(&log);
        assert!(lines.len() > 1000);
        assert_eq!(lines.last().unwrap(), "line 09999");
        assert_eq!(log.next_number(), 10_000);
        assert_eq!(log.dropped_bytes(), (10_000 - lines.len() as u64) * 10);
        assert_eq!(log.since(9_998).len(), 2);
        assert!(log.since(u64::MAX).is_empty());
    }

    #[test]
    fn a_line_without_end_is_split() {
        let mut log = log();
        log.write(Moment(0), &vec![b'x'; 1_000_000]);
        assert!(log.head - log.tail <= RING_BYTES);
        assert!(texts(&log).iter().all(|line| line.len() == LINE_BYTES));
        assert!(log.partial.capacity() <= 2 * LINE_BYTES);
    }

    #[test]
    fn terminal_control_is_disarmed() {
        let mut log = log();
        log.write(Moment(0), b"\x1b[2J\xff\ta\n");
        assert_eq!(texts(&log), ["\u{fffd}[2J\u{fffd} a"]);
    }

    #[test]
    fn without_a_file_output_is_counted_and_gone() {
        let mut log = LogFile(Rc::new(None)).log(0);
        log.write(Moment(0), b"one\ntwo\n");
        assert!(texts(&log).is_empty());
        assert!(log.dropped_bytes() > 0);
    }

    #[test]
    fn a_damaged_ring_starts_over() {
        for at in [0, 8, 16, 40, START_BYTES] {
            let file = LogFile::new(1);
            file.log(0).write(Moment(0), b"one\ntwo\n");
            file.write(&[0xff; 8], at).unwrap();
            let mut log = file.log(0);
            log.write(Moment(0), b"three\n");
            assert_eq!(texts(&log).last().unwrap(), "three", "at {at}");
        }
    }

    proptest! {
        #[test]
        fn another_pid_1_goes_on_with_it(pieces in proptest::collection::vec(".{0,300}", 0..40)) {
            let file = LogFile::new(3);
            let mut log = file.log(2);
            for piece in &pieces {
                log.write(Moment(7), piece.as_bytes());
            }
            let again = file.log(2);
            prop_assert_eq!(again.since(0), log.since(0));
            prop_assert_eq!(again.next_number(), log.next_number());
            prop_assert_eq!(again.dropped_bytes(), log.dropped_bytes());
            prop_assert_eq!(again.partial, log.partial);
        }
    }
}
