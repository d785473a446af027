//! What follows when a service does not come back by itself, step by step and each with its reason on
//! record: the service is started again; then together with those that declared `restart_with`; then
//! the machine is restarted, and then the other slot (`crate::slots` knows which of the two: a slot on
//! trial gets its tries, one that had been good is left).

use manifest::Service;

use super::Core;
use super::unit::{AfterStop, State};
use crate::event::{Action, Level, Moment, ServiceId};

/// How often the second step may be tried: giving up again within this time leads to the third.
const AGAIN_MS: u64 = 600_000;

/// For each service, the positions of all that are restarted when it is, directly or through others.
pub(super) fn followers(services: &[Service]) -> Vec<Vec<usize>> {
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); services.len()];
    for (position, service) in services.iter().enumerate() {
        for (leader, of_leader) in followers.iter_mut().enumerate().take(position) {
            let declared = |name: &manifest::Name| {
                *name == services[leader].name
                    || of_leader.iter().any(|other| *name == services[*other].name)
            };
            if service.restart_with.iter().any(declared) {
                of_leader.push(position);
            }
        }
    }
    followers
}

impl Core {
    /// A service ended and is started again: whoever declared it goes with it.
    pub(super) fn restart_followers(&mut self, now: Moment, id: ServiceId) {
        if self.shutdown.is_some() {
            return;
        }
        let name = self.units[id.0].service.name.clone();
        for follower in self.followers[id.0].clone() {
            let unit = &mut self.units[follower];
            if !matches!(unit.state, State::Ready { .. } | State::Starting { .. }) {
                continue;
            }
            let follower = ServiceId(follower);
            let reason = format!("restarted with {name}");
            self.tell(Level::Info, follower, reason.clone());
            self.note("restarted_with", follower, reason);
            self.stop(now, follower, AfterStop::StartAgain);
        }
    }

    /// A service used up its restarts.
    pub(super) fn given_up(&mut self, now: Moment, id: ServiceId, text: String) {
        self.tell(Level::Error, id, text.clone());
        self.note("given_up", id, text.clone());
        if !self.units[id.0].service.critical {
            return;
        }
        let lately = |at: Moment| now.ms_since(at) < AGAIN_MS;
        let unit = &mut self.units[id.0];
        let reason = format!("service {} given up: {text}", unit.service.name);
        if self.followers[id.0].is_empty() || unit.escalated.is_some_and(lately) {
            self.actions.push(Action::Escalate(reason));
            return;
        }
        unit.escalated = Some(now);
        unit.want(now);
        let reason = format!("{reason}; starting it again with its dependants");
        self.tell(Level::Error, id, reason.clone());
        self.note("escalated", id, reason);
        for follower in self.followers[id.0].clone() {
            // Also those that were given up for want of it.
            match self.units[follower].alive() {
                true => self.stop(now, ServiceId(follower), AfterStop::StartAgain),
                false => self.units[follower].want(now),
            }
        }
    }
}
