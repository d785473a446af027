//! What the page shows: the facts, cleaned and bounded once, where they come in.

use api::{ServiceStatus, Status};

use crate::text;

const MAX_SERVICES: usize = 256;
const MAX_REASONS: usize = 64;
const MAX_INTERFACES: usize = 64;
const MAX_ADDRESSES: usize = 16;
const MAX_LOG_LINES: usize = 500;
/// Longer text helps nobody on a terminal.
const MAX_TEXT: usize = 400;

/// Everything known at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    status: Option<Status>,
    fault: Option<String>,
    interfaces: Vec<Interface>,
    routes: Vec<String>,
    problems: Vec<String>,
}

impl Snapshot {
    /// Cleans what PID 1 and the network service said. `status` may be the last one that is known,
    /// then `fault` says why there is no newer one.
    #[must_use]
    pub fn new(status: Option<Status>, fault: Option<String>, network: Network) -> Self {
        let mut interfaces = network.interfaces;
        interfaces.truncate(MAX_INTERFACES);
        Self {
            status: status.map(clean_status),
            fault: fault.as_deref().map(clean),
            interfaces: interfaces.into_iter().map(Interface::clean).collect(),
            routes: clean_all(&network.routes, MAX_ADDRESSES),
            problems: clean_all(&network.problems, MAX_REASONS),
        }
    }

    /// What PID 1 said last.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Why PID 1 says nothing now.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    #[must_use]
    pub fn services(&self) -> &[ServiceStatus] {
        self.status.as_ref().map_or(&[], |status| &status.services)
    }

    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Where packets and questions for names go, a line each.
    #[must_use]
    pub fn routes(&self) -> &[String] {
        &self.routes
    }

    /// What the network service complains of.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// What is known of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub interfaces: Vec<Interface>,
    pub routes: Vec<String>,
    pub problems: Vec<String>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// `wan`, `lan` or nothing.
    pub role: String,
    pub link: Link,
    pub addresses: Vec<Address>,
    /// What is under way, e.g. a search for a DHCP server.
    pub note: String,
}

impl Interface {
    fn clean(mut self) -> Self {
        self.name = clean(&self.name);
        self.role = clean(&self.role);
        self.note = clean(&self.note);
        self.addresses.truncate(MAX_ADDRESSES);
        for address in &mut self.addresses {
            address.address = clean(&address.address);
            address.origin = clean(&address.origin);
        }
        self
    }
}

/// Whether an interface can carry packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Up,
    /// Switched on, but no cable or no partner.
    NoCarrier,
    /// Switched off.
    Off,
    /// It is configured, but the machine has no such card.
    Absent,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// With its prefix length: `192.0.2.7/24`.
    pub address: String,
    /// Where it comes from, e.g. `dhcp`; empty where that is not known.
    pub origin: String,
}

impl Address {
    /// Link-local addresses are there anyway and say little.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        self.address.starts_with("fe80:")
    }
}

/// A line of a log, clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub uptime_ms: u64,
    pub text: String,
}

/// The end of a log, cleaned and bounded.
#[must_use]
pub fn log(lines: &[api::LogLine]) -> Vec<LogLine> {
    let begin = lines.len().saturating_sub(MAX_LOG_LINES);
    let clean = |line: &api::LogLine| LogLine {
        uptime_ms: line.uptime_ms,
        text: long(&line.text, 4 * MAX_TEXT),
    };
    lines[begin..].iter().map(clean).collect()
}

/// An error message, clean.
#[must_use]
pub fn clean(text: &str) -> String {
    long(text, MAX_TEXT)
}

fn long(text: &str, limit: usize) -> String {
    let end = text
        .char_indices()
        .nth(limit)
        .map_or(text.len(), |(at, _)| at);
    let mut line = text::plain(&text[..end]);
    line.truncate(limit);
    line
}

fn clean_all(texts: &[String], limit: usize) -> Vec<String> {
    texts.iter().take(limit).map(|text| clean(text)).collect()
}

fn clean_status(mut status: Status) -> Status {
    for text in [&mut status.version, &mut status.build, &mut status.hostname] {
        *text = clean(text);
    }
    for text in [&mut status.slot, &mut status.previous_end] {
        *text = text.as_deref().map(clean);
    }
    status.health.reasons = clean_all(&status.health.reasons, MAX_REASONS);
    status.services.truncate(MAX_SERVICES);
    for service in &mut status.services {
        service.name = clean(&service.name);
        service.description = clean(&service.description);
        service.status_text = clean(service.status_text.trim());
        service.last_exit = service.last_exit.as_deref().map(clean);
        service.needs = clean_all(&service.needs, MAX_SERVICES);
    }
    status
}
