//! The listener: accepts, limits, and gives each connection a process of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runtime::metrics::{Counter, Family, Gauge, Registry};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::events::Events;
use crate::host_key::HostKey;
use crate::limits::Limits;
use crate::session::own_program;
use crate::settings::{Briefing, Report, Section};

const BACKLOG: i32 = 32;
/// A stranger has to show a key within this time.
const GREETING: Duration = Duration::from_secs(30);
/// A connection's process may say as much in its life.
const REPORTS_MAX_BYTES: u64 = 64 * 1024;
/// Refused keys of one connection that become events.
const REFUSALS_MAX: usize = 2;

/// Listens, and looks after connections.
pub(crate) struct Server {
    shared: Arc<Shared>,
    tasks: BTreeMap<SocketAddr, JoinHandle<()>>,
}

struct Shared {
    config: Config,
    events: Events,
    begin: Instant,
    limits: Mutex<Limits>,
    section: Mutex<Section>,
    host_key: HostKey,
    sessions: Gauge,
    connections: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Server {
    pub(crate) fn new(config: Config, events: Events, host_key: HostKey) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                events,
                begin: Instant::now(),
                limits: Mutex::default(),
                section: Mutex::default(),
                host_key,
                sessions: Gauge::default(),
                connections: Family::default(),
            }),
            tasks: BTreeMap::new(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let shared = &self.shared;
        let help = "Sessions that are open";
        registry.register("x0_remote_sessions", help, shared.sessions.clone());
        let help = "Connections by what became of them";
        registry.register("x0_remote_connections", help, shared.connections.clone());
    }

    /// What the section says applies to connections from now on; open ones stay.
    pub(crate) fn apply(&mut self, section: Section) -> Result<(), String> {
        section.check()?;
        let addresses = section.sockets()?;
        let mut fresh = Vec::new();
        for address in &addresses {
            if !self.tasks.contains_key(address) && !fresh.iter().any(|(a, _)| a == address) {
                let listener = bind(*address).map_err(|error| {
                    format!("remote.listen: cannot listen on {address}: {error}")
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
        *lock(&self.shared.section) = section;
        for (address, listener) in fresh {
            tracing::info!(%address, "listening");
            let task = tokio::spawn(listen(listener, Arc::clone(&self.shared)));
            self.tasks.insert(address, task);
        }
        Ok(())
    }

    /// One line for a person.
    pub(crate) fn describe(&self) -> String {
        if self.tasks.is_empty() {
            return "off: remote.enabled in the configuration switches it on".to_owned();
        }
        let addresses: Vec<String> = self.tasks.keys().map(ToString::to_string).collect();
        let fingerprint = &self.shared.host_key.fingerprint;
        format!("on {}, host key {fingerprint}", addresses.join(", "))
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let now_ms = u64::try_from(shared.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
                let admitted = lock(&shared.limits).admit(now_ms, peer.ip());
                match admitted {
                    Ok(()) => {
                        tokio::spawn(look_after(stream, peer, Arc::clone(&shared)));
                    }
                    Err(reason) => {
                        tracing::debug!(%peer, %reason, "closed");
                        shared.count("closed");
                    }
                }
            }
            // Out of descriptors, or the peer left already: neither is a reason to spin.
            Err(error) => {
                tracing::debug!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// From the first byte to the last.
async fn look_after(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let mut known = false;
    if let Err(error) = connection(stream, peer, &shared, &mut known).await {
        tracing::warn!(%peer, %error, "cannot look after a connection");
    }
    if !known {
        shared.count("left without a key");
    }
    lock(&shared.limits).gone(peer.ip(), known);
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Shared,
    known: &mut bool,
) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = start(stream, theirs)?;
    let mut ours = BufReader::new(ours);
    ours.get_mut().write_all(&shared.briefing()?).await?;
    let mut reports = ours.take(REPORTS_MAX_BYTES);
    let end = tokio::time::Instant::now() + GREETING;
    let mut refusals = 0;
    let accepted = loop {
        let mut line = String::new();
        match tokio::time::timeout_at(end, reports.read_line(&mut line)).await {
            Err(_) | Ok(Err(_) | Ok(0)) => break None,
            Ok(Ok(_)) => {}
        }
        match serde_json::from_str(&line) {
            Ok(Report::Accepted { key, comment }) => break Some((key, comment)),
            Ok(Report::Refused { key }) => {
                refusals += 1;
                shared.count("refused key");
                if refusals <= REFUSALS_MAX {
                    let payload = json!({ "source": peer.ip(), "key": key });
                    shared.events.record("login.refused", payload);
                }
            }
            Err(_) => break None,
        }
    };
    let Some((key, comment)) = accepted else {
        child.start_kill().ok();
        child.wait().await?;
        return Ok(());
    };
    *known = true;
    lock(&shared.limits).known(peer.ip());
    shared.count("accepted");
    let who = json!({ "source": peer.ip(), "key": key, "name": comment });
    shared.events.record("login.accepted", who.clone());
    shared.sessions.inc();
    let begin = Instant::now();
    let status = child.wait().await;
    shared.sessions.dec();
    let mut payload = who;
    payload["seconds"] = json!(begin.elapsed().as_secs());
    let clean = status.is_ok_and(|status| status.success());
    payload["reason"] = json!(if clean { "left" } else { "broken off" });
    shared.events.record("login.ended", payload);
    Ok(())
}

fn start(stream: TcpStream, reports: UnixStream) -> io::Result<Child> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let reports = reports.into_std()?;
    reports.set_nonblocking(false)?;
    Command::new(own_program()?)
        .arg("--connection")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .stdout(Stdio::from(OwnedFd::from(reports)))
        .kill_on_drop(true)
        .spawn()
}

impl Shared {
    fn briefing(&self) -> io::Result<Vec<u8>> {
        let briefing = Briefing {
            keys: lock(&self.section).authorized_keys.clone(),
            host_key: self.host_key.text.clone(),
            shell: self.config.shell.display().to_string(),
            idle_s: self.config.idle_s,
        };
        let mut line = serde_json::to_vec(&briefing)?;
        line.push(b'\n');
        Ok(line)
    }

    fn count(&self, outcome: &'static str) {
        self.connections
            .get_or_create(&[("outcome", outcome)])
            .inc();
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters and a whole value: a panic elsewhere leaves them usable.
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // The address may come later than this service, or go and come back with a cable (ip(7)).
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
