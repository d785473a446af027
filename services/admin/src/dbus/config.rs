use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use store_api::wire::{ApplyCall, RollbackCall};
use store_api::{Client, ConfigurationStatus};
use zbus::message::Header;
use zbus::{Connection, OwnedVariant, Variant, interface};

use super::init::json;
use crate::caller::Caller;
use crate::hub::{Hub, Visit};
use crate::options::{self, Options};
use crate::policy::Action;
use crate::{Error, presence, session};

const REASON_MAX_BYTES: usize = 1024;
const SESSION_MAX_BYTES: usize = 128;
const HISTORY_MAX: u32 = 1000;

/// The configuration.
#[derive(Debug)]
pub(crate) struct Config(pub(crate) Arc<Hub>);

/// The properties that change, by name.
pub(crate) fn changing(status: Option<&Standing>) -> BTreeMap<&'static str, Variant<'static>> {
    BTreeMap::from([
        (
            "Generation",
            status.map_or(0, |s| s.status.generation).into(),
        ),
        ("Confirmed", status.map_or(0, |s| s.status.confirmed).into()),
        ("Pending", pending(status).into()),
        ("Deadline", deadline(status).into()),
        ("Editor", editor(status).into()),
    ])
}

/// Where the configuration stands, as the store said at some moment.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    status: ConfigurationStatus,
    heard_at_ms: u64,
}

impl Standing {
    pub(crate) fn now(status: ConfigurationStatus) -> Self {
        Self {
            status,
            heard_at_ms: presence::boottime_ms(),
        }
    }
}

fn pending(standing: Option<&Standing>) -> u64 {
    let pending = standing.and_then(|standing| standing.status.pending.as_ref());
    pending.map_or(0, |pending| pending.generation)
}

fn deadline(standing: Option<&Standing>) -> u64 {
    let remaining = |s: &Standing| Some(s.heard_at_ms + s.status.pending.as_ref()?.remaining_ms);
    standing.and_then(remaining).unwrap_or(0)
}

fn editor(standing: Option<&Standing>) -> String {
    let editor = standing.and_then(|standing| standing.status.editor.as_ref());
    editor.map_or_else(String::new, |editor| editor.author.clone())
}

impl Config {
    async fn enter(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        action: Action,
    ) -> Result<Visit, Error> {
        self.0.enter(connection, header, action).await
    }

    /// What Cedar is asked about a confirmation: what of the caller was there when the generation
    /// began to apply. What can't be told counts as old.
    fn confirmation(&self, caller: &Caller, applied_at_ms: u64) -> Action {
        let began = |pid| session::began_ms(Path::new("/proc"), pid);
        let session_began_ms = caller.pid.and_then(began);
        Action::ConfigConfirm {
            connection_is_older: self.0.presence.is_older(&caller.name, applied_at_ms),
            session_is_older: session_began_ms.is_none_or(|ms| ms <= applied_at_ms),
        }
    }
}

#[interface(name = "org.x0tta6bl4.Config1")]
impl Config {
    /// The document that applies now. Options: "generation" (number): an older one;
    /// "public" (boolean): with its secrets hidden.
    #[zbus(out_args("text"))]
    async fn get(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let _visit = self.enter(connection, &header, Action::ConfigRead).await?;
        let mut options = Options::new(options);
        let number: Option<u64> = options.take("generation")?;
        let public = options.take("public")?.unwrap_or(false);
        options.end()?;
        let text = self.0.store(move |store| text_of(store, number)).await?;
        match public {
            true => Ok(parse(&text)?.public_text()),
            false => Ok(text),
        }
    }

    /// Where the configuration stands, with what each service said of it, as JSON.
    #[zbus(out_args("json"))]
    async fn describe(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let _visit = self.enter(connection, &header, Action::ConfigRead).await?;
        options::none(options)?;
        json(&self.0.store(Client::configuration_status).await?)
    }

