//! Where the page is served: the addresses of the section `metrics`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use serde::Deserialize;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::http::Server;

/// More addresses than a router has roles.
const ADDRESSES_MAX: usize = 16;
/// Where none is written.
const PORT: u16 = 9100;
const BACKLOG: i32 = 32;
/// Binding a socket takes no time; this is for a loop that is stuck.
const APPLY_DEADLINE: Duration = Duration::from_secs(5);

/// The section `metrics`.
#[derive(Debug, Default, Deserialize)]
struct Section {
    #[serde(default)]
    listen: Vec<String>,
    /// Addresses that take in the internet side are meant.
    #[serde(default)]
    allow_wan: bool,
}

/// An address as people write it, with or without a port.
fn socket(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = |ip: IpAddr| SocketAddr::new(ip, PORT);
    text.parse()
        .or_else(|_| bare.parse().map(with_port))
        .map_err(|_| format!("metrics.listen: {text} is no address"))
}

/// Other addresses apply.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) allow_wan: bool,
    pub(crate) answer: SyncSender<Result<(), String>>,
}

/// Passes each configuration on, and its outcome back to the store.
pub(crate) fn follow(store: PathBuf, changes: mpsc::Sender<Change>) -> io::Result<()> {
    store_api::follow(store, move |configuration| {
        let mut configuration = match configuration {
            Ok(configuration) => configuration,
            Err(error) => {
                // What was configured last stays.
                tracing::warn!(error = %runtime::Chain(&error), "no configuration");
                return Ok(());
            }
        };
        let section = configuration.sections.remove("metrics").unwrap_or_default();
        let section: Option<Section> = serde_json::from_value(section)
            .map_err(|error| format!("the section metrics makes no sense: {error}"))?;
        let (answer, outcome) = std::sync::mpsc::sync_channel(1);
        let Section { listen, allow_wan } = section.unwrap_or_default();
        let addresses = listen.iter().map(|text| socket(text));
        let addresses = addresses.collect::<Result<_, _>>()?;
        let gone = |_| "the service is about to stop".to_owned();
        let change = Change {
            addresses,
            allow_wan,
            answer,
        };
        changes.blocking_send(change).map_err(|_| gone(()))?;
        let outcome = outcome.recv_timeout(APPLY_DEADLINE);
        outcome.unwrap_or_else(|_| Err("the service did not listen in time".to_owned()))
    })
}

/// Everything that is listened on.
#[derive(Debug)]
pub(crate) struct Listeners {
    server: Server,
    tasks: BTreeMap<SocketAddr, JoinHandle<()>>,
}

impl Listeners {
    pub(crate) fn new(server: Server) -> Self {
        let tasks = BTreeMap::new();
        Self { server, tasks }
    }

    /// Serves on a Unix socket, for as long as the process lives.
    pub(crate) fn unix(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        let server = self.server.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => server.serve(stream),
                    Err(error) => rest(&error).await,
                }
            }
        });
        Ok(())
    }

    /// Listens on these addresses and no others: all of them, or as before with the reason.
    pub(crate) fn apply(
        &mut self,
        addresses: &[SocketAddr],
        allow_wan: bool,
    ) -> Result<(), String> {
        if addresses.len() > ADDRESSES_MAX {
            return Err(format!(
                "metrics.listen: more than {ADDRESSES_MAX} addresses"
            ));
        }
        let mut fresh = Vec::new();
        for address in addresses {
            if address.ip().is_unspecified() && !allow_wan {
                return Err(format!(
                    "metrics.listen: {address} would serve the internet side as well; name the \
                     router's own addresses, for example 192.168.77.1:{}, or set allow_wan",
                    address.port()
                ));
            }
            if !self.tasks.contains_key(address) && !fresh.iter().any(|(a, _)| a == address) {
                let listener = bind(*address).map_err(|error| {
                    format!("metrics.listen: cannot listen on {address}: {error}")
                })?;
                fresh.push((*address, listener));
            }
        }
        self.tasks.retain(|address, task| {
            let stays = addresses.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for (address, listener) in fresh {
            tracing::info!(%address, "serving");
            let server = self.server.clone();
            let task = tokio::spawn(async move {
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => server.serve(stream),
                        Err(error) => rest(&error).await,
                    }
                }
            });
            self.tasks.insert(address, task);
        }
        Ok(())
    }

    /// One line for a person.
    pub(crate) fn describe(&self) -> String {
        let addresses: Vec<String> = self.tasks.keys().map(ToString::to_string).collect();
        match addresses.is_empty() {
            true => "not on the network".to_owned(),
            false => format!("http://{}/metrics", addresses.join(", http://")),
        }
    }
}

/// Out of descriptors, or the peer left already: neither is a reason to spin.
async fn rest(error: &io::Error) {
    tracing::debug!(%error, "cannot accept");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // The address may come later than this service, or go and come back with a cable (ip(7)).
    match address.ip() {
        IpAddr::V4(_) => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
