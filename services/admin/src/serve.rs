use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use runtime::{Chain, notify};
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::{DBusProxy, NameOwnerChanged, NameOwnerChangedStream};

use crate::Config;
use crate::dbus::NAMES;
use crate::follow::{self, News};
use crate::hub::Hub;
use crate::policy::{Policy, PolicyError};
use crate::presence::boottime_ms;
use crate::publish;

/// For connecting, and for every call to the bus itself.
const BUS_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why the service ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The policies don't work.
    #[error("cannot decide who may do what")]
    Policy(#[from] PolicyError),
    /// The async runtime can't be made.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Signals can't be taken.
    #[error("cannot listen for a request to stop")]
    Signals(#[source] io::Error),
}

/// Serves until asked to stop. A bus that goes away is waited for.
///
/// # Errors
/// When the service can't even begin.
pub fn run(config: &Config) -> Result<(), RunError> {
    let shutdown = runtime::shutdown().map_err(RunError::Signals)?;
    let begin = Instant::now();
    let policy = Policy::load()?;
    tracing::debug!(took = ?begin.elapsed(), "policies parsed");
    let hub = Arc::new(Hub::new(config, policy));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(async {
        let stop = stopped(shutdown).map_err(RunError::Signals)?;
        tokio::select! {
            result = stop => result.map_err(RunError::Signals),
            () = forever(config, &hub, follow::start(config)) => Ok(()),
            () = pet() => Ok(()),
        }
    })?;
    notify::stopping();
    Ok(())
}

fn stopped(shutdown: UnixStream) -> io::Result<impl Future<Output = io::Result<()>>> {
    let stream = tokio::net::UnixStream::from_std(shutdown)?;
    Ok(async move { stream.readable().await })
}

async fn pet() {
    let Some(every) = notify::watchdog_interval() else {
        return std::future::pending().await;
    };
    let mut tick = interval(every);
    loop {
        tick.tick().await;
        notify::watchdog();
    }
}

async fn forever(config: &Config, hub: &Arc<Hub>, mut news: Receiver<News>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match connect(config, hub).await {
            Ok((connection, changes)) => {
                pause = FIRST_PAUSE;
                notify::status("on the bus");
                notify::ready();
                let end = attend(&connection, hub, changes, &mut news).await;
                tracing::warn!(why = %end, "lost the bus");
            }
            Err(error) => {
                let why = Chain(&error).to_string();
                tracing::warn!(bus = config.bus, why, "cannot reach the bus");
            }
        }
        notify::status("no bus: waiting for it");
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn connect(
    config: &Config,
    hub: &Arc<Hub>,
) -> zbus::Result<(Connection, NameOwnerChangedStream)> {
    let connecting = Builder::address(config.bus.as_str())
        .method_timeout(BUS_LIMIT)
        .build();
    let connection = timeout(BUS_LIMIT, connecting)
        .await
        .map_err(|_| zbus::Error::Failure("the bus does not answer".into()))??;
    hub.new_bus();
    let bus = DBusProxy::builder(&connection).build().await?;
    let changes = bus.receive_name_owner_changed().await?;
    // Objects first: whoever sees the names may call.
    hub.learn(publish::ask(hub).await);
    publish::serve(&connection, hub).await?;
    for name in NAMES {
        connection.request_name(name).await?;
    }
    Ok((connection, changes))
}

/// Keeps the objects up to date until the bus is gone; says why.
async fn attend(
    connection: &Connection,
    hub: &Arc<Hub>,
    mut changes: NameOwnerChangedStream,
    news: &mut Receiver<News>,
) -> String {
    let mut tick = interval(publish::EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            // Connections first: what a newcomer may do depends on when it came.
            biased;
            () = connection.closed() => return "it closed the connection".into(),
            Some(change) = changes.next() => {
                presence(hub, &change);
                Ok(())
            }
            Some(news) = news.recv() => publish::news(connection, hub, news).await,
            _ = tick.tick() => publish::refresh(connection, hub).await,
        };
        if let Err(error) = done {
            return Chain(&error).to_string();
        }
    }
}

fn presence(hub: &Hub, change: &NameOwnerChanged) {
    let Ok(change) = change.args() else { return };
    let name = change.name();
    if !name.starts_with(':') {
        return;
    }
    match change.new_owner().as_ref() {
        Some(_) => hub.presence.arrived(name, boottime_ms()),
        None => hub.left(name),
    }
}
