use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use store_api::wire::RestoreCall;
use store_api::{Client, EventFilter};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

use super::init::json;
use super::job;
use crate::Error;
use crate::hub::Hub;
use crate::options::{self, Options};
use crate::policy::Action;

const EVENTS_MAX: u32 = 1000;
const NAME_MAX_BYTES: usize = 64;
const PASSPHRASE_MAX_BYTES: usize = 1024;
/// The key is derived slowly on purpose, and this may be a slow machine.
const CHUNK_WAIT: Duration = Duration::from_secs(120);

/// What the router remembers.
#[derive(Debug)]
pub(crate) struct Store(pub(crate) Arc<Hub>);

#[interface(name = "org.x0tta6bl4.Store1")]
impl Store {
    /// Records of the event log after the one with the number `after`, oldest first; 0: the last
    /// ones. As JSON. Options: "service", "kind" (texts).
    #[zbus(out_args("json"))]
    async fn events(
        &self,
        after: u64,
        limit: u32,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let action = Action::StoreEvents;
        let _visit = self.0.enter(connection, &header, action).await?;
        let mut options = Options::new(options);
        let filter = EventFilter {
            after: (after > 0).then_some(after),
            limit: Some(limit.min(EVENTS_MAX)),
            service: options.text("service", NAME_MAX_BYTES)?,
            kind: options.text("kind", NAME_MAX_BYTES)?,
        };
        options.end()?;
        json(&self.0.store(move |store| store.events(filter)).await?)
    }

    /// Sizes, counts and speed, as JSON.
    #[zbus(out_args("json"))]
    async fn statistics(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let action = Action::StoreStatistics;
        let _visit = self.0.enter(connection, &header, action).await?;
        options::none(options)?;
        json(&self.0.store(Client::statistics).await?)
    }

    /// A job that computes the event log's chain of hashes again. Its result is the verdict.
    #[zbus(out_args("job"))]
    async fn verify(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let action = Action::StoreVerify;
        let visit = self.0.enter(connection, &header, action).await?;
        options::none(options)?;
        let socket = self.0.store.socket();
        job::start(connection, &self.0, &visit, "verify", move |_, _| {
            json(&open(&socket)?.verify_events()?)
        })
        .await
    }

    /// A job that makes a backup; `Read` fetches it. An age file, encrypted with the passphrase.
    #[zbus(out_args("job"))]
    async fn backup(
        &self,
        passphrase: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let action = Action::StoreBackup;
        let visit = self.0.enter(connection, &header, action).await?;
        options::none(options)?;
        check_passphrase(&passphrase)?;
        visit.changed(action, "");
        let socket = self.0.store.socket();
        job::start(connection, &self.0, &visit, "backup", move |mut ends, _| {
            let bytes = open(&socket)?.backup(&passphrase, &mut ends.target, CHUNK_WAIT)?;
            json(&serde_json::json!({ "bytes": bytes }))
        })
        .await
    }

    /// A job that takes a backup back, which `Write` and `Finish` bring. Nothing changes before all
    /// of it was checked. Options: "dry-run" (boolean), "confirm-within" (seconds).
    #[zbus(out_args("job"))]
    async fn restore(
        &self,
        passphrase: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let action = Action::StoreRestore;
        let visit = self.0.enter(connection, &header, action).await?;
        let mut options = Options::new(options);
        let call = RestoreCall {
            dry_run: options.take("dry-run")?.unwrap_or(false),
            confirm_within_s: options.take("confirm-within")?,
            author: visit.caller.title(),
            passphrase,
        };
        options.end()?;
        check_passphrase(&call.passphrase)?;
        visit.changed(action, if call.dry_run { "dry run" } else { "" });
        let socket = self.0.store.socket();
        job::start(
            connection,
            &self.0,
            &visit,
            "restore",
            move |mut ends, _| {
                let mut store = open(&socket)?.deadline(CHUNK_WAIT);
                let (summary, generation) = store.restore(&mut ends.source, &call)?;
                json(&serde_json::json!({ "summary": summary, "generation": generation }))
            },
        )
        .await
    }

    /// Something was recorded. `json` is the whole record.
    #[zbus(signal)]
    pub(crate) async fn event_recorded(
        emitter: &SignalEmitter<'_>,
        sequence: u64,
        service: &str,
        kind: &str,
        json: &str,
    ) -> zbus::Result<()>;
}

fn open(socket: &PathBuf) -> Result<Client, Error> {
    Ok(Client::connect(socket)?)
}

fn check_passphrase(passphrase: &str) -> Result<(), Error> {
    match passphrase.len() {
        0 => Err(Error::InvalidArgument("the passphrase is empty".into())),
        length if length > PASSPHRASE_MAX_BYTES => Err(Error::InvalidArgument(format!(
            "the passphrase is longer than {PASSPHRASE_MAX_BYTES} bytes"
        ))),
        _ => Ok(()),
    }
}
