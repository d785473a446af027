//! What took how long at the boot, and which chain of services decided it.

use api::{Blame, BlameEntry};
use serde::{Deserialize, Serialize};

use super::Core;
use crate::event::Moment;

/// A unit's first start and first readiness since the boot.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Milestones {
    pub(crate) started: Option<Moment>,
    pub(crate) ready: Option<Moment>,
}

impl Core {
    /// Where the time of the boot went.
    #[must_use]
    pub fn blame(&self) -> Blame {
        let services = self.units.iter().enumerate().map(|(position, unit)| {
            let Milestones { started, ready } = unit.milestones;
            let waited_for = self.last_need(position);
            BlameEntry {
                service: unit.service.name.to_string(),
                started_ms: started.map(|moment| moment.0),
                ready_ms: ready.map(|moment| moment.0),
                took_ms: started.zip(ready).map(|(start, end)| end.ms_since(start)),
                waited_for: waited_for.map(|need| self.units[need].service.name.to_string()),
            }
        });
        Blame {
            kernel_ms: self.booted.0,
            userspace_ms: self.userspace_ready_ms(),
            services: services.collect(),
            critical_path: self.critical_path(),
        }
    }

    /// Backwards from what was ready last.
    fn critical_path(&self) -> Vec<String> {
        let ready = |position: &usize| self.units[*position].milestones.ready;
        let positions = (0..self.units.len()).filter(|position| ready(position).is_some());
        let mut next = positions.max_by_key(ready);
        let mut path = Vec::new();
        while let Some(position) = next {
            path.push(self.units[position].service.name.to_string());
            // The table is in order, so this ends.
            next = self.last_need(position);
        }
        path.reverse();
        path
    }

    fn last_need(&self, position: usize) -> Option<usize> {
        let needs = self.needs[position].iter().copied();
        let ready = needs.filter_map(|need| Some((self.units[need].milestones.ready?, need)));
        ready.max().map(|(_, need)| need)
    }
}
