//! The state machine: which service runs, when it is started again, whether the machine is healthy,
//! in which order it goes down. No I/O and no clock; the shell feeds it events and does what it
//! says, so that every rule can be tested with simulated time.

mod blame;
mod escalate;
mod health;
pub(crate) mod saved;
mod shutdown;
#[cfg(test)]
mod tests;
mod unit;

use api::{Health, Power};
use manifest::{Kind, Readiness, Table};

use crate::event::{Action, Event, Exit, Level, Moment, Notification, ServiceId};
use health::Gate;
use shutdown::Shutdown;
pub use unit::Unit;
use unit::{AfterStop, State};

/// All services and the machine's way from boot to end.
#[derive(Debug)]
pub struct Core {
    units: Vec<Unit>,
    /// For each unit, those that it needs.
    needs: Vec<Vec<usize>>,
    /// For each unit, those that are restarted with it.
    followers: Vec<Vec<usize>>,
    gate: Gate,
    shutdown: Option<Shutdown>,
    booted: Moment,
    all_ready: Option<Moment>,
    actions: Vec<Action>,
}

impl Core {
    /// A machine with the services of `table`, before its boot.
    #[must_use]
    pub fn new(now: Moment, table: Table) -> Self {
        let needs = table.needs_by_position();
        let followers = escalate::followers(table.services());
        let services = table.into_services().into_iter();
        Self {
            needs,
            followers,
            units: services.map(|service| Unit::new(service, now)).collect(),
            gate: Gate::new(now),
            shutdown: None,
            booted: now,
            all_ready: None,
            actions: Vec::new(),
        }
    }

    /// Takes one event; the answer is what has to be done, in order.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Action> {
        match event {
            Event::Boot => self.boot(now),
            Event::Adopted { id, pid, ready } => self.unit(id, |unit| unit.adopt(now, pid, ready)),
            Event::Committed(result) => self.gate.committed(now, result, &mut self.actions),
            Event::Executed(id) => self.executed(now, id),
            Event::Exited(id, exit) => self.exited(now, id, &exit),
            Event::Notified(id, notification) => self.notified(now, id, notification),
            Event::Power(power) => self.go_down(now, power),
            Event::Restart(id) => self.restart(now, id),
            Event::SpawnFailed(id, reason) => self.spawn_failed(now, id, &reason),
            Event::Spawned(id, pid) => self.unit(id, |unit| unit.spawned(now, pid)),
            Event::Start(id) => self.start(now, id),
            Event::Stop(id) => self.stop(now, id, AfterStop::Stay),
            Event::Tick => self.tick(now),
        }
        self.settle(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let units = self.units.iter().filter_map(Unit::deadline);
        let shutdown = self.shutdown.as_ref().and_then(Shutdown::deadline);
        let gate = if self.shutdown.is_none() {
            self.gate.deadline()
        } else {
            None
        };
        units.chain(shutdown).chain(gate).min()
    }

