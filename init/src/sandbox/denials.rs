//! What a service was refused, in bounded memory.

use serde::{Deserialize, Serialize};

use crate::event::Moment;

/// One system call that was refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Denial {
    pub(crate) number: u32,
    pub(crate) count: u64,
    pub(crate) last: Moment,
}

/// The refusals of one service since the boot.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Denials {
    calls: Vec<Denial>,
    /// Refusals of calls for which there is no more room.
    pub(crate) others: u64,
    window_start: Moment,
    in_window: u32,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meaning {
    /// Nobody has been told of this system call yet.
    New,
    Known,
    /// So many that the service does nothing else, at PID 1's expense.
    Flood,
}

/// The kernel has a few hundred calls; who tries more than this is not mistaken but probing.
const MAX_CALLS: usize = 64;
/// More refusals than this within the window are a flood. Each costs PID 1 about 10 µs.
pub(crate) const FLOOD: u32 = 1000;
const WINDOW_MS: u64 = 10_000;

impl Denials {
    /// Notes a refusal of the system call `number`.
    pub(crate) fn note(&mut self, now: Moment, number: u32) -> Meaning {
        if now.ms_since(self.window_start) >= WINDOW_MS {
            self.window_start = now;
            self.in_window = 0;
        }
        self.in_window += 1;
        let full = self.calls.len() >= MAX_CALLS;
        let known = self.calls.iter_mut().find(|call| call.number == number);
        let is_new = known.is_none() && !full;
        match known {
            Some(call) => {
                call.count += 1;
                call.last = now;
            }
            None if is_new => self.calls.push(Denial {
                number,
                count: 1,
                last: now,
            }),
            None => self.others += 1,
        }
        match is_new {
            _ if self.in_window > FLOOD => {
                self.in_window = 0;
                Meaning::Flood
            }
            true => Meaning::New,
            false => Meaning::Known,
        }
    }

    /// The refused calls, in the order of their first refusal.
    pub(crate) fn calls(&self) -> &[Denial] {
        &self.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_per_call() {
        let mut denials = Denials::default();
        assert_eq!(denials.note(Moment(5), 101), Meaning::New);
        assert_eq!(denials.note(Moment(7), 101), Meaning::Known);
        assert_eq!(denials.note(Moment(9), 165), Meaning::New);
        let first = &denials.calls()[0];
        assert_eq!((first.number, first.count, first.last), (101, 2, Moment(7)));
    }

    #[test]
    fn a_flood_is_noticed_and_slow_refusals_are_not() {
        let mut denials = Denials::default();
        for _ in 0..FLOOD {
            assert_ne!(denials.note(Moment(0), 1), Meaning::Flood);
        }
        assert_eq!(denials.note(Moment(1), 1), Meaning::Flood);
        let mut slow = Denials::default();
        for step in 0..u64::from(FLOOD) * 3 {
            assert_ne!(slow.note(Moment(step * 11), 1), Meaning::Flood);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut denials = Denials::default();
        for number in 0..100_000 {
            denials.note(Moment(0), number);
        }
        assert_eq!(denials.calls().len(), MAX_CALLS);
        assert_eq!(denials.others, 100_000 - MAX_CALLS as u64);
    }
}
