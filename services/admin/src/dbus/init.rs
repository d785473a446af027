use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::{Power, Status};
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::service_path;
use crate::hub::{Hub, Known};
use crate::policy::Action;
use crate::{Error, options};

/// The machine.
#[derive(Debug)]
pub(crate) struct Init(pub(crate) Arc<Hub>);

/// The properties that change, by name.
pub(crate) fn changing(known: &Known) -> BTreeMap<&'static str, Variant<'static>> {
    let health = health(known);
    BTreeMap::from([
        ("Health", health.0.into()),
        ("HealthReasons", health.1.into()),
        ("Hostname", text(known, |s| s.hostname.clone()).into()),
    ])
}

fn health(known: &Known) -> (String, Vec<String>) {
    match (&known.status, &known.trouble) {
        (_, Some(trouble)) => ("unknown".into(), vec![trouble.clone()]),
        (None, None) => ("unknown".into(), vec!["PID 1 was not asked yet".into()]),
        (Some(status), None) => (
            status.health.state.to_string(),
            status.health.reasons.clone(),
        ),
    }
}

fn text(known: &Known, field: impl FnOnce(&Status) -> String) -> String {
    known.status.as_deref().map(field).unwrap_or_default()
}

#[interface(name = "org.x0tta6bl4.Init1")]
impl Init {
    /// Everything PID 1 tells about the machine and its services, as JSON: for people and for
    /// programs that want all of it at once.
    #[zbus(out_args("json"))]
    async fn describe(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let _visit = self
            .0
            .enter(connection, &header, Action::InitStatus)
            .await?;
        options::none(options)?;
        let status = self.0.init(api::Client::status).await?;
        json(&status)
    }

    /// The object of a service.
    #[zbus(out_args("service"))]
    async fn get_service(
        &self,
        name: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let _visit = self
            .0
            .enter(connection, &header, Action::InitStatus)
            .await?;
        options::none(options)?;
        let known = self.0.known().status;
        let exists = known.is_some_and(|status| status.service(&name).is_some());
        if !exists {
            return Err(Error::NotFound(format!(
                "there is no service `{}`",
                name.escape_debug()
            )));
        }
        let path = OwnedObjectPath::try_from(service_path(&name));
        path.map_err(|error| Error::Failed(error.to_string()))
    }

    /// What took how long at the boot, as JSON.
    #[zbus(out_args("json"))]
    async fn blame(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, Error> {
        let _visit = self
            .0
            .enter(connection, &header, Action::InitStatus)
            .await?;
        options::none(options)?;
        json(&self.0.init(api::Client::blame).await?)
    }

    /// Replaces PID 1's program by the one in its place, without touching any service.
    async fn reexec(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let visit = self
            .0
            .enter(connection, &header, Action::InitReexec)
            .await?;
        options::none(options)?;
        visit.changed(Action::InitReexec, "");
        self.0.init(api::Client::reexec).await
    }

    /// Stops every service and starts all of them again, without the kernel. Answers before.
    async fn soft_reboot(
        &self,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let visit = self
            .0
            .enter(connection, &header, Action::InitSoftReboot)
            .await?;
        options::none(options)?;
        visit.changed(Action::InitSoftReboot, "");
        self.0.init(|init| init.power(Power::SoftReboot)).await
    }

    /// Stops every service, then reboots ("reboot") or switches off ("off"). Answers before.
    async fn power(
        &self,
        action: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let visit = self.0.enter(connection, &header, Action::InitPower).await?;
        options::none(options)?;
        let power = match action.as_str() {
            "reboot" => Power::Reboot,
            "off" => Power::Poweroff,
            other => {
                return Err(Error::InvalidArgument(format!(
                    "`{}` is neither `reboot` nor `off`",
                    other.escape_debug()
                )));
            }
        };
        visit.changed(Action::InitPower, &action);
        self.0.init(move |init| init.power(power)).await
    }

    /// "healthy", "starting", "degraded", "failed"; "unknown" while PID 1 does not answer.
    #[zbus(property)]
    async fn health(&self) -> String {
        health(&self.0.known()).0
    }

    /// Why it is not healthy.
    #[zbus(property)]
    async fn health_reasons(&self) -> Vec<String> {
        health(&self.0.known()).1
    }

    /// The machine's name.
    #[zbus(property)]
    async fn hostname(&self) -> String {
        text(&self.0.known(), |status| status.hostname.clone())
    }

    /// Of the image.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn version(&self) -> String {
        text(&self.0.known(), |status| status.version.clone())
    }

    /// The commit that the image was built from.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn build(&self) -> String {
        text(&self.0.known(), |status| status.build.clone())
    }

    /// "a" or "b"; empty when the machine was booted without slots.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn slot(&self) -> String {
        text(&self.0.known(), |s| s.slot.clone().unwrap_or_default())
    }

    /// How the boot before this one ended; empty where that is not known.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn previous_end(&self) -> String {
        text(&self.0.known(), |s| {
            s.previous_end.clone().unwrap_or_default()
        })
    }

    /// Boots that the selector has counted.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn boot_count(&self) -> u64 {
        let known = self.0.known().status;
        known.and_then(|status| status.boot_count).unwrap_or(0)
    }
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Failed(error.to_string()))
}
