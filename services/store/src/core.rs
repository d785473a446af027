//! Which generation of the configuration applies: no I/O, no clock.
//!
//! A generation that has to be confirmed applies from the moment it is written until its deadline.
//! Without a confirmation the one before it applies again, whatever happens in between: a restart of
//! the store finds the deadline where it was (it counts in `CLOCK_BOOTTIME`), and another boot ends
//! it at once, since nobody can say how long the machine was off.

use serde::{Deserialize, Serialize};

/// The shortest and longest time that a person may take to confirm.
pub const CONFIRM_MS: std::ops::RangeInclusive<u64> = 10_000..=86_400_000;

/// The moment of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Now {
    /// The kernel's boot id.
    pub boot: String,
    /// `CLOCK_BOOTTIME`.
    pub boottime_ms: u64,
}

/// Which generation applies. Survives in the store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    confirmed: u64,
    latest: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<Pending>,
}

/// A generation that waits for its confirmation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// Which one.
    pub generation: u64,
    /// The boot that it was applied in.
    pub boot: String,
    /// `CLOCK_BOOTTIME` then.
    pub applied_at_ms: u64,
    /// `CLOCK_BOOTTIME` of its end.
    pub deadline_ms: u64,
}

/// What the machine is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Makes the next generation; without a time it is confirmed at once.
    Apply { confirm_within_ms: Option<u64> },
    /// Keeps the pending one.
    Confirm { generation: u64 },
    /// Takes the pending one back.
    Cancel { generation: u64 },
    /// A service could not apply it.
    Fail { generation: u64 },
    /// Looks at the clock.
    Tick,
}

/// What became of a generation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was made and waits for its confirmation.
    Pending(u64),
    /// It was confirmed.
    Confirmed(u64),
    /// A person took it back.
    Cancelled(u64),
    /// A service could not apply it.
    Failed(u64),
    /// Its deadline passed.
    Expired(u64),
    /// It was made in another boot.
    Unconfirmed(u64),
}

/// Why a command was refused; nothing changed then, except by the clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// One at a time.
    #[error("generation {0} waits for its confirmation")]
    ConfirmationPending(u64),
    /// Nothing waits under this number.
    #[error("generation {0} does not wait for a confirmation")]
    NotPending(u64),
    /// Too short or too long.
    #[error("a confirmation takes 10 seconds to 24 hours")]
    OutOfRange,
}

impl Machine {
    /// With one confirmed generation, the first.
    #[must_use]
    pub fn new() -> Self {
        Self {
            confirmed: 1,
            latest: 1,
            pending: None,
        }
    }

    /// The generation that applies now, confirmed or not.
    #[must_use]
    pub fn effective(&self) -> u64 {
        self.pending
            .as_ref()
            .map_or(self.confirmed, |pending| pending.generation)
    }

    /// The last confirmed generation.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// The highest number that was given.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// What waits for its confirmation.
    #[must_use]
    pub fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// Whether the numbers fit together. Whatever comes from a file has to be asked.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let pending_is_sound = self.pending.as_ref().is_none_or(|pending| {
            pending.generation > self.confirmed
                && pending.generation <= self.latest
                && pending.applied_at_ms <= pending.deadline_ms
        });
        self.confirmed >= 1 && self.confirmed <= self.latest && pending_is_sound
    }

    /// Does what it is asked; the clock comes first, so that a command never finds a generation
    /// whose time is up. The changes are in the order in which they happened, and stand even where
    /// the command is refused.
    pub fn handle(
        &mut self,
        now: &Now,
        command: Command,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refused> {
        changes.extend(self.look_at_clock(now));
        match command {
            Command::Apply { confirm_within_ms } => {
                changes.push(self.apply(now, confirm_within_ms)?);
            }
            Command::Confirm { generation } => {
                self.take(generation)?;
                self.confirmed = generation;
                changes.push(Change::Confirmed(generation));
            }
            Command::Cancel { generation } => {
                self.take(generation)?;
                changes.push(Change::Cancelled(generation));
            }
            Command::Fail { generation } => {
                self.take(generation)?;
                changes.push(Change::Failed(generation));
            }
            Command::Tick => {}
        }
        Ok(())
    }

    fn look_at_clock(&mut self, now: &Now) -> Option<Change> {
        let pending = self.pending.as_ref()?;
        let generation = pending.generation;
        let change = if pending.boot != now.boot {
            Change::Unconfirmed(generation)
        } else if now.boottime_ms >= pending.deadline_ms {
            Change::Expired(generation)
        } else {
            return None;
        };
        self.pending = None;
        Some(change)
    }

    fn apply(&mut self, now: &Now, confirm_within_ms: Option<u64>) -> Result<Change, Refused> {
        if let Some(pending) = &self.pending {
            return Err(Refused::ConfirmationPending(pending.generation));
        }
        if confirm_within_ms.is_some_and(|wait| !CONFIRM_MS.contains(&wait)) {
            return Err(Refused::OutOfRange);
        }
        self.latest += 1;
        let generation = self.latest;
        let Some(wait) = confirm_within_ms else {
            self.confirmed = generation;
            return Ok(Change::Confirmed(generation));
        };
        self.pending = Some(Pending {
            generation,
            boot: now.boot.clone(),
            applied_at_ms: now.boottime_ms,
            deadline_ms: now.boottime_ms.saturating_add(wait),
        });
        Ok(Change::Pending(generation))
    }

    fn take(&mut self, generation: u64) -> Result<(), Refused> {
        match &self.pending {
            Some(pending) if pending.generation == generation => {
                self.pending = None;
                Ok(())
            }
            _ => Err(Refused::NotPending(generation)),
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
