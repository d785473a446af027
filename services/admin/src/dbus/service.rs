use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use api::{Resources, ServiceStatus};
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::init::json;
use super::job;
use crate::hub::{Hub, Visit};
use crate::job::{Job, State, Target};
use crate::policy::Action;
use crate::{Error, options};

/// More lines than this are not given at once; PID 1 keeps about as many.
const LINES_MAX: u32 = 10_000;

/// How soon a follower notices that its job was cancelled.
const FOLLOW_WAIT: Duration = Duration::from_secs(1);

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) hub: Arc<Hub>,
    pub(crate) name: String,
}

/// The properties that change, by name.
pub(crate) fn changing(status: &ServiceStatus) -> BTreeMap<&'static str, Variant<'static>> {
    BTreeMap::from([
        ("State", status.state.to_string().into()),
        ("Pid", status.pid.unwrap_or(0).into()),
        ("Restarts", status.restarts.into()),
        ("StatusText", status.status_text.clone().into()),
        (
            "LastExit",
            status.last_exit.clone().unwrap_or_default().into(),
        ),
    ])
}

impl Service {
    fn read<T: Default>(&self, field: impl FnOnce(&ServiceStatus) -> T) -> T {
        let known = self.hub.known().status;
        let status = known.as_deref().and_then(|s| s.service(&self.name));
        status.map(field).unwrap_or_default()
    }

    /// 0 where there are no control groups.
    fn resource(&self, field: impl FnOnce(&Resources) -> u64) -> u64 {
        self.read(|status| status.resources.as_ref().map_or(0, field))
    }

    async fn enter(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        action: Action,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<Visit, Error> {
        let visit = self.hub.enter(connection, header, action).await?;
        options::none(options)?;
        Ok(visit)
    }
}

#[interface(name = "org.x0tta6bl4.Service1")]
impl Service {
    /// Starts it and what it needs, also when PID 1 had given it up. It may run already.
    async fn start(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let action = Action::ServiceStart;
        let visit = self.enter(connection, &header, action, options).await?;
        let name = self.name.clone();
        self.hub.init(move |init| init.start(&name)).await?;
        visit.changed(action, &self.name);
        Ok(())
    }

    /// Stops it until somebody starts it or the machine reboots. What needs it keeps running.
    async fn stop(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let action = Action::ServiceStop;
        let visit = self.enter(connection, &header, action, options).await?;
        visit.changed(action, &self.name);
        let name = self.name.clone();
        self.hub.init(move |init| init.stop(&name)).await
    }

    /// Stops it and starts it again.
    async fn restart(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let action = Action::ServiceRestart;
        let visit = self.enter(connection, &header, action, options).await?;
        visit.changed(action, &self.name);
        let name = self.name.clone();
        self.hub.init(move |init| init.restart(&name)).await
    }

    /// What it may do, and what it was denied, as JSON; "sentences" say it in words.
    #[zbus(out_args("json"))]
    async fn explain(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let action = Action::InitStatus;
        let _visit = self.enter(connection, &header, action, options).await?;
        let name = self.name.clone();
        json(&self.hub.init(move |init| init.explain(&name)).await?)
    }

    /// The last lines of its log, oldest first: milliseconds since the kernel started, and the text.
    #[zbus(out_args("lines"))]
    async fn logs(
        &self,
        lines: u32,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<(u64, String)>, Error> {
        let action = Action::ServiceLogs;
        let _visit = self.enter(connection, &header, action, options).await?;
        let name = self.name.clone();
        let lines = lines.min(LINES_MAX);
        let lines = self.hub.init(move |init| init.logs(&name, lines)).await?;
        Ok(lines.into_iter().map(|l| (l.uptime_ms, l.text)).collect())
    }

    /// A job that gives the last lines of the log, and then each new one: `Read` fetches them, a
    /// JSON object {"uptime_ms", "text"} per line.
    #[zbus(out_args("job"))]
    async fn follow_logs(
        &self,
        lines: u32,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let action = Action::ServiceLogs;
        let visit = self.enter(connection, &header, action, options).await?;
        let (name, socket) = (self.name.clone(), self.hub.init.socket());
        let lines = lines.min(LINES_MAX);
        job::start(connection, &self.hub, &visit, "logs", move |ends, job| {
            let log = api::Client::connect(socket)?.follow(&name, lines)?;
            follow(log, ends.target, job)
        })
        .await
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn name(&self) -> String {
        self.name.clone()
    }

    /// One line from its manifest.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn description(&self) -> String {
        self.read(|status| status.description.clone())
    }

    /// Whether the machine is healthy only while it is ready.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn critical(&self) -> bool {
        self.read(|status| status.critical)
    }

    /// The services that it needs.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn needs(&self) -> Vec<String> {
        self.read(|status| status.needs.clone())
    }

    /// "waiting", "starting", "ready", "done", "stopping", "stopped", "backoff" or "failed".
    #[zbus(property)]
    async fn state(&self) -> String {
        self.read(|status| status.state.to_string())
    }

    /// Its main process; 0 while there is none.
    #[zbus(property)]
    async fn pid(&self) -> u32 {
        self.read(|status| status.pid.unwrap_or(0))
    }

    /// Since boot, not counting the first start.
    #[zbus(property)]
    async fn restarts(&self) -> u64 {
        self.read(|status| status.restarts)
    }

    /// What it says of itself.
    #[zbus(property)]
    async fn status_text(&self) -> String {
        self.read(|status| status.status_text.clone())
    }

    /// How its last process ended; empty while none has.
    #[zbus(property)]
    async fn last_exit(&self) -> String {
        self.read(|status| status.last_exit.clone().unwrap_or_default())
    }

    /// Processor time of all its processes since boot, in microseconds.
    #[zbus(property(emits_changed_signal = "false"), name = "CPUTime")]
    async fn cpu_time(&self) -> u64 {
        self.resource(|resources| resources.cpu_us)
    }

    /// Memory of all its processes now, in bytes.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn memory(&self) -> u64 {
        self.resource(|resources| resources.memory_bytes)
    }

    /// The most memory it ever had, in bytes.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn memory_peak(&self) -> u64 {
        self.resource(|resources| resources.memory_peak_bytes)
    }

    /// Its processes and threads now.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn tasks(&self) -> u64 {
        self.resource(|resources| resources.tasks)
    }
}

/// Until the job is cancelled, or PID 1 finds this reader too slow.
fn follow(mut log: api::Follow, mut target: Target, job: &Job) -> Result<String, Error> {
    while job.state() == State::Running {
        let mut text = Vec::new();
        for line in log.next_lines(FOLLOW_WAIT)? {
            serde_json::to_writer(&mut text, &line)
                .map_err(|error| Error::Failed(error.to_string()))?;
            text.push(b'\n');
        }
        if target.write_all(&text).is_err() {
            break;
        }
    }
    Ok(String::new())
}
