//! The client's states (RFC 2131 section 4.4). No socket and no clock: times are arguments, counted
//! from any fixed point, and packets go in and out as bytes.
//!
//! Call `handle_*` with what happened, then send all of `poll_transmit`, then wait until
//! `next_timeout`.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use config::MacAddr;
use thiserror::Error;

use super::lease::{self, LEASE_MIN_S, Lease};
use super::message::{Kind, Reply, ReplyError, Request};
use crate::random::Random;

#[derive(Debug)]
pub struct Client {
    identity: Identity,
    random: Random,
    state: State,
    /// When the state's own timer fires.
    due: Option<Duration>,
    lease: Option<Lease>,
    /// An address of an earlier run or lease, to ask for again.
    previous: Option<Ipv4Addr>,
    transaction: u32,
    /// When this attempt to get an address began, for the `secs` field.
    started: Duration,
    refusals: u32,
    outgoing: VecDeque<Transmit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub mac: MacAddr,
    pub hostname: Option<String>,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Our address, or 0.0.0.0 as long as there is none.
    pub source: Ipv4Addr,
    /// `None`: every server on the link.
    pub server: Option<Ipv4Addr>,
    pub payload: Vec<u8>,
}

/// What a person wants to know about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Bound,
    NoLink,
    Rebinding,
    Rebooting,
    Renewing,
    Requesting,
    Selecting,
    Waiting,
}

/// Why a packet changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Ignored {
    #[error("the packet is no reply from a DHCP server")]
    Malformed(#[source] ReplyError),
    #[error("the reply is for another transaction or card")]
    NotOurs,
    #[error("the reply does not fit what was asked")]
    Unexpected,
    #[error("the reply offers an address that no host can have")]
    Address,
    #[error("the reply names no server that could have sent it")]
    Server,
    #[error("the reply has no lease time, or one shorter than {LEASE_MIN_S} s")]
    LeaseTime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Bound,
    NoLink,
    Rebinding,
    Rebooting {
        address: Ipv4Addr,
        tries: u32,
    },
    Renewing,
    Requesting {
        address: Ipv4Addr,
        server: Ipv4Addr,
        tries: u32,
    },
    Selecting {
        tries: u32,
    },
    /// Before the next attempt, after a refusal.
    Waiting,
}

impl Client {
    /// A client on a link without carrier. `previous` is an address that an earlier run has left.
    #[must_use]
    pub fn new(identity: Identity, random: Random, previous: Option<Ipv4Addr>) -> Self {
        Self {
            identity,
            random,
            state: State::NoLink,
            due: None,
            lease: None,
            previous,
            transaction: 0,
            started: Duration::ZERO,
            refusals: 0,
            outgoing: VecDeque::new(),
        }
    }

    /// The name that servers are told from the next message on.
    pub fn set_hostname(&mut self, hostname: Option<String>) {
        self.identity.hostname = hostname;
    }

    /// The carrier came or went. After a return the link may be another one: the lease stays in use
    /// and is confirmed with its server at once (section 3.2).
    pub fn handle_link(&mut self, now: Duration, has_carrier: bool) {
        match (has_carrier, &self.state) {
            (false, State::NoLink) => {}
            (false, _) => {
                self.state = State::NoLink;
                self.due = None;
            }
            (true, State::NoLink) => {
                self.begin(now);
                match self.lease_address().or(self.previous) {
                    Some(address) => self.reboot(now, address, 0),
                    None => self.select(now, 0),
                }
            }
            (true, _) => {}
        }
    }

