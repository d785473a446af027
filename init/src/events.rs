//! What PID 1 noted and why: a bounded ring, numbered since the boot, from which the event log on
//! disk is fed. PID 1 itself never waits for a disk. The ring is a log like those of services, so it
//! outlives PID 1's program as they do.

use api::Event;
use serde::{Deserialize, Serialize};

use crate::event::Moment;
use crate::log::{Log, LogFile};

/// What is kept of a reason.
const REASON_BYTES: usize = 240;
/// Its place among the logs; services come after it.
const PLACE: usize = 0;

/// The notes.
#[derive(Debug)]
pub(crate) struct Events(Log);

/// A line of the ring.
#[derive(Deserialize, Serialize)]
struct Line {
    #[serde(rename = "k")]
    kind: String,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(rename = "r")]
    reason: String,
}

impl Events {
    /// With what the file holds already.
    pub(crate) fn of(file: &LogFile) -> Self {
        Self(file.log(PLACE))
    }

    pub(crate) fn add(&mut self, now: Moment, kind: &str, service: Option<&str>, reason: &str) {
        let end = reason.floor_char_boundary(REASON_BYTES);
        let line = Line {
            kind: kind.into(),
            service: service.map(Into::into),
            reason: reason[..end].into(),
        };
        let json = serde_json::to_string(&line).expect("it has string keys only");
        self.0.remark(now, &json);
    }

    /// The number that the next one will get.
    pub(crate) fn next_number(&self) -> u64 {
        self.0.next_number()
    }

    /// Those from number `first` on, and how many of them are no longer here.
    pub(crate) fn since(&self, first: u64) -> (Vec<Event>, u64) {
        let lines = self.0.since(first);
        let oldest = self.next_number() - lines.len() as u64;
        let event = |(number, line): (u64, api::LogLine)| {
            let Line {
                kind,
                service,
                reason,
            } = serde_json::from_str(&line.text).ok()?;
            Some(Event {
                number,
                uptime_ms: line.uptime_ms,
                kind,
                service,
                reason,
            })
        };
        let events = (oldest..).zip(lines).filter_map(event);
        (events.collect(), oldest.saturating_sub(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_events_make_room_and_are_counted() {
        let file = LogFile::new(1);
        let mut events = Events::of(&file);
        for number in 0..1000 {
            events.add(Moment(number), "failed", Some("network"), &"ä".repeat(400));
        }
        let (kept, lost) = Events::of(&file).since(0);
        assert!(kept.len() > 100, "{} are kept", kept.len());
        assert_eq!(kept.len() as u64 + lost, 1000);
        assert_eq!((kept[0].number, kept[0].uptime_ms), (lost, lost));
        assert!(kept[0].reason.len() <= REASON_BYTES);
        assert_eq!(events.since(998).0.len(), 2);
        assert_eq!(events.since(5000), (vec![], 0));
    }
}
