//! Wrong passwords cost time, more with each: a person who mistypes hardly notices, a program that
//! tries gets some thousand attempts a day.

/// The first wrong password costs this, each further one twice as much.
const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 60_000;
/// After so long without a wrong one all is forgotten.
const FORGET_MS: u64 = 15 * 60_000;

/// One for the whole machine: two lines are no reason for twice as many attempts.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    failures: u32,
    last_ms: u64,
}

impl Throttle {
    /// How long no attempt is taken any more.
    pub(crate) fn wait_ms(&self, now_ms: u64) -> u64 {
        if self.failures == 0 {
            return 0;
        }
        let doubled = FIRST_MS
            .checked_shl(self.failures - 1)
            .unwrap_or(LONGEST_MS);
        let until = self
            .last_ms
            .saturating_add(doubled.clamp(FIRST_MS, LONGEST_MS));
        until.saturating_sub(now_ms)
    }

    pub(crate) fn failed(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.last_ms) >= FORGET_MS {
            self.failures = 0;
        }
        // Beyond 32 the delay is at its longest anyway.
        self.failures = self.failures.saturating_add(1).min(32);
        self.last_ms = now_ms;
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_each_time_but_not_for_ever() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.wait_ms(0), 0);
        let mut waits = Vec::new();
        let mut now = 100_000;
        for _ in 0..40 {
            throttle.failed(now);
            waits.push(throttle.wait_ms(now));
            now += throttle.wait_ms(now);
            assert_eq!(throttle.wait_ms(now), 0);
        }
        assert_eq!(
            waits[..8],
            [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(waits[39], LONGEST_MS);
        throttle.failed(now + FORGET_MS);
        assert_eq!(throttle.wait_ms(now + FORGET_MS), FIRST_MS);
        throttle.succeeded();
        assert_eq!(throttle.wait_ms(now), 0);
    }
}
