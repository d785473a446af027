//! The core in a form that outlives the program: what a re-executed PID 1 goes on with.

use manifest::{Name, Service, Table};
use serde::{Deserialize, Serialize};

use super::Core;
use super::blame::Milestones;
use super::health::Gate;
use super::shutdown::Shutdown;
use super::unit::{State, Unit};
use crate::event::Moment;

/// All that the core knows beyond the service table.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SavedCore {
    pub(crate) booted: Moment,
    pub(crate) all_ready: Option<Moment>,
    pub(crate) gate: Gate,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) units: Vec<SavedUnit>,
}

/// A unit without its manifest.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SavedUnit {
    pub(crate) name: Name,
    pub(crate) state: State,
    since: Moment,
    pid: Option<u32>,
    restarts: u64,
    status_text: String,
    last_exit: Option<String>,
    milestones: Milestones,
    attempts: u32,
    recent: Vec<Moment>,
    escalated: Option<Moment>,
}

impl Core {
    pub(crate) fn save(&self) -> SavedCore {
        SavedCore {
            booted: self.booted,
            all_ready: self.all_ready,
            gate: self.gate.clone(),
            shutdown: self.shutdown.clone(),
            units: self.units.iter().map(Unit::save).collect(),
        }
    }

    /// Goes on where `saved` ends. A service that is new in the table waits for its start.
    pub(crate) fn restore(now: Moment, table: Table, mut saved: SavedCore) -> Self {
        let mut core = Self::new(saved.booted, table);
        (core.all_ready, core.gate, core.shutdown) = (saved.all_ready, saved.gate, saved.shutdown);
        for unit in &mut core.units {
            let position = (saved.units.iter()).position(|saved| saved.name == unit.service.name);
            match position {
                Some(position) => unit.restore(saved.units.swap_remove(position)),
                None => unit.enter(now, State::Waiting),
            }
        }
        core
    }

    /// The counters of `saved` for a userspace that starts anew.
    pub(crate) fn keep_counters(&mut self, saved: SavedCore) {
        for saved in saved.units {
            let own = (self.units.iter_mut()).find(|unit| unit.service.name == saved.name);
            if let Some(unit) = own {
                (unit.restarts, unit.last_exit) = (saved.restarts, saved.last_exit);
            }
        }
    }
}

impl Unit {
    fn save(&self) -> SavedUnit {
        SavedUnit {
            name: self.service.name.clone(),
            state: self.state.clone(),
            since: self.since,
            pid: self.pid,
            restarts: self.restarts,
            status_text: self.status_text.clone(),
            last_exit: self.last_exit.clone(),
            milestones: self.milestones,
            attempts: self.attempts,
            recent: self.recent.iter().copied().collect(),
            escalated: self.escalated,
        }
    }

    fn restore(&mut self, saved: SavedUnit) {
        let Service { restart, .. } = self.service;
        self.state = saved.state;
        self.since = saved.since;
        self.pid = saved.pid;
        self.restarts = saved.restarts;
        self.status_text = saved.status_text;
        self.last_exit = saved.last_exit;
        self.milestones = saved.milestones;
        self.attempts = saved.attempts;
        self.recent = saved.recent.into();
        self.recent.truncate(restart.burst as usize);
        self.escalated = saved.escalated;
    }
}
