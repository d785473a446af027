//! The broker's log lines become ours.
//!
//! The broker writes a line for each refusal. A client that is refused a thousand times a second
//! must not push everything else out of the service's log, so only so many lines pass per minute.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::Instant;

/// Longer lines are cut.
const MAX_LINE: usize = 500;
const MAX_LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// Passes lines on until the broker closes its end.
pub(crate) async fn relay(mut from: UnixStream) {
    let (mut lines, mut budget) = (Lines::default(), Budget::new(Instant::now()));
    let mut buffer = [0; 1024];
    // An error here is the broker's end, and whoever waits for that reports it.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        for line in lines.feed(&buffer[..count]) {
            let (pass, suppressed) = budget.pass(Instant::now());
            if suppressed > 0 {
                tracing::warn!(suppressed, "too many messages of the broker");
            }
            if pass {
                tracing::warn!(broker = line, "message of the broker");
            }
        }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    complete.push(String::from_utf8_lossy(&line).into_owned());
                }
                _ if self.line.len() < MAX_LINE => self.line.push(*byte),
                _ => {}
            }
        }
        complete
    }
}

/// How many lines may still pass in this period.
#[derive(Debug)]
struct Budget {
    period_began: Instant,
    passed: u32,
    suppressed: u32,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            period_began: now,
            passed: 0,
            suppressed: 0,
        }
    }

    /// Whether a line may pass, and how many of the period before could not.
    fn pass(&mut self, now: Instant) -> (bool, u32) {
        let mut suppressed = 0;
        if now.duration_since(self.period_began) >= PERIOD {
            suppressed = self.suppressed;
            *self = Self::new(now);
        }
        let pass = self.passed < MAX_LINES;
        if pass {
            self.passed += 1;
        } else {
            self.suppressed += 1;
        }
        (pass, suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_they_end_and_where_they_are_too_long() {
        let mut lines = Lines::default();
        assert_eq!(lines.feed(b"one\ntw"), ["one"]);
        assert_eq!(lines.feed(b"o\n\n"), ["two", ""]);
        assert_eq!(lines.feed(&[b'x'; 2 * MAX_LINE]), [""; 0]);
        assert_eq!(lines.feed(b"\n"), ["x".repeat(MAX_LINE)]);
        assert_eq!(lines.feed(b"\xff\n"), ["\u{fffd}"]);
    }

    #[test]
    fn a_flood_is_counted_and_not_printed() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let passed = (0..1000).filter(|_| budget.pass(start).0).count();
        assert_eq!(passed, usize::try_from(MAX_LINES).unwrap());
        assert_eq!(budget.pass(start + PERIOD), (true, 1000 - MAX_LINES));
        assert_eq!(budget.pass(start + PERIOD), (true, 0));
    }
}
