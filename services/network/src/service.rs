//! The loop: waits for the kernel, for packets, for time and for the end, and brings the kernel to
//! what the document wants after each.

mod advertising;
mod leases;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use network_api::{Document, DomainName, IfName, Status};
use runtime::{Chain, notify};
use thiserror::Error;
use tokio::net::UnixStream;

use crate::config::{Loaded, Options};
use crate::core::plan;
use crate::desired::{Resolved, resolve};
use crate::kernel::{Doorbell, Kernel, Ring};
use crate::random::Random;
use crate::report;
use crate::retry::Retry;
use crate::state::{Action, Observed};
use advertising::Advertising;
use leases::Leases;
use wait::Event;

/// Why the service cannot run at all.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot open a netlink socket")]
    Netlink(#[source] io::Error),
    #[error("cannot set up the signals")]
    Signals(#[source] io::Error),
}

#[derive(Debug)]
pub struct Service {
    options: Options,
    loaded: Loaded,
    kernel: Kernel,
    doorbell: Doorbell,
    start: Instant,
    /// Every card seen since the start: the built-in document must not move the WAN to another card
    /// when one goes away.
    cards: BTreeSet<IfName>,
    document: Document,
    observed: Observed,
    resolved: Resolved,
    leases: Leases,
    advertising: Advertising,
    retry: Retry,
    /// DNS servers from router advertisements, by link, with when to forget them.
    announced_dns: BTreeMap<(u32, Ipv6Addr), Duration>,
    /// When to look at the kernel again.
    due: Duration,
    last_look: Option<Duration>,
    watchdog_due: Option<Duration>,
    changes: u64,
    is_ready: bool,
    told: Told,
}

/// What was last told, so that nothing is told twice.
#[derive(Debug, Default)]
struct Told {
    status: Option<Status>,
    line: String,
    resolv_conf: String,
}

impl Service {
    /// # Errors
    /// When there is no netlink socket to be had.
    pub fn new(options: Options, loaded: Loaded, seed: u64) -> Result<Self, StartError> {
        let mut random = Random::new(seed);
        let hostname = loaded
            .document
            .system
            .hostname
            .as_ref()
            .map(ToString::to_string);
        if let Some(problem) = &loaded.problem {
            tracing::error!(
                problem,
                using = loaded.source,
                "the configuration cannot be used"
            );
        }
        Ok(Self {
            options,
            loaded,
            kernel: Kernel::open().map_err(StartError::Netlink)?,
            doorbell: Doorbell::open().map_err(StartError::Netlink)?,
            start: Instant::now(),
            cards: BTreeSet::new(),
            document: Document::default(),
            observed: Observed::default(),
            resolved: Resolved::default(),
            leases: Leases::new(hostname, Random::new(random.next_u64())),
            advertising: Advertising::new(Random::new(random.next_u64())),
            retry: Retry::default(),
            announced_dns: BTreeMap::new(),
            due: Duration::ZERO,
            last_look: None,
            watchdog_due: notify::watchdog_interval().map(|_| Duration::ZERO),
            changes: 0,
            is_ready: false,
            told: Told::default(),
        })
    }

    /// Runs until `shutdown` becomes readable.
    pub async fn run(&mut self, shutdown: &UnixStream) {
        loop {
            let now = self.start.elapsed();
            self.handle_timeouts(now);
            let deadline = self.start + self.next_timeout();
            match wait::next(self, shutdown, deadline).await {
                Event::Shutdown => break,
                Event::Rings(rings) => self.handle_rings(rings),
                Event::DhcpPacket { link, packet } => {
                    let now = self.start.elapsed();
                    if self.leases.handle_packet(&link, now, packet) {
                        self.look_at(now);
                    }
                }
                Event::Solicitation { link, solicitation } => {
                    self.advertising
                        .handle_solicitation(&link, self.start.elapsed(), solicitation);
                }
                Event::Time => {}
            }
        }
        notify::stopping();
        tracing::info!("stopping; addresses and routes stay");
        self.advertising.farewell();
    }

    fn handle_timeouts(&mut self, now: Duration) {
        if let (Some(due), Some(interval)) = (self.watchdog_due, notify::watchdog_interval())
            && due <= now
        {
            notify::watchdog();
            self.watchdog_due = Some(now + interval);
        }
        if self.leases.handle_timeouts(now) {
            self.look_at(now);
        }
        self.advertising.handle_timeouts(now);
        if self.due <= now {
            self.look(now);
        }
    }

    fn next_timeout(&self) -> Duration {
        let others = [
            self.watchdog_due,
            self.leases.next_timeout(),
            self.advertising.next_timeout(),
        ];
        others.into_iter().flatten().fold(self.due, Duration::min)
    }

    fn handle_rings(&mut self, rings: Vec<Ring>) {
        let now = self.start.elapsed();
        for ring in rings {
            match ring {
                Ring::Changed => self.look_at(now + SETTLE),
                Ring::DnsServers {
                    link_index,
                    lifetime_s,
                    servers,
                } => {
                    let until = now + Duration::from_secs(lifetime_s.into());
                    for server in servers {
                        if self.announced_dns.len() < ANNOUNCED_DNS_MAX {
                            self.announced_dns.insert((link_index, server), until);
                        } else if let Some(known) =
                            self.announced_dns.get_mut(&(link_index, server))
                        {
                            *known = until;
                        }
                    }
                    self.look_at(now + SETTLE);
                }
            }
        }
    }

    /// Asks for a look at the kernel, not too soon after the last one.
    fn look_at(&mut self, at: Duration) {
        let earliest = self
            .last_look
            .map_or(Duration::ZERO, |last| last + BETWEEN_LOOKS_MIN);
        self.due = self.due.min(at.max(earliest));
    }

    /// Reads the kernel's state, changes what is not as it shall be, and tells about it.
    fn look(&mut self, now: Duration) {
        self.last_look = Some(now);
        self.due = now + BETWEEN_LOOKS_MAX;
        let mut problems: Vec<String> = self.loaded.problem.iter().cloned().collect();
        match self.kernel.observe(now.as_secs()) {
            Ok(observed) => self.observed = observed,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the kernel's state is unknown");
                self.due = now + Duration::from_secs(1);
                problems.push(Chain(&error).to_string());
                self.tell(problems);
                return;
            }
        }
        let seen = self
            .observed
            .links
            .iter()
            .filter(|(_, link)| link.hardware && !link.ours);
        self.cards.extend(seen.map(|(name, _)| name.clone()));
        self.document = self.loaded.document.clone().with_default_links(&self.cards);
        self.resolved = resolve(&self.document, &self.observed, &self.leases.learnt());
        self.observed.sysctls = self.kernel.settings(self.resolved.desired.sysctls.keys());
        let actions = plan(&self.resolved.desired, &self.observed);
        self.apply(&actions, now);

        let learnt_before = self.leases.learnt();
        let leases_problems =
            self.leases
                .follow(&self.document, &self.resolved.names, &self.observed, now);
        if self.leases.learnt() != learnt_before {
            self.look_at(now);
        }
        let advertising_problems =
            self.advertising
                .follow(&self.document, &self.resolved.names, &self.observed, now);
        if !self.advertising.is_empty() {
            let has_default_route = self.kernel.has_route(SOMEWHERE);
            self.advertising
                .handle_default_route(now, has_default_route);
        }
        self.announced_dns.retain(|_, until| *until > now);

        let (failures, retry_at) = self.retry.failures();
        if let Some(at) = retry_at {
            self.look_at(at);
        }
        if self.document.network.links.is_empty() {
            problems.push("no network card found".to_owned());
        }
        problems.extend(self.resolved.problems.iter().cloned());
        problems.extend(failures);
        problems.extend(leases_problems);
        problems.extend(advertising_problems);
        self.tell(problems);
    }

    fn apply(&mut self, actions: &[Action], now: Duration) {
        self.retry.forget(now, actions);
        let mut done = 0u64;
        for action in actions {
            if !self.retry.may(action, now) {
                continue;
            }
            let failure = match self.kernel.apply(action, now.as_secs()) {
                Ok(()) => {
                    tracing::info!(action = %action, "changed");
                    done += 1;
                    None
                }
                Err(error) => {
                    let error = Chain(&error).to_string();
                    tracing::warn!(action = %action, error, "not changed");
                    Some(error)
                }
            };
            self.retry.note(action, now, failure);
        }
        if done > 0 {
            self.changes += done;
            // What was just done may allow what failed before, and shows in the next status.
            self.look_at(now + SETTLE);
        }
    }

    fn tell(&mut self, problems: Vec<String>) {
        let (dns, search) = self.resolvers();
        let status = report::status(&report::Inputs {
            source: &self.loaded.source,
            document: &self.document,
            resolved: &self.resolved,
            observed: &self.observed,
            clients: self.leases.clients(),
            advertising: self.advertising.links(),
            dns: dns.clone(),
            problems,
            changes: self.changes,
        });
        let resolv_conf = report::resolv_conf(&dns, &search);
        if resolv_conf != self.told.resolv_conf {
            self.write("resolv.conf", &resolv_conf);
            self.told.resolv_conf = resolv_conf;
        }
        let line = report::line(&status);
        if line != self.told.line {
            notify::status(&line);
            self.told.line = line;
        }
        if self.told.status.as_ref() != Some(&status) {
            let json = serde_json::to_string_pretty(&status).expect("text keys and plain values");
            self.write("status.json", &json);
            for problem in &status.problems {
                let known = self
                    .told
                    .status
                    .as_ref()
                    .is_some_and(|told| told.problems.contains(problem));
                if !known {
                    tracing::warn!(problem, "the network is not as configured");
                }
            }
            self.told.status = Some(status);
        }
        if !self.is_ready {
            self.is_ready = true;
            notify::ready();
            tracing::info!(
                configuration = self.loaded.source,
                changes = self.changes,
                "ready"
            );
        }
    }

    /// DNS servers and search domains: the document's first, then those of leases, then those of
    /// router advertisements.
    fn resolvers(&self) -> (Vec<IpAddr>, Vec<DomainName>) {
        let network = &self.document.network;
        let mut dns = network.dns.clone();
        let mut search = network.search.clone();
        for (key, client) in self.leases.clients() {
            let uses = network.links.get(key).is_some_and(|link| link.ipv4.use_dns);
            if let Some(lease) = client.lease().filter(|_| uses) {
                dns.extend(lease.dns.iter().copied().map(IpAddr::from));
                search.extend(lease.domain.clone());
            }
        }
        for (index, server) in self.announced_dns.keys() {
            let link = self.resolved.names.iter().find(|(_, name)| {
                self.observed
                    .links
                    .get(*name)
                    .is_some_and(|link| link.index == *index)
            });
            let uses = link
                .and_then(|(key, _)| network.links.get(key))
                .is_some_and(|link| {
                    link.ipv6.use_dns && link.ipv6.method == network_api::Ipv6Method::Auto
                });
            if uses {
                dns.push((*server).into());
            }
        }
        let mut known = BTreeSet::new();
        dns.retain(|server| known.insert(*server));
        dns.truncate(8);
        let mut known = BTreeSet::new();
        search.retain(|domain| known.insert(domain.clone()));
        search.truncate(6);
        (dns, search)
    }

    fn write(&self, name: &str, text: &str) {
        if let Err(error) = report::replace(&self.options.run.join(name), text) {
            tracing::warn!(%error, name, "cannot write");
        }
    }
}