    /// The payload of a UDP datagram that came to the client's port.
    ///
    /// # Errors
    /// When it changed nothing, with the reason, for the log.
    pub fn handle_packet(&mut self, now: Duration, payload: &[u8]) -> Result<(), Ignored> {
        let reply = Reply::parse(payload).map_err(Ignored::Malformed)?;
        if reply.transaction != self.transaction || reply.mac != self.identity.mac {
            return Err(Ignored::NotOurs);
        }
        match (reply.kind, &self.state) {
            (Kind::Offer, State::Selecting { .. }) => {
                let lease = lease::read(now, &reply)?;
                self.request(now, reply.address, lease.server, 0);
                Ok(())
            }
            (
                Kind::Ack,
                State::Requesting {
                    address, server, ..
                },
            ) => {
                if reply.address != *address || reply.server != Some(*server) {
                    return Err(Ignored::Unexpected);
                }
                self.bind(lease::read(now, &reply)?);
                Ok(())
            }
            (Kind::Ack, State::Rebooting { address, .. }) if reply.address == *address => {
                self.bind(lease::read(now, &reply)?);
                Ok(())
            }
            (Kind::Ack, State::Renewing | State::Rebinding)
                if Some(reply.address) == self.lease_address() =>
            {
                self.bind(lease::read(now, &reply)?);
                Ok(())
            }
            (Kind::Nak, State::Requesting { server, .. }) if reply.server == Some(*server) => {
                self.refused(now);
                Ok(())
            }
            (Kind::Nak, State::Rebooting { .. } | State::Renewing | State::Rebinding) => {
                // Without a server's name anybody's stray packet would do.
                lease::server(&reply)?;
                self.refused(now);
                Ok(())
            }
            _ => Err(Ignored::Unexpected),
        }
    }

    /// Time has passed; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        let expires_at = self.lease.as_ref().and_then(|lease| lease.expires_at);
        if expires_at.is_some_and(|at| at <= now) {
            self.lease = None;
            if matches!(
                self.state,
                State::Bound | State::Renewing | State::Rebinding
            ) {
                self.begin(now);
                self.select(now, 0);
                return;
            }
        }
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        match self.state.clone() {
            State::NoLink => self.due = None,
            State::Waiting => {
                self.begin(now);
                self.select(now, 0);
            }
            State::Selecting { tries } => self.select(now, tries + 1),
            State::Requesting {
                address,
                server,
                tries,
            } if tries + 1 < REQUEST_TRIES => {
                self.request(now, address, server, tries + 1);
            }
            State::Rebooting { address, tries } if tries + 1 < REBOOT_TRIES => {
                self.reboot(now, address, tries + 1);
            }
            State::Requesting { .. } | State::Rebooting { .. } => {
                self.begin(now);
                self.select(now, 0);
            }
            State::Bound => {
                self.begin(now);
                self.extend(now);
            }
            State::Renewing | State::Rebinding => self.extend(now),
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outgoing.pop_front()
    }

