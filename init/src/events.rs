//! What PID 1 noted and why: a bounded ring, numbered since the boot, from which the event log on
//! disk is fed. PID 1 itself never waits for a disk.

use std::collections::VecDeque;

use api::Event;
use serde::{Deserialize, Serialize};

use crate::event::Moment;

/// More than a boot and a storm of failures take before somebody reads them.
const CAPACITY: usize = 256;
/// What is kept of a reason.
const REASON_BYTES: usize = 240;

/// The notes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Events {
    ring: VecDeque<Event>,
    next: u64,
}

impl Events {
    pub(crate) fn add(&mut self, now: Moment, kind: &str, service: Option<&str>, reason: &str) {
        let end = reason.floor_char_boundary(REASON_BYTES);
        if self.ring.len() >= CAPACITY {
            self.ring.pop_front();
        }
        self.ring.push_back(Event {
            number: self.next,
            uptime_ms: now.0,
            kind: kind.into(),
            service: service.map(Into::into),
            reason: reason[..end].into(),
        });
        self.next += 1;
    }

    /// The number that the next one will get.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Those from number `first` on, and how many of them are no longer here.
    pub(crate) fn since(&self, first: u64) -> (Vec<Event>, u64) {
        let oldest = self.ring.front().map_or(self.next, |event| event.number);
        let wanted = self.ring.iter().filter(|event| event.number >= first);
        (wanted.cloned().collect(), oldest.saturating_sub(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_events_make_room_and_are_counted() {
        let mut events = Events::default();
        for number in 0..1000 {
            events.add(Moment(number), "failed", Some("network"), &"ä".repeat(400));
        }
        let (kept, lost) = events.since(0);
        assert_eq!((kept.len() as u64, lost), (256, 744));
        assert_eq!(kept[0].number, 744);
        assert!(kept[0].reason.len() <= REASON_BYTES);
        assert_eq!(events.since(998).0.len(), 2);
        assert_eq!(events.since(5000), (vec![], 0));
    }
}
