use std::sync::Mutex;

use crate::hub::lock;

/// The editing session. The store ends it with the connection that began it, so the connection is
/// held here as long as the editor's own connection to the bus lasts.
#[derive(Debug, Default)]
pub(crate) struct Editing(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    owner: String,
    session: String,
    /// Dropping it ends the session.
    _store: store_api::Client,
}

impl Editing {
    /// The store lets one editor in at a time, so a session that is still held is over already.
    pub(crate) fn hold(&self, owner: &str, session: &str, store: store_api::Client) {
        *lock(&self.0) = Some(Held {
            owner: owner.to_owned(),
            session: session.to_owned(),
            _store: store,
        });
    }

    /// Whether `session` was begun by the connection `owner`: nobody ends or uses another's.
    pub(crate) fn is_of(&self, owner: &str, session: &str) -> bool {
        let held = lock(&self.0);
        held.as_ref()
            .is_some_and(|held| held.owner == owner && held.session == session)
    }

    pub(crate) fn abandon(&self, owner: &str) {
        let mut held = lock(&self.0);
        if held.as_ref().is_some_and(|held| held.owner == owner) {
            *held = None;
        }
    }

    pub(crate) fn abandon_all(&self) {
        *lock(&self.0) = None;
    }
}
