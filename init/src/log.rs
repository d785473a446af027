//! What services write to standard output and error: a bounded ring per service, in memory. It
//! survives its service's death, so that a person can read its last words.

use std::collections::VecDeque;

use api::LogLine;

use crate::event::Moment;

/// What one service's lines may take, bookkeeping included.
const CAPACITY_BYTES: usize = 32 * 1024;
/// Longer lines are split.
const LINE_BYTES: usize = 1024;
/// What a line takes beside its text.
const LINE_COST_BYTES: usize = size_of::<Line>() + 16;

/// One service's log.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<Line>,
    used_bytes: usize,
    /// Lines that were here and are not any more.
    forgotten_lines: u64,
    dropped_bytes: u64,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
}

#[derive(Debug)]
struct Line {
    at: Moment,
    text: Box<str>,
}

impl Log {
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
    }

    /// Takes one line of PID 1 about the service, after whatever the service left unfinished.
    pub fn remark(&mut self, now: Moment, text: &str) {
        if !self.partial.is_empty() {
            self.end_line(now);
        }
        self.push(now, printable(text));
    }

    /// How much older output was dropped.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// The number that the next line will get.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.forgotten_lines + self.lines.len() as u64
    }

    /// The lines from number `first` on, as far as they are still here.
    #[must_use]
    pub fn since(&self, first: u64) -> Vec<LogLine> {
        let skip = first.saturating_sub(self.forgotten_lines);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        (self.lines.iter().skip(skip))
            .map(|line| LogLine {
                uptime_ms: line.at.0,
                text: line.text.to_string(),
            })
            .collect()
    }

    fn end_line(&mut self, now: Moment) {
        let text = printable(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
        self.push(now, text);
    }

    fn push(&mut self, at: Moment, text: Box<str>) {
        self.used_bytes += text.len() + LINE_COST_BYTES;
        self.lines.push_back(Line { at, text });
        while self.used_bytes > CAPACITY_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.used_bytes -= oldest.text.len() + LINE_COST_BYTES;
            self.forgotten_lines += 1;
            self.dropped_bytes += oldest.text.len() as u64;
        }
    }
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

    fn texts(log: &Log) -> Vec<String> {
        log.since(0).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_come_out_as_they_went_in_whatever_the_pieces() {
        let mut log = Log::default();
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
        let mut log = Log::default();
        for number in 0..10_000 {
            log.write(Moment(0), format!("line {number:05}\n").as_bytes());
        }
        assert!(log.used_bytes <= CAPACITY_BYTES);
        let lines = texts(&log);
        assert_eq!(lines.last().unwrap(), "line 09999");
        assert_eq!(log.next_number(), 10_000);
        assert_eq!(log.dropped_bytes(), (10_000 - lines.len() as u64) * 10);
        assert_eq!(log.since(9_998).len(), 2);
        assert!(log.since(u64::MAX).is_empty());
    }

    #[test]
    fn a_line_without_end_is_split() {
        let mut log = Log::default();
        log.write(Moment(0), &vec![b'x'; 1_000_000]);
        assert!(log.used_bytes <= CAPACITY_BYTES);
        assert!(texts(&log).iter().all(|line| line.len() == LINE_BYTES));
        assert!(log.partial.capacity() <= 2 * LINE_BYTES);
    }

    #[test]
    fn terminal_control_is_disarmed() {
        let mut log = Log::default();
        log.write(Moment(0), b"\x1b[2J\xff\ta\n");
        assert_eq!(texts(&log), ["\u{fffd}[2J\u{fffd} a"]);
    }
}