    /// When `handle_timeout` has to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let expires_at = self.lease.as_ref().and_then(|lease| lease.expires_at);
        self.due.into_iter().chain(expires_at).min()
    }

    /// What to use.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether an earlier run's address may still prove to be ours.
    #[must_use]
    pub fn hopes_for_previous(&self) -> bool {
        self.lease.is_none() && self.previous.is_some()
    }

    /// Whether packets are of interest: a bound client with time left needs none.
    #[must_use]
    pub fn listens(&self) -> bool {
        !matches!(self.state, State::Bound | State::NoLink | State::Waiting)
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Bound => Phase::Bound,
            State::NoLink => Phase::NoLink,
            State::Rebinding => Phase::Rebinding,
            State::Rebooting { .. } => Phase::Rebooting,
            State::Renewing => Phase::Renewing,
            State::Requesting { .. } => Phase::Requesting,
            State::Selecting { .. } => Phase::Selecting,
            State::Waiting => Phase::Waiting,
        }
    }

    fn begin(&mut self, now: Duration) {
        self.started = now;
        self.transaction = self.random.next_u32();
    }

    fn select(&mut self, now: Duration, tries: u32) {
        self.state = State::Selecting { tries };
        self.due = Some(now + self.patience(tries));
        let requested = self.previous;
        self.send(
            now,
            Kind::Discover,
            Message {
                requested,
                ..Message::default()
            },
        );
    }

    fn request(&mut self, now: Duration, address: Ipv4Addr, server: Ipv4Addr, tries: u32) {
        self.state = State::Requesting {
            address,
            server,
            tries,
        };
        self.due = Some(now + self.patience(tries));
        let (requested, server) = (Some(address), Some(server));
        self.send(
            now,
            Kind::Request,
            Message {
                requested,
                server,
                ..Message::default()
            },
        );
    }

    fn reboot(&mut self, now: Duration, address: Ipv4Addr, tries: u32) {
        self.state = State::Rebooting { address, tries };
        self.due = Some(now + self.patience(tries));
        let requested = Some(address);
        self.send(
            now,
            Kind::Request,
            Message {
                requested,
                ..Message::default()
            },
        );
    }

    /// Renews with our server before T2, and with any after it (section 4.4.5).
    fn extend(&mut self, now: Duration) {
        let Some(lease) = &self.lease else { return };
        let (Some(rebind_at), Some(expires_at)) = (lease.rebind_at, lease.expires_at) else {
            return;
        };
        let client = self.lease_address();
        let (state, until, destination) = if now < rebind_at {
            (State::Renewing, rebind_at, Some(lease.server))
        } else {
            (State::Rebinding, expires_at, None)
        };
        self.state = state;
        let half = until.saturating_sub(now) / 2;
        self.due = Some((now + half.max(EXTEND_MIN)).min(until.max(now + SHORTEST)));
        self.send(
            now,
            Kind::Request,
            Message {
                client,
                destination,
                ..Message::default()
            },
        );
    }

    fn bind(&mut self, lease: Lease) {
        self.due = lease.renew_at;
        self.lease = Some(lease);
        self.previous = self.lease_address();
        self.refusals = 0;
        self.state = State::Bound;
    }

    /// A server says no: what we have or ask for is not ours (section 3.1.5). Start again, slower
    /// each time, or a confused server would make us both busy for ever.
    fn refused(&mut self, now: Duration) {
        self.lease = None;
        self.previous = None;
        self.state = State::Waiting;
        let wait = (REFUSED_MIN * 2u32.saturating_pow(self.refusals)).min(REFUSED_MAX);
        self.refusals = (self.refusals + 1).min(16);
        self.due = Some(now + self.random.jitter(wait, wait / 4));
    }

    /// Section 4.1: 4, 8, 16, 32 and then 64 seconds, each up to one second more or less.
    fn patience(&mut self, tries: u32) -> Duration {
        let seconds = 4 << tries.min(4);
        self.random
            .jitter(Duration::from_secs(seconds), Duration::from_secs(1))
    }

    fn lease_address(&self) -> Option<Ipv4Addr> {
        match self.lease.as_ref()?.address.ip() {
            std::net::IpAddr::V4(ip) => Some(ip),
            std::net::IpAddr::V6(_) => None,
        }
    }

    fn send(&mut self, now: Duration, kind: Kind, message: Message) {
        let Message {
            client,
            requested,
            server,
            destination,
        } = message;
        let seconds = now.saturating_sub(self.started).as_secs();
        let request = Request {
            kind,
            transaction: self.transaction,
            seconds: u16::try_from(seconds).unwrap_or(u16::MAX),
            mac: self.identity.mac,
            client,
            requested,
            server,
            hostname: self.identity.hostname.as_deref(),
        };
        self.outgoing.push_back(Transmit {
            source: client.unwrap_or(Ipv4Addr::UNSPECIFIED),
            server: destination,
            payload: request.to_bytes(),
        });
    }
}

#[derive(Default)]
struct Message {
    client: Option<Ipv4Addr>,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
}

const REQUEST_TRIES: u32 = 4;
const REBOOT_TRIES: u32 = 2;
/// Section 4.4.5 says 60 seconds, which does not fit leases of a few minutes.
const EXTEND_MIN: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_secs(1);
const REFUSED_MIN: Duration = Duration::from_secs(2);
const REFUSED_MAX: Duration = Duration::from_secs(300);