    /// The services, in the table's order.
    #[must_use]
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// The service called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ServiceId> {
        let position = self
            .units
            .iter()
            .position(|unit| unit.service.name == *name);
        position.map(ServiceId)
    }

    /// Whether the machine does its work.
    #[must_use]
    pub fn health(&self) -> Health {
        self.gate.health(&self.units)
    }

    /// How long it took until every service was ready for the first time.
    #[must_use]
    pub fn userspace_ready_ms(&self) -> Option<u64> {
        self.all_ready.map(|ready| ready.ms_since(self.booted))
    }

    /// Whether this boot is recorded as good.
    #[must_use]
    pub fn committed(&self) -> bool {
        self.gate.is_committed()
    }

    /// Whether the machine is on its way down.
    #[must_use]
    pub fn going_down(&self) -> bool {
        self.shutdown.is_some()
    }

    fn boot(&mut self, now: Moment) {
        for unit in self.units.iter_mut().filter(|unit| !unit.alive()) {
            unit.enter(now, State::Waiting);
        }
    }

    fn start(&mut self, now: Moment, id: ServiceId) {
        if self.shutdown.is_some() {
            return;
        }
        // The table is in order, so one pass backwards finds all that it needs.
        let mut wanted = vec![false; self.units.len()];
        if let Some(flag) = wanted.get_mut(id.0) {
            *flag = true;
        }
        for position in (0..=id.0.min(self.units.len().saturating_sub(1))).rev() {
            if wanted.get(position) != Some(&true) {
                continue;
            }
            self.units[position].want(now);
            for need in &self.needs[position] {
                wanted[*need] = true;
            }
        }
    }

    fn stop(&mut self, now: Moment, id: ServiceId, then: AfterStop) {
        let Some(unit) = self.units.get_mut(id.0) else {
            return;
        };
        if unit.request_stop(now, then) {
            self.actions.push(Action::Terminate(id));
        }
    }

    fn restart(&mut self, now: Moment, id: ServiceId) {
        if self.shutdown.is_some() {
            return;
        }
        match self.units.get(id.0).map(Unit::alive) {
            Some(true) => self.stop(now, id, AfterStop::StartAgain),
            Some(false) => self.start(now, id),
            None => {}
        }
    }

    fn executed(&mut self, now: Moment, id: ServiceId) {
        let ready_by_exec = |unit: &Unit| {
            unit.service.kind == Kind::Daemon && unit.service.readiness == Readiness::Exec
        };
        if self.units.get(id.0).is_some_and(ready_by_exec) {
            self.ready(now, id);
        }
    }

    fn notified(&mut self, now: Moment, id: ServiceId, notification: Notification) {
        match notification {
            Notification::Ready => {
                let daemon = |unit: &Unit| unit.service.kind == Kind::Daemon;
                if self.units.get(id.0).is_some_and(daemon) {
                    self.ready(now, id);
                }
            }
            Notification::Status(text) => self.unit(id, |unit| unit.status_text = text),
            Notification::Watchdog => self.unit(id, |unit| unit.pet(now)),
            Notification::WatchdogTrigger => self.recover(now, id, "triggered its watchdog"),
        }
    }

    fn ready(&mut self, now: Moment, id: ServiceId) {
        let Some(unit) = self.units.get_mut(id.0) else {
            return;
        };
        if unit.become_ready(now) {
            self.tell(Level::Info, id, "ready".into());
        }
    }

    fn exited(&mut self, now: Moment, id: ServiceId, exit: &Exit) {
        let down = self.shutdown.is_some();
        let Some(unit) = self.units.get_mut(id.0) else {
            return;
        };
        let end = unit.exited(now, exit, down);
        let comes_back = matches!(unit.state, State::Backoff { .. } | State::Waiting);
        self.tell_end(now, id, end);
        if comes_back {
            self.restart_followers(now, id);
        }
    }

    fn spawn_failed(&mut self, now: Moment, id: ServiceId, reason: &str) {
        let exit = Exit::Setup(reason.into());
        self.exited(now, id, &exit);
    }

    /// Ends a process that does not do its work; what follows is as if it had failed by itself.
    fn recover(&mut self, now: Moment, id: ServiceId, cause: &str) {
        let Some(unit) = self.units.get_mut(id.0) else {
            return;
        };
        if unit.kill(now, cause) {
            self.actions.push(Action::Kill(id));
            self.tell(Level::Warning, id, format!("{cause}: killing it"));
            self.note("killed", id, cause.into());
        }
    }

    fn tick(&mut self, now: Moment) {
        for position in 0..self.units.len() {
            let id = ServiceId(position);
            let unit = &mut self.units[position];
            if unit.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            match &unit.state {
                State::Backoff { .. } => unit.enter(now, State::Waiting),
                State::Starting { .. } => {
                    let cause = format!("not ready within {} s", unit.service.start_timeout_s);
                    self.recover(now, id, &cause);
                }
                State::Ready { .. } => {
                    let cause = format!("silent for {} s", unit.service.watchdog_s);
                    self.recover(now, id, &cause);
                }
                State::Stopping { .. } => {
                    if unit.stop_overdue(now) {
                        self.actions.push(Action::Kill(id));
                    } else {
                        self.tell(
                            Level::Error,
                            id,
                            "can't be killed: it hangs in the kernel".into(),
                        );
                    }
                }
                State::Done | State::Failed | State::Stopped | State::Waiting => {}
            }
        }
    }

    /// Does what follows from the units' states: starts, the health gate, the way down.
    fn settle(&mut self, now: Moment) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.advance(now, &mut self.units, &self.needs, &mut self.actions);
            return;
        }
        for position in 0..self.units.len() {
            if !matches!(self.units[position].state, State::Waiting) {
                continue;
            }
            let satisfied = |need: &usize| self.units[*need].satisfies();
            if self.needs[position].iter().all(satisfied) {
                self.units[position].begin(now);
                self.actions.push(Action::Spawn(ServiceId(position)));
            }
        }
        if self.all_ready.is_none() && self.units.iter().all(Unit::settled) {
            self.all_ready = Some(now);
        }
        self.gate.advance(now, &self.units, &mut self.actions);
    }

    fn go_down(&mut self, now: Moment, power: Power) {
        if self.shutdown.is_some() {
            return;
        }
        let text = match power {
            Power::Poweroff => "powering off",
            Power::Reboot => "rebooting",
            Power::SoftReboot => "restarting all services",
        };
        self.actions
            .push(Action::Tell(Level::Info, None, text.into()));
        self.actions.push(Action::Note("power", None, text.into()));
        self.shutdown = Some(Shutdown::begin(now, power, &mut self.units));
    }

    fn unit(&mut self, id: ServiceId, change: impl FnOnce(&mut Unit)) {
        if let Some(unit) = self.units.get_mut(id.0) {
            change(unit);
        }
    }

    fn tell(&mut self, level: Level, id: ServiceId, text: String) {
        self.actions.push(Action::Tell(level, Some(id), text));
    }

    fn note(&mut self, kind: &'static str, id: ServiceId, reason: String) {
        self.actions.push(Action::Note(kind, Some(id), reason));
    }

    fn tell_end(&mut self, now: Moment, id: ServiceId, end: unit::End) {
        match end {
            unit::End::Expected(text) => self.tell(Level::Info, id, text),
            unit::End::GivenUp(text) => self.given_up(now, id, text),
            unit::End::Retried(text) => {
                self.note("failed", id, text.clone());
                self.tell(Level::Warning, id, text);
            }
            unit::End::Unknown => {}
        }
    }
}
