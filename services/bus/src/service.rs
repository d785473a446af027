use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use manifest::{LoadError, Table};
use runtime::notify;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::broker::Broker;
use crate::controller::{Controller, ControllerError};
use crate::listener::{self, ListenerError};
use crate::policy::Policy;
use crate::{Config, log};

/// The D-Bus specification wants an id that no other machine has and that stays until the next
/// boot at least. This one needs no place on a disk.
const MACHINE_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How often the broker is asked where PID 1 does not watch us.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Until the last lines of a broker that has ended are read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves the bus until it is told to stop.
///
/// # Errors
/// When the bus cannot be served, or can no longer.
pub fn run(config: &Config) -> Result<(), BusError> {
    let listener = listener::take()?;
    let shutdown = runtime::shutdown().map_err(BusError::Runtime)?;
    let policy = Policy::of(&Table::load(&read(&config.table)?)?);
    let machine_id = read(Path::new(MACHINE_ID))?;
    let machine_id = String::from_utf8_lossy(&machine_id).replace(['-', '\n'], "");
    let (broker, ends) = Broker::start(&config.broker, &machine_id).map_err(|source| {
        let program = config.broker.clone();
        BusError::Start { program, source }
    })?;
    // The broker does the work: what is left for us does not fill one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BusError::Runtime)?;
    runtime.block_on(async {
        let shutdown = UnixStream::from_std(shutdown).map_err(BusError::Runtime)?;
        ends.log.set_nonblocking(true).map_err(BusError::Runtime)?;
        let log = UnixStream::from_std(ends.log).map_err(BusError::Runtime)?;
        let log = tokio::spawn(log::relay(log));
        tokio::select! {
            biased;
            _ = shutdown.readable() => {
                notify::stopping();
                broker.end().map_err(BusError::Runtime)?;
                Ok(())
            }
            Err(error) = serve(ends.controller, listener, &policy) => {
                let status = broker.end().map_err(BusError::Runtime)?;
                // Why it ended may be the last thing it said.
                let _ = timeout(LAST_WORDS, log).await;
                Err(BusError::Lost { status, source: error })
            }
        }
    })
}

/// Never returns while the broker answers.
async fn serve(
    stream: std::os::unix::net::UnixStream,
    listener: OwnedFd,
    policy: &Policy,
) -> Result<Infallible, ControllerError> {
    let controller = Controller::new(stream).await?;
    controller.add_listener(&listener, policy).await?;
    // From here on the broker alone holds it open on our side.
    drop(listener);
    tracing::info!(
        users = policy.users.len(),
        groups = policy.groups.len(),
        "the bus is served"
    );
    notify::ready();
    let pause = notify::watchdog_interval().unwrap_or(PING_EVERY);
    loop {
        tokio::select! {
            () = controller.closed() => return Err(ControllerError::Closed),
            () = sleep(pause) => {}
        }
        controller.ping().await?;
        notify::watchdog();
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BusError> {
    std::fs::read(path).map_err(|source| BusError::Read {
        path: path.into(),
        source,
    })
}

/// Why there is no bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("no socket to serve the bus on")]
    Listener(#[from] ListenerError),
    #[error("the broker is lost ({status})")]
    Lost {
        status: ExitStatus,
        source: ControllerError,
    },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot set up what the service itself needs")]
    Runtime(#[source] io::Error),
    #[error("cannot start {program}")]
    Start { program: PathBuf, source: io::Error },
    #[error("the table of services is of no use")]
    Table(#[from] LoadError),
}
