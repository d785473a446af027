use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

use super::ROOT;
use crate::hub::{Hub, Visit};
use crate::job::{CHUNK_MAX_BYTES, Ends, Job, State};
use crate::policy::Action;
use crate::{Error, options};

/// How long a job that has ended can still be asked about.
const KEPT: Duration = Duration::from_secs(60);
/// However slow its owner is, a job ends after this.
const LONGEST: Duration = Duration::from_secs(3600);
/// `Read` answers with nothing after this, and the caller asks again.
const READ_WAIT: Duration = Duration::from_secs(5);

/// Long work.
#[derive(Debug)]
pub(crate) struct JobObject {
    hub: Arc<Hub>,
    job: Arc<Job>,
}

/// Puts a job on the bus and begins its work on a thread of its own.
pub(crate) async fn start(
    connection: &Connection,
    hub: &Arc<Hub>,
    visit: &Visit,
    kind: &'static str,
    work: impl FnOnce(Ends, &Job) -> Result<String, Error> + Send + 'static,
) -> Result<OwnedObjectPath, Error> {
    let (job, ends) = hub.jobs.begin(kind, Arc::clone(&visit.caller))?;
    let path = format!("{ROOT}/job/{}", job.number);
    let object = JobObject::new(Arc::clone(hub), Arc::clone(&job));
    connection.object_server().at(path.as_str(), object).await?;
    let worker = tokio::task::spawn_blocking({
        let job = Arc::clone(&job);
        move || work(ends, &job)
    });
    let (hub, connection, place) = (Arc::clone(hub), connection.clone(), path.clone());
    tokio::spawn(async move {
        // What came out and was not fetched yet stays there, until the job is forgotten.
        let end = match timeout(LONGEST, worker).await {
            Ok(Ok(Ok(result))) => State::Done(result),
            Ok(Ok(Err(error))) => State::Failed(error.to_string()),
            Ok(Err(panicked)) => State::Failed(panicked.to_string()),
            Err(_) => State::Failed("it took too long".into()),
        };
        job.end(end);
        if let Err(error) = announce(&connection, &place, &job).await {
            tracing::debug!(%error, "a job's end was told to nobody");
        }
        tokio::time::sleep(KEPT).await;
        job.cancel();
        let server = connection.object_server();
        server.remove::<JobObject, _>(place.as_str()).await.ok();
        hub.jobs.forget(job.number);
    });
    OwnedObjectPath::try_from(path).map_err(|error| Error::Failed(error.to_string()))
}

async fn announce(connection: &Connection, path: &str, job: &Job) -> zbus::Result<()> {
    let server = connection.object_server();
    let object = server.interface::<_, JobObject>(path).await?;
    let emitter = object.signal_emitter();
    let state = job.state();
    object.get().await.state_changed(emitter).await?;
    JobObject::finished(emitter, state.name(), state.text()).await
}

impl JobObject {
    pub(crate) fn new(hub: Arc<Hub>, job: Arc<Job>) -> Self {
        Self { hub, job }
    }

    async fn enter(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<Visit, Error> {
        let visit = self.hub.enter(connection, header, Action::JobRead).await?;
        options::none(options)?;
        Ok(visit)
    }

    /// The bytes are the owner's alone, whatever group others are in.
    async fn enter_as_owner(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<Visit, Error> {
        let visit = self.enter(connection, header, options).await?;
        if visit.caller.name == self.job.owner.name {
            return Ok(visit);
        }
        Err(Error::Refused(
            "only the connection that began a job reads or writes it (rule job-owner)".into(),
        ))
    }
}

#[interface(name = "org.x0tta6bl4.Job1")]
impl JobObject {
    /// Stops it. What it changed already stays changed.
    async fn cancel(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let visit = self.enter(connection, &header, options).await?;
        if visit.caller.name != self.job.owner.name {
            self.hub.judge(&visit.caller, Action::JobControl)?;
        }
        self.job.cancel();
        Ok(())
    }

    /// The next bytes that come out, for the owner. Waits for them a little; when none came and
    /// the state is not "running" any more, that was all.
    #[zbus(out_args("bytes"))]
    async fn read(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<u8>, Error> {
        let _visit = self.enter_as_owner(connection, &header, options).await?;
        timeout(READ_WAIT, self.job.read())
            .await
            .unwrap_or(Ok(Vec::new()))
    }

    /// Brings bytes that go in, for the owner. Waits until there is room.
    async fn write(
        &self,
        bytes: Vec<u8>,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let _visit = self.enter_as_owner(connection, &header, options).await?;
        let late = || Error::TimedOut("the job is too busy to take bytes".into());
        let written = timeout(READ_WAIT, self.job.write(bytes)).await;
        written.unwrap_or_else(|_| Err(late()))
    }

    /// All bytes were brought.
    async fn finish(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let _visit = self.enter_as_owner(connection, &header, options).await?;
        self.job.finish().await;
        Ok(())
    }

    /// It has ended: its last state, and its result or why there is none.
    #[zbus(signal)]
    async fn finished(emitter: &SignalEmitter<'_>, state: &str, result: &str) -> zbus::Result<()>;

    /// "backup", "restore", "verify" or "logs".
    #[zbus(property(emits_changed_signal = "const"))]
    async fn kind(&self) -> String {
        self.job.kind.into()
    }

    /// Who began it.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn owner(&self) -> String {
        self.job.owner.title()
    }

    /// "running", "done", "failed" or "cancelled".
    #[zbus(property)]
    async fn state(&self) -> String {
        self.job.state().name().into()
    }

    /// Bytes that went in and came out so far.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn progress(&self) -> u64 {
        self.job.bytes()
    }

    /// What "done" gave, as JSON, or why it "failed".
    #[zbus(property(emits_changed_signal = "false"))]
    async fn result(&self) -> String {
        self.job.state().text().into()
    }

    /// The most bytes that `Write` takes and `Read` gives.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn chunk(&self) -> u32 {
        u32::try_from(CHUNK_MAX_BYTES).unwrap_or(u32::MAX)
    }
}
