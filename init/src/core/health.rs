//! The health gate: a boot counts as good when every critical service has been ready for a while.

use api::{Health, HealthState};
use serde::{Deserialize, Serialize};

use super::unit::{State, Unit};
use crate::event::{Action, Level, Moment};

/// How long the critical services must stay ready.
pub(super) const SOAK_MS: u64 = 5_000;
/// A boot that is not healthy by then is a failed one.
pub(super) const DEADLINE_MS: u64 = 300_000;
/// Between two attempts to write BOOTSTATE.
pub(super) const RETRY_MS: u64 = 30_000;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Gate {
    stage: Stage,
    deadline: Option<Moment>,
    commit_error: Option<String>,
    overdue: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
enum Stage {
    Committed,
    Committing,
    RetryAt(Moment),
    SoakUntil(Moment),
    Waiting,
}

impl Gate {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            stage: Stage::Waiting,
            deadline: Some(now.after_ms(DEADLINE_MS)),
            commit_error: None,
            overdue: false,
        }
    }

    pub(super) fn is_committed(&self) -> bool {
        matches!(self.stage, Stage::Committed)
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.stage {
            Stage::Committed | Stage::Committing => None,
            Stage::RetryAt(at) => Some(at),
            Stage::SoakUntil(until) => Some(until),
            Stage::Waiting => self.deadline,
        }
    }

    pub(super) fn advance(&mut self, now: Moment, units: &[Unit], actions: &mut Vec<Action>) {
        let ready = units
            .iter()
            .all(|unit| !unit.service.critical || unit.satisfies());
        self.stage = match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Waiting if ready => Stage::SoakUntil(now.after_ms(SOAK_MS)),
            Stage::SoakUntil(_) | Stage::RetryAt(_) if !ready => Stage::Waiting,
            Stage::SoakUntil(at) | Stage::RetryAt(at) if at <= now => {
                actions.push(Action::Commit);
                Stage::Committing
            }
            stage => stage,
        };
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        if late && matches!(self.stage, Stage::Waiting) {
            self.deadline = None;
            self.overdue = true;
            let missing = missing(units).join(", ");
            let reason = format!("not healthy within {} s: {missing}", DEADLINE_MS / 1000);
            actions.push(Action::Escalate(reason));
        }
    }

    pub(super) fn committed(
        &mut self,
        now: Moment,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        match result {
            Ok(()) => {
                self.stage = Stage::Committed;
                self.deadline = None;
                self.commit_error = None;
                self.overdue = false;
            }
            Err(error) => {
                let text = format!("this boot is not recorded as good: {error}");
                actions.push(Action::Tell(Level::Error, None, text.clone()));
                self.stage = Stage::RetryAt(now.after_ms(RETRY_MS));
                // The services work; another slot would not write this record better.
                self.deadline = None;
                self.commit_error = Some(text);
            }
        }
    }

    pub(super) fn health(&self, units: &[Unit]) -> Health {
        let given_up = |unit: &&Unit| matches!(unit.state, State::Failed);
        let mut reasons: Vec<String> = (units.iter().filter(given_up))
            .map(|unit| {
                let how = unit.last_exit.as_deref().unwrap_or("never started");
                format!("{} was given up: {how}", unit.service.name)
            })
            .collect();
        reasons.extend(missing(units));
        for unit in units {
            if let Some(text) = unit.status_text.strip_prefix("degraded: ") {
                reasons.push(format!("{}: {text}", unit.service.name));
            }
        }
        reasons.extend(self.commit_error.clone());
        if self.overdue {
            reasons.push(format!("not healthy within {} s", DEADLINE_MS / 1000));
        }
        let lost = |unit: &Unit| unit.service.critical && matches!(unit.state, State::Failed);
        let state = if units.iter().any(lost) {
            HealthState::Failed
        } else if !self.is_committed() && self.commit_error.is_none() {
            HealthState::Starting
        } else if reasons.is_empty() {
            HealthState::Healthy
        } else {
            HealthState::Degraded
        };
        Health { state, reasons }
    }
}

/// Critical services that are not ready, apart from those given up.
fn missing(units: &[Unit]) -> Vec<String> {
    let missing = |unit: &&Unit| {
        unit.service.critical && !unit.satisfies() && !matches!(unit.state, State::Failed)
    };
    (units.iter().filter(missing))
        .map(|unit| format!("{} is {}", unit.service.name, unit.public_state()))
        .collect()
}
