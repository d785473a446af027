//! Telling those who follow what has changed.

use serde_json::json;

use super::answer::wants;
use super::connection::{Follow, State};
use super::{Outcome, Server};
use crate::engine::Notice;

impl Server {
    /// Tells whoever follows what has changed.
    pub(super) fn spread(&mut self, notices: Vec<Notice>) {
        let mut is_reconfigured = false;
        let mut closed = Vec::new();
        for notice in &notices {
            is_reconfigured |= matches!(notice, Notice::Configuration);
            for (ticket, connection) in &mut self.connections {
                let State::Following(follow) = &mut connection.state else {
                    continue;
                };
                let news = match (follow, notice) {
                    (Follow::Keys { prefix, since }, Notice::State { service, change })
                        if *service == connection.caller.service
                            && change.key.starts_with(prefix.as_str())
                            && change.version > *since =>
                    {
                        Some(json!({ "changes": [change] }))
                    }
                    (Follow::Events { filter, since }, Notice::Event(appended))
                        if appended.record.sequence > *since =>
                    {
                        *since = appended.record.sequence;
                        wants(filter, &appended.record)
                            .then(|| json!({ "events": [appended.event()] }))
                    }
                    // All its keys may have changed: it connects again and is told all.
                    (Follow::Keys { .. }, Notice::Restored) => {
                        closed.push(*ticket);
                        None
                    }
                    _ => None,
                };
                if news.is_some_and(|news| connection.news(news) == Outcome::Close) {
                    closed.push(*ticket);
                }
            }
        }
        for ticket in closed {
            self.close(ticket);
        }
        if is_reconfigured {
            self.reconfigure();
        }
    }

    fn reconfigure(&mut self) {
        let before = self.effective.machine.confirmed();
        match self.effective.reload(&self.engine) {
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the configuration cannot be read"),
        }
        if self.effective.machine.confirmed() != before {
            self.upkeep.is_due();
        }
        let mut closed = Vec::new();
        for (ticket, connection) in &mut self.connections {
            if let State::Following(Follow::Configuration { generation }) = &mut connection.state
                && *generation != self.effective.generation()
            {
                *generation = self.effective.generation();
                let news = self.effective.for_caller(&connection.caller);
                if connection.news(news) == Outcome::Close {
                    closed.push(*ticket);
                }
            }
        }
        for ticket in closed {
            self.close(ticket);
        }
        self.spread_status();
        self.tell_status();
    }

    pub(super) fn spread_status(&mut self) {
        let status = json!({ "status": self.effective.status(self.editing.editor()) });
        let mut closed = Vec::new();
        for (ticket, connection) in &mut self.connections {
            if let State::Following(Follow::Status { last }) = &mut connection.state
                && *last != status
            {
                *last = status.clone();
                if connection.news(status.clone()) == Outcome::Close {
                    closed.push(*ticket);
                }
            }
        }
        for ticket in closed {
            self.close(ticket);
        }
    }
}
