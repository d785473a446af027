use std::collections::HashMap;
use std::sync::Mutex;

use rustix::time::{ClockId, clock_gettime};

use crate::hub::lock;

/// A bus has fewer connections than this; if not, those beyond count as old.
const REMEMBERED: usize = 4096;

/// When each connection of the bus was opened, in milliseconds of `CLOCK_BOOTTIME`, which is the
/// clock of the store's `applied_at_ms` and of `/proc`. A connection that was there before this
/// service counts as old as the machine.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<HashMap<String, u64>>);

impl Presence {
    /// The bus says that `name` is there now.
    pub(crate) fn arrived(&self, name: &str, now_ms: u64) {
        let mut known = lock(&self.0);
        if known.len() < REMEMBERED {
            known.insert(name.to_owned(), now_ms);
        }
    }

    pub(crate) fn left(&self, name: &str) {
        lock(&self.0).remove(name);
    }

    pub(crate) fn forget_all(&self) {
        lock(&self.0).clear();
    }

    /// Whether `name` was there at that moment.
    pub(crate) fn is_older(&self, name: &str, moment_ms: u64) -> bool {
        let opened_ms = lock(&self.0).get(name).copied().unwrap_or(0);
        opened_ms <= moment_ms
    }
}

/// `CLOCK_BOOTTIME` in milliseconds.
pub(crate) fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_connections_are_old() {
        let presence = Presence::default();
        presence.arrived(":1.5", 2000);
        assert!(presence.is_older(":1.4", 1));
        assert!(presence.is_older(":1.5", 2000));
        assert!(!presence.is_older(":1.5", 1999));
        presence.left(":1.5");
        assert!(presence.is_older(":1.5", 1999));
    }
}
