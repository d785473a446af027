use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;

use crate::Error;

/// So many callers are remembered; beyond that all are forgotten and asked about again.
const REMEMBERED: usize = 256;

/// Who made a call, as the bus vouches for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Its unique name on the bus.
    pub name: String,
    /// The user.
    pub uid: u32,
    /// All groups, the primary one among them.
    pub gids: Vec<u32>,
    /// The process that opened the connection, where the bus knows it.
    pub pid: Option<u32>,
}

impl Caller {
    /// A caller with these credentials.
    #[must_use]
    pub fn new(name: &str, uid: u32, gids: Vec<u32>, pid: Option<u32>) -> Self {
        Self {
            name: name.to_owned(),
            uid,
            gids,
            pid,
        }
    }

    /// The groups that policies know, by name.
    pub fn groups(&self) -> impl Iterator<Item = &'static str> {
        let known = [(CONTROL_GROUP_ID, "control"), (VIEW_GROUP_ID, "view")];
        let is_member = |(id, _): &(u32, _)| self.gids.contains(id);
        known.into_iter().filter(is_member).map(|(_, name)| name)
    }

    /// The way it came in.
    #[must_use]
    pub fn origin(&self) -> &'static str {
        match self.uid {
            0 => "system",
            204 => "console",
            205 => "channel",
            REMOTE_USER_ID => "remote",
            _ => "other",
        }
    }

    /// For the event log: `console`, or `user 1000` for whom the image has no name.
    #[must_use]
    pub fn title(&self) -> String {
        match self.origin() {
            "other" => format!("user {}", self.uid),
            name => name.to_owned(),
        }
    }
}

const CONTROL_GROUP_ID: u32 = 90;
const VIEW_GROUP_ID: u32 = 91;
const REMOTE_USER_ID: u32 = 210;

/// The callers of one connection to the bus. Unique names are not used twice while a bus lives, so
/// what is known about one stays true.
#[derive(Debug, Default)]
pub struct Callers(Mutex<HashMap<String, Arc<Caller>>>);

impl Callers {
    /// Who sent the message with this header.
    ///
    /// # Errors
    /// When the bus does not tell.
    pub async fn identify(
        &self,
        connection: &Connection,
        header: &Header<'_>,
    ) -> Result<Arc<Caller>, Error> {
        let sender = header.sender().ok_or_else(|| {
            Error::Refused("the call names no sender: call over the bus (rule sender-known)".into())
        })?;
        if let Some(caller) = self.lock().get(sender.as_str()) {
            return Ok(Arc::clone(caller));
        }
        let bus = DBusProxy::builder(connection).build().await?;
        let credentials = bus
            .get_connection_credentials(sender.to_owned().into())
            .await
            .map_err(zbus::Error::from)?;
        let uid = credentials.unix_user_id().ok_or_else(|| {
            Error::Refused("the bus does not know the caller's user (rule sender-known)".into())
        })?;
        let gids = credentials.unix_group_ids().cloned().unwrap_or_default();
        let pid = credentials.process_id();
        let caller = Arc::new(Caller::new(sender.as_str(), uid, gids, pid));
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(caller.name.clone(), Arc::clone(&caller));
        Ok(caller)
    }

    /// That connection is gone.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Another bus gives the same names to others.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Caller>>> {
        // A poisoned cache is still a cache: every entry went in whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_origin_follow_the_numbers() {
        let caller = Caller::new(":1.1", 210, vec![210, 91, 90], None);
        assert_eq!(caller.groups().collect::<Vec<_>>(), ["control", "view"]);
        assert_eq!(caller.origin(), "remote");
        assert_eq!(Caller::new(":1.1", 1000, vec![], None).title(), "user 1000");
    }
}
