//! Keeps the objects on the bus as PID 1 sees the services.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::ServiceStatus;
use runtime::Chain;
use zbus::fdo::{ObjectManager, Properties};
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant};

use crate::dbus::config::{self, Config, Standing};
use crate::dbus::init::{self, Init};
use crate::dbus::service::{self, Service};
use crate::dbus::store::Store;
use crate::dbus::{ROOT, service_path};
use crate::follow::News;
use crate::hub::{Hub, Known};

type Values = BTreeMap<&'static str, Variant<'static>>;

/// How often PID 1 is asked. One call and one answer of a few kilobytes.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// Puts the fixed objects on the bus.
pub(crate) async fn serve(connection: &Connection, hub: &Arc<Hub>) -> zbus::Result<()> {
    let server = connection.object_server();
    server.at(ROOT, ObjectManager).await?;
    server.at(ROOT, Init(Arc::clone(hub))).await?;
    server.at(ROOT, Config(Arc::clone(hub))).await?;
    server.at(ROOT, Store(Arc::clone(hub))).await?;
    if let Some(status) = hub.known().status {
        for service in &status.services {
            add(connection, hub, &service.name).await?;
        }
    }
    Ok(())
}

/// Asks PID 1, and tells the bus what has changed since the last time.
pub(crate) async fn refresh(connection: &Connection, hub: &Arc<Hub>) -> zbus::Result<()> {
    let now = ask(hub).await;
    let before = hub.learn(now.clone());
    let changed = difference(&init::changing(&before), init::changing(&now));
    tell(connection, ROOT, "org.x0tta6bl4.Init1", changed).await?;
    let find = |known: &Known, name: &str| -> Option<ServiceStatus> {
        known.status.as_deref()?.service(name).cloned()
    };
    for service in now.status.iter().flat_map(|status| &status.services) {
        match find(&before, &service.name) {
            None => add(connection, hub, &service.name).await?,
            Some(old) => {
                let changed = difference(&service::changing(&old), service::changing(service));
                let path = service_path(&service.name);
                tell(connection, &path, "org.x0tta6bl4.Service1", changed).await?;
            }
        }
    }
    for old in before.status.iter().flat_map(|status| &status.services) {
        if find(&now, &old.name).is_none() {
            let server = connection.object_server();
            server.remove::<Service, _>(service_path(&old.name)).await?;
        }
    }
    Ok(())
}

/// Tells the bus what PID 1 or the store told.
pub(crate) async fn news(connection: &Connection, hub: &Arc<Hub>, news: News) -> zbus::Result<()> {
    match news {
        News::Services => refresh(connection, hub).await,
        News::Configuration(status) => {
            let now = status.map(Standing::now);
            let before = hub.learn_configuration(now.clone());
            let before = config::changing(before.as_ref());
            let changed = difference(&before, config::changing(now.as_ref()));
            tell(connection, ROOT, "org.x0tta6bl4.Config1", changed).await
        }
        News::Event(event) => {
            let Ok(json) = serde_json::to_string(&event) else {
                return Ok(());
            };
            let emitter = SignalEmitter::new(connection, ROOT)?;
            let (service, kind) = (&event.service, &event.kind);
            Store::event_recorded(&emitter, event.sequence, service, kind, &json).await
        }
    }
}

/// While PID 1 is silent the services stay as they were last seen, and `Health` says so.
pub(crate) async fn ask(hub: &Hub) -> Known {
    match hub.init(api::Client::status).await {
        Ok(status) => Known {
            status: Some(Arc::new(status)),
            trouble: None,
        },
        Err(error) => Known {
            status: hub.known().status,
            trouble: Some(Chain(&error).to_string()),
        },
    }
}

async fn add(connection: &Connection, hub: &Arc<Hub>, name: &str) -> zbus::Result<()> {
    let service = Service {
        hub: Arc::clone(hub),
        name: name.to_owned(),
    };
    let server = connection.object_server();
    server.at(service_path(name), service).await?;
    Ok(())
}

fn difference(before: &Values, now: Values) -> Values {
    let is_new = |(name, value): &(&'static str, Variant<'static>)| before.get(name) != Some(value);
    now.into_iter().filter(is_new).collect()
}

async fn tell(
    connection: &Connection,
    path: &str,
    interface: &'static str,
    changed: Values,
) -> zbus::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let emitter = SignalEmitter::new(connection, path)?;
    let changed: HashMap<&str, Variant<'_>> = changed.into_iter().collect();
    let interface = InterfaceName::from_static_str(interface)?;
    Properties::properties_changed(&emitter, interface, changed, Cow::Borrowed(&[])).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let before = Values::from([("Pid", 1_u32.into()), ("State", "ready".into())]);
        let now = Values::from([("Pid", 2_u32.into()), ("State", "ready".into())]);
        let expected = Values::from([("Pid", 2_u32.into())]);
        assert_eq!(difference(&before, now), expected);
    }
}