/// What the service would do now, as JSON; for `--show`.
///
/// # Errors
/// When the kernel's state cannot be read.
pub fn show(loaded: &Loaded) -> Result<String, ShowError> {
    let mut kernel = Kernel::open().map_err(ShowError::Open)?;
    let mut observed = kernel.observe(0).map_err(ShowError::Observe)?;
    let cards: Vec<&IfName> = observed
        .links
        .iter()
        .filter(|(_, link)| link.hardware)
        .map(|(name, _)| name)
        .collect();
    let document = loaded.document.clone().with_default_links(cards);
    let resolved = resolve(&document, &observed, &BTreeMap::new());
    observed.sysctls = kernel.settings(resolved.desired.sysctls.keys());
    let actions: Vec<String> = plan(&resolved.desired, &observed)
        .iter()
        .map(ToString::to_string)
        .collect();
    let plan = serde_json::json!({
        "configuration": loaded.source,
        "problems": loaded.problem.iter().chain(&resolved.problems).collect::<Vec<_>>(),
        "interfaces": resolved.names,
        "actions": actions,
        "document": document,
    });
    Ok(serde_json::to_string_pretty(&plan).expect("text keys and plain values"))
}

/// Why `--show` shows nothing.
#[derive(Debug, Error)]
pub enum ShowError {
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    #[error("cannot tell what would change")]
    Observe(#[source] crate::kernel::ObserveError),
}

/// The interface of a link, where it can carry packets.
fn usable<'a>(
    key: &IfName,
    names: &'a BTreeMap<IfName, IfName>,
    observed: &'a Observed,
) -> Option<(&'a IfName, &'a crate::state::ObservedLink)> {
    let name = names.get(key)?;
    Some((name, observed.links.get(name)?))
}

/// Events come in bursts: wait for the rest.
const SETTLE: Duration = Duration::from_millis(20);
const BETWEEN_LOOKS_MIN: Duration = Duration::from_millis(100);
/// Settings in `/proc/sys` and other programs' default routes change without an event.
const BETWEEN_LOOKS_MAX: Duration = Duration::from_secs(30);
const ANNOUNCED_DNS_MAX: usize = 16;
/// An address that only a default route, or something as wide, leads to.
const SOMEWHERE: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1));