    /// The JSON Schema of the document.
    #[zbus(out_args("json"))]
    async fn schema(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let _visit = self.enter(connection, &header, Action::ConfigRead).await?;
        options::none(options)?;
        json(&config::schema())
    }

    /// What is wrong with a document: line, column, key, what, and what to do about it. Empty:
    /// nothing is.
    #[zbus(out_args("problems"))]
    async fn validate(
        &self,
        text: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<(u32, u32, String, String, String)>, Error> {
        let _visit = self.enter(connection, &header, Action::ConfigRead).await?;
        options::none(options)?;
        let problems = self.0.store(move |store| store.validate(&text)).await?;
        let row = |p: store_api::Problem| {
            (
                p.line,
                p.column,
                p.path,
                p.message,
                p.suggestion.unwrap_or_default(),
            )
        };
        Ok(problems.into_iter().map(row).collect())
    }

    /// How a document differs from the one that applies, as JSON: "changes" by key with secrets
    /// hidden, and "text", a unified diff. Option "generation": compare with that one.
    #[zbus(out_args("json"))]
    async fn diff(
        &self,
        text: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let _visit = self.enter(connection, &header, Action::ConfigRead).await?;
        let mut options = Options::new(options);
        let number: Option<u64> = options.take("generation")?;
        options.end()?;
        let old = self.0.store(move |store| text_of(store, number)).await?;
        json(&config::diff(&parse(&old)?, &parse(&text)?))
    }

    /// Begins to edit: nobody else changes the configuration until `EndEdit`, or until this
    /// connection closes. Gives the session, the generation and its text.
    #[zbus(out_args("session", "generation", "text"))]
    async fn begin_edit(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(String, u64, String), Error> {
        let visit = self.enter(connection, &header, Action::ConfigEdit).await?;
        options::none(options)?;
        let author = visit.caller.title();
        let begin = move |socket| -> Result<_, Error> {
            let mut store = Client::connect(socket)?;
            let reply = store.begin_edit(&author)?;
            Ok((store, reply))
        };
        let (store, reply) = self.0.store.call(begin).await?;
        self.0
            .editing
            .hold(&visit.caller.name, &reply.session, store);
        Ok((reply.session, reply.generation, reply.text))
    }

    /// Ends the editing session without a change.
    async fn end_edit(
        &self,
        session: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let visit = self.enter(connection, &header, Action::ConfigEdit).await?;
        options::none(options)?;
        if !self.0.editing.is_of(&visit.caller.name, &session) {
            return Err(not_yours());
        }
        self.0.editing.abandon(&visit.caller.name);
        Ok(())
    }

    /// Applies a document and gives its generation. Options: "reason" (text), "session" (of
    /// `BeginEdit`), "confirm-within" (seconds, a uint32): without it the document is confirmed at
    /// once.
    #[zbus(out_args("generation"))]
    async fn apply(
        &self,
        text: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<u64, Error> {
        let visit = self.enter(connection, &header, Action::ConfigApply).await?;
        let mut options = Options::new(options);
        let call = ApplyCall {
            text,
            author: visit.caller.title(),
            reason: options
                .text("reason", REASON_MAX_BYTES)?
                .unwrap_or_default(),
            session: options.text("session", SESSION_MAX_BYTES)?,
            confirm_within_s: options.take("confirm-within")?,
        };
        options.end()?;
        let session = call.session.as_deref();
        if session.is_some_and(|session| !self.0.editing.is_of(&visit.caller.name, session)) {
            return Err(not_yours());
        }
        visit.changed(Action::ConfigApply, &call.reason);
        self.0.store(move |store| store.apply(&call)).await
    }

    /// Keeps the pending generation. The call has to come over a connection that was opened after
    /// the generation began to apply, and from `remote` also out of a newer session.
    async fn confirm(
        &self,
        generation: u64,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let visit = self.enter(connection, &header, Action::ConfigRead).await?;
        options::none(options)?;
        let status = self.0.store(Client::configuration_status).await?;
        let pending = status
            .pending
            .filter(|pending| pending.generation == generation);
        let Some(pending) = pending else {
            return Err(Error::Conflict(format!(
                "generation {generation} does not wait for a confirmation (any more)"
            )));
        };
        let action = self.confirmation(&visit.caller, pending.applied_at_ms);
        self.0.judge(&visit.caller, action)?;
        visit.changed(action, &generation.to_string());
        let author = visit.caller.title();
        let confirm = move |store: &mut Client| store.confirm(generation, &author);
        self.0.store(confirm).await
    }

    /// Takes the pending generation back at once. Option "reason" (text).
    async fn cancel(
        &self,
        generation: u64,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let visit = self
            .enter(connection, &header, Action::ConfigCancel)
            .await?;
        let mut options = Options::new(options);
        let reason = options
            .text("reason", REASON_MAX_BYTES)?
            .unwrap_or_default();
        options.end()?;
        visit.changed(Action::ConfigCancel, &generation.to_string());
        let author = visit.caller.title();
        let cancel = move |store: &mut Client| store.cancel(generation, &author, &reason);
        self.0.store(cancel).await
    }

    /// Applies the text of an old generation again and gives the number of the new one. Options:
    /// "reason" (text), "confirm-within" (seconds).
    #[zbus(out_args("generation"))]
    async fn rollback(
        &self,
        to: u64,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<u64, Error> {
        let visit = self
            .enter(connection, &header, Action::ConfigRollback)
            .await?;
        let mut options = Options::new(options);
        let call = RollbackCall {
            to,
            author: visit.caller.title(),
            reason: options
                .text("reason", REASON_MAX_BYTES)?
                .unwrap_or_default(),
            confirm_within_s: options.take("confirm-within")?,
        };
        options.end()?;
        visit.changed(Action::ConfigRollback, &to.to_string());
        self.0.store(move |store| store.rollback(&call)).await
    }

    /// The generations, newest first, without their texts, as JSON. Option "before" (number).
    #[zbus(out_args("json"))]
    async fn history(
        &self,
        limit: u32,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let _visit = self.enter(connection, &header, Action::ConfigRead).await?;
        let mut options = Options::new(options);
        let before: Option<u64> = options.take("before")?;
        options.end()?;
        let limit = Some(limit.min(HISTORY_MAX));
        json(
            &self
                .0
                .store(move |store| store.history(before, limit))
                .await?,
        )
    }

    /// The generation that applies, confirmed or not; 0 while the store is away.
    #[zbus(property)]
    async fn generation(&self) -> u64 {
        self.0.configuration().map_or(0, |s| s.status.generation)
    }

    /// The last confirmed generation.
    #[zbus(property)]
    async fn confirmed(&self) -> u64 {
        self.0.configuration().map_or(0, |s| s.status.confirmed)
    }

    /// The generation that waits for its confirmation; 0: none.
    #[zbus(property)]
    async fn pending(&self) -> u64 {
        pending(self.0.configuration().as_ref())
    }

    /// When the old configuration comes back, in milliseconds of CLOCK_BOOTTIME; 0: never.
    #[zbus(property)]
    async fn deadline(&self) -> u64 {
        deadline(self.0.configuration().as_ref())
    }

    /// Who edits; empty: nobody.
    #[zbus(property)]
    async fn editor(&self) -> String {
        editor(self.0.configuration().as_ref())
    }
}

fn text_of(store: &mut Client, number: Option<u64>) -> Result<String, store_api::CallError> {
    let number = match number {
        Some(number) => number,
        None => store.configuration_status()?.generation,
    };
    Ok(store.generation(number)?.1)
}

fn parse(text: &str) -> Result<config::Document, Error> {
    config::Document::parse(text).map_err(|problems| {
        let problems = config::Problems(problems);
        Error::InvalidConfiguration(format!("the document is not valid:\n{problems}"))
    })
}

fn not_yours() -> Error {
    Error::Conflict("no such editing session of this connection: begin one".into())
}
