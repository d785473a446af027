//! What every object on the bus shares: who calls, whether they may, the way to PID 1 and to the
//! store, and what is known of both.

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::Status;
use zbus::Connection;
use zbus::message::Header;

use crate::backend::Backend;
use crate::caller::{Caller, Callers};
use crate::dbus::config::Standing;
use crate::editing::Editing;
use crate::job::Jobs;
use crate::policy::{Action, Policy, Verdict};
use crate::presence::Presence;
use crate::record::{self, Note};
use crate::{Config, Error};

/// Calls of one user that are worked on at a time. A user who sends more gets `LimitExceeded`;
/// everybody else's calls wait behind at most these.
const CALLS_PER_USER: usize = 16;

/// Shared by all objects.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) init: Backend,
    pub(crate) store: Backend,
    pub(crate) presence: Presence,
    pub(crate) jobs: Jobs,
    pub(crate) editing: Editing,
    configuration: Mutex<Option<Standing>>,
    record: SyncSender<Note>,
    pub(crate) callers: Callers,
    policy: Policy,
    under_way: Mutex<HashMap<u32, usize>>,
    status: Mutex<Known>,
}

/// What PID 1 said last, or why it does not say anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) status: Option<Arc<Status>>,
    pub(crate) trouble: Option<String>,
}

impl Hub {
    /// A hub that has called nobody yet.
    #[must_use]
    pub(crate) fn new(config: &Config, policy: Policy) -> Self {
        Self {
            init: Backend::new("PID 1", config.init.clone()),
            store: Backend::new("the store", config.store.clone()),
            presence: Presence::default(),
            jobs: Jobs::default(),
            editing: Editing::default(),
            configuration: Mutex::default(),
            record: record::start(config.store.clone()),
            callers: Callers::default(),
            policy,
            under_way: Mutex::default(),
            status: Mutex::default(),
        }
    }

    /// Lets a call in: its caller is known, not too busy, and may do it. The call counts until the
    /// visit is dropped.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        connection: &Connection,
        header: &Header<'_>,
        action: Action,
    ) -> Result<Visit, Error> {
        let caller = self.callers.identify(connection, header).await?;
        let visit = self.count(caller)?;
        self.judge(&visit.caller, action)?;
        Ok(visit)
    }

    /// Refuses what the policies forbid.
    pub(crate) fn judge(&self, caller: &Caller, action: Action) -> Result<(), Error> {
        let verdict = self.policy.decide(caller, action);
        match verdict.map_err(|error| Error::Refused(error.to_string()))? {
            Verdict::Permitted => Ok(()),
            Verdict::Forbidden(rule) => {
                let (who, action) = (caller.title(), action.name());
                tracing::warn!(who, action, rule, "refused");
                self.note(Note::refusal(caller, action, &rule));
                Err(Error::Refused(format!(
                    "{who} may not do {action} (policy `{rule}`)"
                )))
            }
        }
    }

    /// What does not fit in the queue stays in this service's own log alone.
    fn note(&self, note: Note) {
        if self.record.try_send(note).is_err() {
            tracing::warn!("the event log takes no more records now");
        }
    }

    fn count(self: &Arc<Self>, caller: Arc<Caller>) -> Result<Visit, Error> {
        let mut under_way = lock(&self.under_way);
        let calls = under_way.entry(caller.uid).or_default();
        if *calls >= CALLS_PER_USER {
            return Err(Error::LimitExceeded(format!(
                "{CALLS_PER_USER} calls of {} are under way: wait for an answer",
                caller.title()
            )));
        }
        *calls += 1;
        drop(under_way);
        Ok(Visit {
            caller,
            hub: Arc::clone(self),
        })
    }

    /// What PID 1 said last.
    pub(crate) fn known(&self) -> Known {
        lock(&self.status).clone()
    }

    /// Replaces what is known of PID 1 and returns what was known before.
    pub(crate) fn learn(&self, known: Known) -> Known {
        std::mem::replace(&mut lock(&self.status), known)
    }

    /// Where the configuration stands, as the store said last; `None` while it is away.
    pub(crate) fn configuration(&self) -> Option<Standing> {
        lock(&self.configuration).clone()
    }

    /// Replaces what is known of the configuration and returns what was known before.
    pub(crate) fn learn_configuration(&self, status: Option<Standing>) -> Option<Standing> {
        std::mem::replace(&mut lock(&self.configuration), status)
    }

    /// Calls the store.
    pub(crate) async fn store<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut store_api::Client) -> Result<R, store_api::CallError> + Send + 'static,
    ) -> Result<R, Error> {
        self.store
            .call(|socket| -> Result<R, Error> {
                let mut client = store_api::Client::connect(socket)?;
                Ok(call(&mut client)?)
            })
            .await
    }

    /// A connection of this bus is gone: its jobs and its editing session go with it.
    pub(crate) fn left(&self, name: &str) {
        self.callers.forget(name);
        self.presence.left(name);
        self.jobs.abandon(name);
        self.editing.abandon(name);
    }

    /// Another bus, other names.
    pub(crate) fn new_bus(&self) {
        self.callers.forget_all();
        self.presence.forget_all();
        self.jobs.abandon_all();
        self.editing.abandon_all();
    }

    /// Calls PID 1.
    pub(crate) async fn init<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut api::Client) -> Result<R, api::CallError> + Send + 'static,
    ) -> Result<R, Error> {
        self.init
            .call(|socket| -> Result<R, Error> {
                let mut client = api::Client::connect(socket)?;
                Ok(call(&mut client)?)
            })
            .await
    }
}

/// A call that was let in.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) caller: Arc<Caller>,
    hub: Arc<Hub>,
}

impl Visit {
    /// Notes that the caller changes something: in this service's log and in the event log.
    pub(crate) fn changed(&self, action: Action, what: &str) {
        let (who, action) = (self.caller.title(), action.name());
        tracing::info!(who, pid = self.caller.pid, action, what, "asked for");
        self.hub.note(Note::change(&self.caller, action, what));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut under_way = lock(&self.hub.under_way);
        if let Some(calls) = under_way.get_mut(&self.caller.uid) {
            *calls -= 1;
            if *calls == 0 {
                under_way.remove(&self.caller.uid);
            }
        }
    }
}

/// Nothing that panics runs under these locks; if it did, the values are whole all the same.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_refused_and_others_are_not() {
        let hub = Arc::new(Hub::new(&Config::default(), Policy::load().unwrap()));
        let flooder = Arc::new(Caller::new(":1.1", 1, vec![], None));
        let other = Arc::new(Caller::new(":1.2", 2, vec![], None));
        let mut visits: Vec<_> = (0..CALLS_PER_USER)
            .map(|_| hub.count(Arc::clone(&flooder)).unwrap())
            .collect();
        let error = hub.count(Arc::clone(&flooder)).unwrap_err();
        assert!(matches!(error, Error::LimitExceeded(_)));
        hub.count(other).unwrap();
        visits.pop();
        hub.count(flooder).unwrap();
    }
}
