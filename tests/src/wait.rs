//! Waiting for a level, never for time to pass.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a level is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// The instant at which waiting becomes failing.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
}

impl Deadline {
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self {
            end: Instant::now() + limit,
        }
    }

    #[must_use]
    pub fn passed(&self) -> bool {
        Instant::now() >= self.end
    }
}

/// Looks at `probe` until it has something. Fails with what was waited for, and with the probe's
/// own error at once.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if deadline.passed() {
            bail!("waited {:.1} s in vain for {what}", limit.as_secs_f32());
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_never_comes_is_named() {
        let error = wait_for::<()>("rain", Duration::ZERO, || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "waited 0.0 s in vain for rain");
    }

    #[test]
    fn a_probe_that_fails_ends_the_wait() {
        let error = wait_for::<()>("rain", Duration::MAX / 4, || bail!("no sky")).unwrap_err();
        assert_eq!(error.to_string(), "no sky");
    }
}
