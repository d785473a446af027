use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How much is asked of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contest {
    pub(crate) callers: usize,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Each caller writes the same: one of 64 keys of its own, some 100 bytes.
pub(crate) fn value(number: u64) -> serde_json::Value {
    serde_json::json!({
        "number": number,
        "address": "192.0.2.7/24",
        "note": "a lease, a counter or whatever else a service keeps",
    })
}

pub(crate) fn key(caller: usize, number: u64) -> String {
    format!("bench/{caller}/{}", number % 64)
}

impl Contest {
    /// Lets all callers write at the same time. `open` makes what one of them writes with.
    pub(crate) fn run<W: FnMut(usize, u64) -> Result<()> + Send>(
        self,
        open: impl Fn() -> Result<W>,
    ) -> Result<Figures> {
        let writers: Vec<W> = (0..self.callers).map(|_| open()).collect::<Result<_>>()?;
        let start = Barrier::new(self.callers);
        let work = |caller: usize, mut write: W| -> Result<Vec<f64>> {
            let mut times_ms = Vec::new();
            start.wait();
            let end = Instant::now() + self.time;
            for number in 0.. {
                let begun = Instant::now();
                if begun >= end {
                    break;
                }
                write(caller, number)?;
                times_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(times_ms)
        };
        let begun = Instant::now();
        let times: Vec<Vec<f64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (writers.into_iter().enumerate())
                .map(|(caller, writer)| scope.spawn(move || work(caller, writer)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().ok().context("a caller panicked")?)
                .collect::<Result<_>>()
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        let mut times: Vec<f64> = times.into_iter().flatten().collect();
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        Ok(Figures {
            per_s: f64::from(u32::try_from(times.len())?) / seconds,
            p50_ms: at(50).context("nothing was written")?,
            p99_ms: at(99).context("nothing was written")?,
        })
    }
}

/// The middle one.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
