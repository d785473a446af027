//! Router advertisements (RFC 4861 section 6.2, DNS by RFC 8106). No socket and no clock: like the
//! DHCP client, it is told what happened and asked what to send and when.

use std::net::Ipv6Addr;
use std::time::Duration;

use config::{Advertise, AdvertisedPrefix, Advertiser, MacAddr};
use thiserror::Error;

use crate::random::Random;

#[cfg(test)]
mod tests;

/// The advertising side of one link.
#[derive(Debug)]
pub struct Router {
    config: Advertise,
    mac: MacAddr,
    random: Random,
    has_default_route: bool,
    sent: u32,
    last_sent: Option<Duration>,
    due: Duration,
}

/// Why a message is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SolicitationError {
    #[error("it came over a router: its hop limit is not 255")]
    HopLimit,
    #[error("it is no router solicitation")]
    NotSolicitation,
    #[error("an option has a length that it cannot have")]
    Options,
    #[error("it comes from no host's address")]
    Source,
}

impl Router {
    /// Begins to advertise at once.
    #[must_use]
    pub fn new(now: Duration, config: Advertise, mac: MacAddr, random: Random) -> Self {
        Self {
            config,
            mac,
            random,
            has_default_route: false,
            sent: 0,
            last_sent: None,
            due: now,
        }
    }

    /// The way to the internet came or went: hosts shall know soon.
    pub fn handle_default_route(&mut self, now: Duration, has_default_route: bool) {
        if self.has_default_route != has_default_route {
            self.has_default_route = has_default_route;
            if self.config.router == Advertiser::Auto {
                self.advance_to(now);
            }
        }
    }

    /// A host on the link asks. Hosts that ask together get one answer (section 6.2.6).
    pub fn handle_solicitation(&mut self, now: Duration) {
        let delay = self.random.between(Duration::ZERO, DELAY_MAX);
        self.advance_to(now + delay);
    }

    /// The link came back: as with a new one, hosts hear of us soon.
    pub fn handle_link_up(&mut self, now: Duration) {
        self.sent = 0;
        self.advance_to(now);
    }

    /// When `poll_advertisement` has something to send.
    #[must_use]
    pub fn next_timeout(&self) -> Duration {
        self.due
    }

    /// The message that is due, if one is.
    pub fn poll_advertisement(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.due > now {
            return None;
        }
        self.sent = self.sent.saturating_add(1);
        self.last_sent = Some(now);
        let longest = Duration::from_secs(self.config.interval_max_s.into());
        let shortest = if self.config.interval_max_s >= 9 {
            longest.mul_f32(0.33)
        } else {
            longest.mul_f32(0.75)
        };
        let mut wait = self
            .random
            .between(shortest.max(BETWEEN_MIN), longest.max(BETWEEN_MIN));
        if self.sent < INITIAL_COUNT {
            wait = wait.min(INITIAL_INTERVAL_MAX);
        }
        self.due = now + wait;
        let lifetime_s = match (self.config.router, self.has_default_route) {
            (Advertiser::Always, _) | (Advertiser::Auto, true) => self.config.router_lifetime_s,
            (Advertiser::Never, _) | (Advertiser::Auto, false) => 0,
        };
        Some(self.message(lifetime_s))
    }

    /// The last message, at the end of advertising: hosts shall look for another router (section
    /// 6.2.5), but keep their addresses, which may outlast a restart.
    #[must_use]
    pub fn farewell(&self) -> Vec<u8> {
        self.message(0)
    }

    fn advance_to(&mut self, at: Duration) {
        // Section 6.2.6: multicast advertisements at least three seconds apart.
        let earliest = self
            .last_sent
            .map_or(Duration::ZERO, |last| last + BETWEEN_MIN);
        self.due = self.due.min(at.max(earliest));
    }

    fn message(&self, lifetime_s: u16) -> Vec<u8> {
        // Hop limit 64; no "managed" or "other" flag, as there is no DHCPv6 server; reachable and
        // retransmission times are the hosts' own.
        let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0];
        message.extend(lifetime_s.to_be_bytes());
        message.extend([0; 8]);
        message.extend([SOURCE_LINK_LAYER_ADDRESS, 1]);
        message.extend(self.mac.bytes());
        if let Some(mtu) = self.config.mtu {
            message.extend([MTU, 1, 0, 0]);
            message.extend(mtu.bytes().to_be_bytes());
        }
        for prefix in &self.config.prefixes {
            prefix_information(&mut message, prefix);
        }
        // RFC 8106 section 5.1: three times the interval, so that two may be lost.
        let dns_lifetime_s = 3 * u32::from(self.config.interval_max_s);
        if !self.config.rdnss.is_empty() {
            let units = 1 + 2 * self.config.rdnss.len();
            message.extend([RDNSS, u8::try_from(units).expect("at most 8 servers"), 0, 0]);
            message.extend(dns_lifetime_s.to_be_bytes());
            for server in &self.config.rdnss {
                message.extend(server.octets());
            }
        }
        if !self.config.dnssl.is_empty() {
            let mut names = Vec::new();
            for domain in &self.config.dnssl {
                for label in domain.as_str().split('.') {
                    names.push(u8::try_from(label.len()).expect("a label has at most 63 bytes"));
                    names.extend(label.as_bytes());
                }
                names.push(0);
            }
            names.resize(names.len().next_multiple_of(8), 0);
            let units = u8::try_from(1 + names.len() / 8).expect("6 domains of 254 bytes");
            message.extend([DNSSL, units, 0, 0]);
            message.extend(dns_lifetime_s.to_be_bytes());
            message.extend(names);
        }
        message
    }
}

/// Section 6.1.1: what a router solicitation has to fulfil to be answered.
///
/// # Errors
/// When it does not.
pub fn check_solicitation(
    source: Ipv6Addr,
    hop_limit: Option<u8>,
    message: &[u8],
) -> Result<(), SolicitationError> {
    if hop_limit != Some(255) {
        return Err(SolicitationError::HopLimit);
    }
    let [ROUTER_SOLICITATION, 0, _, _, _, _, _, _, options @ ..] = message else {
        return Err(SolicitationError::NotSolicitation);
    };
    if source.is_multicast() || source.is_loopback() {
        return Err(SolicitationError::Source);
    }
    let mut options = options;
    while let [kind, units, ..] = options {
        let len = usize::from(*units) * 8;
        if len == 0 || len > options.len() {
            return Err(SolicitationError::Options);
        }
        if *kind == SOURCE_LINK_LAYER_ADDRESS && source.is_unspecified() {
            return Err(SolicitationError::Source);
        }
        options = &options[len..];
    }
    if options.is_empty() {
        Ok(())
    } else {
        Err(SolicitationError::Options)
    }
}

fn prefix_information(message: &mut Vec<u8>, prefix: &AdvertisedPrefix) {
    let std::net::IpAddr::V6(network) = prefix.prefix.network() else {
        return;
    };
    message.extend([
        PREFIX_INFORMATION,
        4,
        prefix.prefix.len(),
        ON_LINK | AUTONOMOUS,
    ]);
    message.extend(prefix.valid_s.to_be_bytes());
    message.extend(prefix.preferred_s.to_be_bytes());
    message.extend([0; 4]);
    message.extend(network.octets());
}

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

// Section 10.
const INITIAL_INTERVAL_MAX: Duration = Duration::from_secs(16);
const INITIAL_COUNT: u32 = 3;
const BETWEEN_MIN: Duration = Duration::from_secs(3);
const DELAY_MAX: Duration = Duration::from_millis(500);
