//! What controller and broker say to each other: `dbus-broker(1)`, section API, as of version 33.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zbus::wire::as_variant;
use zbus::wire::{Fd, ObjectPath};
use zbus::{Connection, Message, connection};

use crate::policy::Policy;
use crate::wire::WirePolicy;

/// Longer than a broker that works ever takes, and shorter than the watchdog's patience.
const DEADLINE: Duration = Duration::from_secs(5);
const BROKER: &str = "/org/bus1/DBus/Broker";

/// The controller's end of the connection.
#[derive(Debug)]
pub(crate) struct Controller(Connection);

impl Controller {
    /// Shakes hands with the broker.
    pub(crate) async fn new(stream: UnixStream) -> Result<Self, ControllerError> {
        let connection = connection::Builder::unix_stream(stream)
            .p2p()
            .method_timeout(DEADLINE)
            .serve_at("/org/bus1/DBus/Controller", Reload)
            .build();
        let connection = tokio::time::timeout(DEADLINE, connection).await;
        let silence = || io::Error::from(io::ErrorKind::TimedOut);
        Ok(Self(connection.map_err(|_| silence())??))
    }

    /// Has the broker serve `listener`. It does once this has returned.
    pub(crate) async fn add_listener(
        &self,
        listener: impl AsFd,
        policy: &Policy,
    ) -> Result<(), ControllerError> {
        let path = ObjectPath::from_static_str_unchecked("/org/bus1/DBus/Listener/0");
        let policy = WirePolicy::from(policy);
        let body = (
            path,
            Fd::from(listener.as_fd()),
            as_variant::Serialize(&policy),
        );
        let interface = Some("org.bus1.DBus.Broker");
        self.call(interface, "AddListener", &body).await?;
        Ok(())
    }

    /// Whether the broker's loop still turns. It knows no such call, and the error with which it
    /// says so is as good an answer as any.
    pub(crate) async fn ping(&self) -> Result<(), ControllerError> {
        let interface = Some("org.freedesktop.DBus.Peer");
        match self.call(interface, "Ping", &()).await {
            Ok(_) | Err(zbus::Error::MethodError(..) | zbus::Error::FDO(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the broker to close its end, which it does when it ends.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }

    async fn call<B>(
        &self,
        interface: Option<&str>,
        method: &str,
        body: &B,
    ) -> Result<Message, zbus::Error>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        (self.0)
            .call_method(None::<&str>, BROKER, interface, method, body)
            .await
    }
}

/// Why there is no answer of use.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error("the broker has closed the connection")]
    Closed,
    #[error("cannot talk to the broker")]
    Socket(#[from] io::Error),
    #[error("the broker answers with an error, or not at all")]
    Bus(#[from] zbus::Error),
}

/// What the broker asks its controller for.
#[derive(Debug)]
struct Reload;

#[zbus::interface(name = "org.bus1.DBus.Controller")]
impl Reload {
    /// Someone called `org.freedesktop.DBus.ReloadConfig`. The policy is part of the image, so
    /// what is loaded is what there is.
    fn reload_config(&self) {}
}
