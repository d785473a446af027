//! The way down: what needs a service stops before it does, and everything has a deadline.

use api::Power;
use serde::{Deserialize, Serialize};

use super::unit::{AfterStop, State, Unit};
use crate::event::{Action, Moment, ServiceId};

/// However long the chain of services is: after this, all that is left is killed at once.
const DEADLINE_MS: u64 = 30_000;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Shutdown {
    power: Power,
    deadline: Option<Moment>,
    finished: bool,
}

impl Shutdown {
    pub(super) fn begin(now: Moment, power: Power, units: &mut [Unit]) -> Self {
        for unit in units {
            match &mut unit.state {
                State::Backoff { .. } | State::Waiting => unit.enter(now, State::Stopped),
                State::Stopping { then, .. } => *then = AfterStop::Stay,
                State::Done
                | State::Failed
                | State::Ready { .. }
                | State::Starting { .. }
                | State::Stopped => {}
            }
        }
        Self {
            power,
            deadline: Some(now.after_ms(DEADLINE_MS)),
            finished: false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.deadline
    }

    pub(super) fn advance(
        &mut self,
        now: Moment,
        units: &mut [Unit],
        needs: &[Vec<usize>],
        actions: &mut Vec<Action>,
    ) {
        if self.finished {
            return;
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            for (position, unit) in units.iter_mut().enumerate() {
                if unit.kill(now, "out of time at shutdown") || unit.cut_short(now) {
                    actions.push(Action::Kill(ServiceId(position)));
                }
            }
        }
        let mut needed = vec![false; units.len()];
        for (unit, needs) in units.iter().zip(needs) {
            if unit.alive() && !unit.hangs() {
                needs.iter().for_each(|need| needed[*need] = true);
            }
        }
        let free = units.iter_mut().zip(needed).enumerate();
        for (position, (unit, _)) in free.filter(|(_, (_, needed))| !needed) {
            let running = matches!(unit.state, State::Ready { .. } | State::Starting { .. });
            if running && unit.request_stop(now, AfterStop::Stay) {
                actions.push(Action::Terminate(ServiceId(position)));
            }
        }
        if units.iter().all(|unit| !unit.alive() || unit.hangs()) {
            self.finished = true;
            self.deadline = None;
            actions.push(Action::Finish(self.power));
        }
    }
}
