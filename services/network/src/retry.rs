//! When to try a change to the kernel again.

use std::collections::HashMap;
use std::time::Duration;

use crate::state::Action;

/// What has been tried lately. A change that the kernel refuses, or that somebody undoes each time,
/// is tried less and less often, and does not keep the machine busy.
#[derive(Debug, Default)]
pub struct Retry {
    attempts: HashMap<Action, Attempt>,
}

#[derive(Debug, Clone)]
struct Attempt {
    count: u32,
    next: Duration,
    /// Why it failed the last time.
    failure: Option<String>,
}

impl Retry {
    /// Whether the change may be tried now.
    #[must_use]
    pub fn may(&self, action: &Action, now: Duration) -> bool {
        self.attempts
            .get(action)
            .is_none_or(|attempt| attempt.next <= now)
    }

    /// Notes how an attempt ended.
    pub fn note(&mut self, action: &Action, now: Duration, failure: Option<String>) {
        let attempt = self.attempts.entry(action.clone()).or_insert(Attempt {
            count: 0,
            next: now,
            failure: None,
        });
        // What succeeds may have to be done again at once a few times, as links come and go.
        let grace = if failure.is_some() { 0 } else { 3 };
        let exponent = attempt.count.saturating_sub(grace).min(8);
        let wait = if attempt.count < grace {
            Duration::ZERO
        } else {
            (WAIT_MIN * 2u32.pow(exponent)).min(WAIT_MAX)
        };
        attempt.count += 1;
        attempt.next = now + wait;
        attempt.failure = failure;
    }

    /// Forgets what has not been tried for long, and failures of changes that are no longer wanted.
    pub fn forget(&mut self, now: Duration, wanted: &[Action]) {
        self.attempts.retain(|action, attempt| {
            let is_recent = attempt.next + MEMORY > now;
            is_recent && (attempt.failure.is_none() || wanted.contains(action))
        });
    }

    /// The failures that stand, in words, and when the first of them may be tried again.
    #[must_use]
    pub fn failures(&self) -> (Vec<String>, Option<Duration>) {
        let failed = self.attempts.iter().filter_map(|(action, attempt)| {
            let failure = attempt.failure.as_ref()?;
            Some((format!("cannot {action}: {failure}"), attempt.next))
        });
        let (mut texts, times): (Vec<_>, Vec<_>) = failed.unzip();
        texts.sort();
        (texts, times.into_iter().min())
    }
}

const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
const MEMORY: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_less_and_less_often() {
        let action = Action::SetUp {
            link: "eth0".parse().unwrap(),
        };
        let mut retry = Retry::default();
        let mut tries = 0;
        for second in 0..600 {
            let now = Duration::from_secs(second);
            if retry.may(&action, now) {
                tries += 1;
                retry.note(&action, now, Some("no".to_owned()));
            }
        }
        assert!((10..20).contains(&tries), "{tries}");
        assert_eq!(retry.failures().0, ["cannot bring eth0 up: no"]);
        retry.forget(Duration::from_secs(600), &[]);
        assert_eq!(retry.failures(), (Vec::new(), None));
    }

    #[test]
    fn what_is_undone_each_time_slows_down() {
        let action = Action::SetUp {
            link: "eth0".parse().unwrap(),
        };
        let mut retry = Retry::default();
        let mut tries = 0;
        for tenth in 0..600 {
            let now = Duration::from_millis(100) * tenth;
            if retry.may(&action, now) {
                tries += 1;
                retry.note(&action, now, None);
            }
        }
        assert!((5..12).contains(&tries), "{tries}");
    }
}
