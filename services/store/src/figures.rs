//! How fast the store is.

use std::time::Duration;

use crate::measurements::Measurements;

/// Bounds of the latency classes: powers of the square root of 2, from 8 µs to 16 s.
const CLASSES: usize = 43;
const SHORTEST_US: f64 = 8.0;

/// Counts since the start.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) commits: u64,
    pub(crate) writes: u64,
    pub(crate) max_us: u64,
    classes: [u64; CLASSES],
    pub(crate) measurements: Measurements,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            commits: 0,
            writes: 0,
            max_us: 0,
            classes: [0; CLASSES],
            measurements: Measurements::new(),
        }
    }
}

impl Figures {
    /// A transaction that took `time` and answered `writes` callers.
    pub(crate) fn commit(&mut self, time: Duration, writes: usize) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.commits += 1;
        self.writes += writes as u64;
        self.measurements.commit_seconds.observe(time.as_secs_f64());
        self.measurements.writes.inc_by(writes as u64);
        self.max_us = self.max_us.max(us);
        let class = (0..CLASSES - 1).find(|class| us <= bound_us(*class));
        self.classes[class.unwrap_or(CLASSES - 1)] += 1;
    }

    /// The time within which `share` of the transactions were done: the upper bound of a class.
    pub(crate) fn quantile_us(&self, share: f64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let wanted = self.commits as f64 * share;
        let mut seen = 0.0;
        for (class, count) in self.classes.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let count = *count as f64;
            seen += count;
            // The last class has no bound.
            if seen >= wanted && seen > 0.0 && class < CLASSES - 1 {
                return bound_us(class).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bound_us(class: usize) -> u64 {
    let steps = i32::try_from(class).unwrap_or(i32::MAX);
    let bound = SHORTEST_US * std::f64::consts::SQRT_2.powi(steps);
    Duration::try_from_secs_f64(bound / 1e6).map_or(u64::MAX, |time| {
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_class() {
        let mut figures = Figures::default();
        assert_eq!(figures.quantile_us(0.5), 0);
        for ms in 1..=100 {
            figures.commit(Duration::from_millis(ms), 2);
        }
        let (p50, p99) = (figures.quantile_us(0.5), figures.quantile_us(0.99));
        assert!((50_000..75_000).contains(&p50), "{p50}");
        assert!((99_000..=100_000).contains(&p99), "{p99}");
        figures.commit(Duration::from_secs(100), 1);
        assert_eq!(figures.quantile_us(1.0), 100_000_000);
        assert_eq!((figures.commits, figures.writes), (101, 201));
    }
}
