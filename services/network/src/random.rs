//! Numbers for transaction ids and jitter.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): tiny, and with a seed the same in every test run. What it
/// makes need not withstand a guess by somebody on the link, who sees every packet anyway.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn next_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next_u64().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// A time from `from` to `to`, both included.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span_ms = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX - 1);
        from + Duration::from_millis(self.next_u64() % (span_ms + 1))
    }

    /// A time at most `spread` away from `middle`.
    pub fn jitter(&mut self, middle: Duration, spread: Duration) -> Duration {
        self.between(middle.saturating_sub(spread), middle + spread)
    }
}
