//! The loop: waits for the kernel, for packets, for time and for the end, and brings the kernel to
//! what the document wants after each.

mod advertising;
mod leases;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use config::{DomainName, IfName, Network};
use network_api::Status;
use runtime::{Chain, notify};
use store_api::Configuration;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::config::{From, Options};
use crate::core::plan;
use crate::desired::{Resolved, resolve};
use crate::kernel::{Doorbell, Kernel, Ring};
use crate::news::{self, Answer, News};
use crate::random::Random;
use crate::report;
use crate::retry::Retry;
use crate::source::{self, Loaded};
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
    #[error("cannot start the thread that follows the store")]
    Follow(#[source] io::Error),
}

#[derive(Debug)]
pub struct Service {
    options: Options,
    loaded: Loaded,
    /// The store's, where the configuration comes from there.
    news: Option<mpsc::Receiver<News>>,
    /// A configuration whose outcome the store waits for.
    application: Option<Application>,
    kernel: Kernel,
    doorbell: Doorbell,
    start: Instant,
    /// Every card seen since the start: the built-in document must not move the WAN to another card
    /// when one goes away.
    cards: BTreeSet<IfName>,
    /// The configuration, with the built-in links where it has none.
    network: Network,
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

#[derive(Debug)]
struct Application {
    configuration: Configuration,
    answer: Answer,
    /// What fails until then has failed.
    until: Duration,
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
    pub fn new(options: Options, seed: u64) -> Result<Self, StartError> {
        let mut random = Random::new(seed);
        Ok(Self {
            options,
            loaded: Loaded::built_in(),
            news: None,
            application: None,
            kernel: Kernel::open().map_err(StartError::Netlink)?,
            doorbell: Doorbell::open().map_err(StartError::Netlink)?,
            start: Instant::now(),
            cards: BTreeSet::new(),
            network: Network::default(),
            observed: Observed::default(),
            resolved: Resolved::default(),
            leases: Leases::new(Random::new(random.next_u64())),
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
    ///
    /// # Errors
    /// When it cannot run at all. What goes wrong later becomes a problem in its status.
    pub async fn run(&mut self, shutdown: &UnixStream) -> Result<(), StartError> {
        self.configure().await?;
        loop {
            let now = self.start.elapsed();
            self.handle_timeouts(now);
            let deadline = self.start + self.next_timeout();
            match wait::next(self, shutdown, deadline).await {
                Event::Shutdown => break,
                Event::News(news) => self.handle_news(news),
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
        Ok(())
    }

    /// The configuration to begin with. A store that is on its way up gets a moment: the built-in
    /// addresses must not flash up on a machine that has others.
    async fn configure(&mut self) -> Result<(), StartError> {
        let socket = match &self.options.from {
            From::File(path) => {
                let loaded = match Loaded::file(path) {
                    Ok(loaded) => loaded,
                    Err(source::LoadError::Missing(_)) => Loaded::built_in(),
                    Err(error) => self.fallback(Chain(&error).to_string()),
                };
                self.adopt(loaded);
                return Ok(());
            }
            From::Store(socket) => socket.clone(),
        };
        let mut news = news::follow(socket).map_err(StartError::Follow)?;
        let deadline = tokio::time::Instant::now() + STORE_WAIT;
        let mut reason = "the store does not answer".to_owned();
        loop {
            match tokio::time::timeout_at(deadline, news.recv()).await {
                Ok(Some(News::Away(why))) => reason = why,
                Ok(Some(first)) => {
                    self.handle_news(first);
                    // Of no use: it stays a problem, and what stands in for it is used.
                    if let Some(problem) = self.loaded.problem.take() {
                        let loaded = self.fallback(problem);
                        self.adopt(loaded);
                    }
                    break;
                }
                Ok(None) | Err(_) => {
                    let loaded = self.fallback(reason);
                    self.adopt(loaded);
                    break;
                }
            }
        }
        self.news = Some(news);
        Ok(())
    }

    fn fallback(&self, problem: String) -> Loaded {
        let loaded = Loaded::fallback(&self.options.run, problem.replace('\n', "; "));
        tracing::error!(
            problem = loaded.problem,
            using = loaded.source,
            "the configuration cannot be used"
        );
        loaded
    }

    fn handle_news(&mut self, news: News) {
        let (configuration, answer) = match news {
            News::Configuration(configuration, answer) => (configuration, answer),
            News::Away(reason) => {
                tracing::warn!(reason, using = self.loaded.source, "the store is away");
                self.loaded.problem = Some(format!("the store is away: {reason}"));
                self.due = Duration::ZERO;
                return;
            }
        };
        let generation = configuration.generation;
        match Loaded::generation(&configuration) {
            Ok(loaded) => {
                self.adopt(loaded);
                let until = self.start.elapsed() + APPLY_LIMIT;
                self.application = Some(Application {
                    configuration,
                    answer,
                    until,
                });
            }
            Err(problems) => {
                let reason = problems.to_string().replace('\n', "; ");
                tracing::error!(generation, reason, "the configuration cannot be used");
                self.loaded.problem =
                    Some(format!("generation {generation} cannot be used: {reason}"));
                self.due = Duration::ZERO;
                answer.give(Err(reason));
            }
        }
    }

    /// From now on this is what is wanted. The next look at the kernel changes only what differs.
    fn adopt(&mut self, loaded: Loaded) {
        tracing::info!(
            from = self.loaded.source,
            to = loaded.source,
            "configuration"
        );
        if loaded.network != self.loaded.network {
            // What the kernel refused of the old one is no reason to wait with the new one.
            self.retry = Retry::default();
        }
        self.leases
            .set_hostname(loaded.hostname.as_ref().map(ToString::to_string));
        self.loaded = loaded;
        self.due = Duration::ZERO;
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
                let error = Chain(&error).to_string();
                self.judge(now, std::slice::from_ref(&error));
                problems.push(error);
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
        self.network = self.loaded.network.clone().with_default_links(&self.cards);
        self.resolved = resolve(&self.network, &self.observed, &self.leases.learnt());
        self.observed.sysctls = self.kernel.settings(self.resolved.desired.sysctls.keys());
        let actions = plan(&self.resolved.desired, &self.observed);
        self.apply(&actions, now);

        let learnt_before = self.leases.learnt();
        let leases_problems =
            self.leases
                .follow(&self.network, &self.resolved.names, &self.observed, now);
        if self.leases.learnt() != learnt_before {
            self.look_at(now);
        }
        let advertising_problems =
            self.advertising
                .follow(&self.network, &self.resolved.names, &self.observed, now);
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
        if !self.loaded.network.links.is_empty() && self.resolved.names.is_empty() {
            // A card may be unplugged; a document that fits no card at all is for another machine.
            self.judge(now, &["no link has a network card that fits".to_owned()]);
        } else {
            self.judge(now, &failures);
        }
        if self.network.links.is_empty() {
            problems.push("no network card found".to_owned());
        }
        problems.extend(self.resolved.problems.iter().cloned());
        problems.extend(failures);
        problems.extend(leases_problems);
        problems.extend(advertising_problems);
        self.tell(problems);
    }

    /// Answers the store once the configuration is applied, or will not be.
    fn judge(&mut self, now: Duration, failures: &[String]) {
        let Some(application) = &self.application else {
            return;
        };
        if !failures.is_empty() && now < application.until {
            let until = application.until;
            self.look_at(until);
            return;
        }
        let Some(application) = self.application.take() else {
            return;
        };
        let generation = application.configuration.generation;
        if failures.is_empty() {
            if let Err(error) = source::remember(&self.options.run, &application.configuration) {
                tracing::warn!(%error, "cannot keep a copy of the configuration");
            }
            tracing::info!(generation, "applied");
            application.answer.give(Ok(()));
        } else {
            let shown: Vec<&str> = failures.iter().take(4).map(String::as_str).collect();
            let reason = shown.join("; ");
            tracing::error!(generation, reason, "not applied");
            application.answer.give(Err(reason));
        }
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
            network: &self.network,
            generation: self.loaded.generation,
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
        let network = &self.network;
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
                    link.ipv6.use_dns && link.ipv6.method == config::Ipv6Method::Auto
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
    let network = loaded.network.clone().with_default_links(cards);
    let resolved = resolve(&network, &observed, &BTreeMap::new());
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
        "network": network,
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
/// How long a store that does not answer holds up the start.
const STORE_WAIT: Duration = Duration::from_secs(2);
/// What the kernel refuses for so long, it refuses: three attempts.
const APPLY_LIMIT: Duration = Duration::from_secs(4);
const BETWEEN_LOOKS_MIN: Duration = Duration::from_millis(100);
/// Settings in `/proc/sys` and other programs' default routes change without an event.
const BETWEEN_LOOKS_MAX: Duration = Duration::from_secs(30);
const ANNOUNCED_DNS_MAX: usize = 16;
/// An address that only a default route, or something as wide, leads to.
const SOMEWHERE: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1));
