//! Calls over the bus for a program that does one thing after the other.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use zbus::connection::Builder;
use zbus::{Connection, Type, Variant};

use crate::Error;

/// Longer than admin's own deadlines, so that the answer tells what happened.
const CALL_LIMIT: Duration = Duration::from_secs(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

pub(crate) const ROOT: &str = "/org/x0tta6bl4";
pub(crate) const INIT: &str = "org.x0tta6bl4.Init1";
pub(crate) const CONFIG: &str = "org.x0tta6bl4.Config1";
pub(crate) const STORE: &str = "org.x0tta6bl4.Store1";
pub(crate) const SERVICE: &str = "org.x0tta6bl4.Service1";
pub(crate) const JOB: &str = "org.x0tta6bl4.Job1";

/// The options that end every call.
pub(crate) type Options<'v> = HashMap<&'v str, Variant<'v>>;

/// A connection of its own.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) runtime: Runtime,
    pub(crate) connection: Connection,
}

impl Bus {
    /// Connects, and makes sure that somebody administers the router there.
    pub(crate) fn open(address: &str) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let failed = |source| Error::Bus {
            address: address.to_owned(),
            source,
        };
        let connection = runtime.block_on(async {
            let connecting = Builder::address(address).method_timeout(CALL_LIMIT).build();
            let late = |_| zbus::Error::Failure("no answer".into());
            let connecting = tokio::time::timeout(CONNECT_LIMIT, connecting);
            connecting.await.map_err(late).flatten().map_err(failed)
        })?;
        let bus = Self {
            runtime,
            connection,
        };
        let daemon = "org.freedesktop.DBus";
        let owned: bool = bus.call_at(
            daemon,
            "/org/freedesktop/DBus",
            daemon,
            "NameHasOwner",
            &(INIT,),
        )?;
        if owned {
            Ok(bus)
        } else {
            Err(Error::NoAdmin { name: INIT.into() })
        }
    }

    /// Calls one of the appliance's own interfaces.
    pub(crate) fn call<R>(
        &self,
        interface: &str,
        method: &str,
        body: &(impl Serialize + Type),
    ) -> Result<R, Error>
    where
        R: DeserializeOwned + Type,
    {
        let name = match interface {
            CONFIG | STORE => interface,
            _ => INIT,
        };
        self.call_at(name, ROOT, interface, method, body)
    }

    /// Calls a method of an object.
    pub(crate) fn call_at<R>(
        &self,
        name: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &(impl Serialize + Type),
    ) -> Result<R, Error>
    where
        R: DeserializeOwned + Type,
    {
        self.runtime.block_on(async {
            let call = self
                .connection
                .call_method(Some(name), path, Some(interface), method, body);
            Ok(call.await?.body().deserialize::<R>()?)
        })
    }

    /// Calls a service's object.
    pub(crate) fn service<R>(
        &self,
        service: &str,
        method: &str,
        body: &(impl Serialize + Type),
    ) -> Result<R, Error>
    where
        R: DeserializeOwned + Type,
    {
        let none = Options::new();
        let path: zbus::OwnedObjectPath = self.call(INIT, "GetService", &(service, none))?;
        self.call_at(INIT, path.as_str(), SERVICE, method, body)
    }
}
