//! How many events a service may record: a flood must not push everybody else's out of the log.

use std::collections::HashMap;

use store_api::Refusal;

/// At once.
const BURST: u64 = 200;
/// One more after each.
const REFILL_MS: u64 = 100;

/// What each service has left.
#[derive(Debug, Default)]
pub(super) struct Limits(HashMap<String, Bucket>);

#[derive(Debug)]
struct Bucket {
    left: u64,
    /// Up to when it was refilled.
    at_ms: u64,
}

impl Limits {
    /// Takes one from what `service` has left.
    pub(super) fn take(&mut self, service: &str, boottime_ms: u64) -> Result<(), Refusal> {
        let bucket = self.0.entry(service.to_owned()).or_insert(Bucket {
            left: BURST,
            at_ms: boottime_ms,
        });
        let refilled = boottime_ms.saturating_sub(bucket.at_ms) / REFILL_MS;
        bucket.at_ms += refilled * REFILL_MS;
        bucket.left = bucket.left.saturating_add(refilled).min(BURST);
        if bucket.left == 0 {
            let retry_ms = (bucket.at_ms + REFILL_MS).saturating_sub(boottime_ms);
            return Err(Refusal::RateLimited { retry_ms });
        }
        bucket.left -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_a_trickle_and_others_are_not() {
        let mut limits = Limits::default();
        let taken = (0..10_000u64)
            .filter(|ms| limits.take("hog", *ms).is_ok())
            .count() as u64;
        assert_eq!(taken, BURST + 10_000 / REFILL_MS - 1);
        assert!(matches!(
            limits.take("hog", 9_999),
            Err(Refusal::RateLimited { retry_ms: 1 })
        ));
        limits.take("network", 9_999).unwrap();
        limits.take("hog", 10_000).unwrap();
    }
}
