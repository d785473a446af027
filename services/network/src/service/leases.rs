use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use config::{IfName, Ipv4Method, MacAddr, Network};

use super::usable;
use crate::desired::Learnt;
use crate::dhcp::client::{Client, Identity, Ignored};
use crate::net::PacketSocket;
use crate::random::Random;
use crate::state::{Observed, Origin};

/// The DHCP clients, one for each link that wants one.
#[derive(Debug)]
pub(super) struct Leases {
    hostname: Option<String>,
    random: Random,
    links: BTreeMap<IfName, Leasing>,
}

#[derive(Debug)]
struct Leasing {
    name: IfName,
    index: u32,
    mac: MacAddr,
    client: Client,
    socket: Option<PacketSocket>,
}

impl Leases {
    pub(super) fn new(random: Random) -> Self {
        Self {
            hostname: None,
            random,
            links: BTreeMap::new(),
        }
    }

    /// The name that servers are told from the next message on. No lease is given up for it.
    pub(super) fn set_hostname(&mut self, hostname: Option<String>) {
        for leasing in self.links.values_mut() {
            leasing.client.set_hostname(hostname.clone());
        }
        self.hostname = hostname;
    }

    /// Begins and ends clients as links come and go, and tells them of carriers.
    pub(super) fn follow(
        &mut self,
        network: &Network,
        names: &BTreeMap<IfName, IfName>,
        observed: &Observed,
        now: Duration,
    ) -> Vec<String> {
        self.links.retain(|key, leasing| {
            let wants = network
                .links
                .get(key)
                .is_some_and(|link| link.ipv4.method == Ipv4Method::Dhcp);
            let same = usable(key, names, observed).is_some_and(|(name, link)| {
                (name, link.index, link.mac) == (&leasing.name, leasing.index, Some(leasing.mac))
            });
            wants && same
        });
        let mut problems = Vec::new();
        for (key, link) in &network.links {
            if link.ipv4.method != Ipv4Method::Dhcp {
                continue;
            }
            let Some((name, seen)) = usable(key, names, observed) else {
                continue;
            };
            let Some(mac) = seen.mac else {
                problems.push(format!(
                    "{name}: without a hardware address there is no DHCP"
                ));
                continue;
            };
            let leasing = self.links.entry(key.clone()).or_insert_with(|| {
                let identity = Identity {
                    mac,
                    hostname: self.hostname.clone(),
                };
                let random = Random::new(self.random.next_u64());
                let previous = observed
                    .addresses
                    .iter()
                    .find_map(|(key, seen)| match key.ip {
                        IpAddr::V4(ip) if key.link == *name && seen.origin == Origin::Lease => {
                            Some(ip)
                        }
                        _ => None,
                    });
                let client = Client::new(identity, random, previous);
                Leasing {
                    name: name.clone(),
                    index: seen.index,
                    mac,
                    client,
                    socket: None,
                }
            });
            leasing.client.handle_link(now, seen.up && seen.carrier);
            leasing.send();
        }
        problems
    }

    /// A packet came; true when that changed the lease.
    pub(super) fn handle_packet(
        &mut self,
        key: &IfName,
        now: Duration,
        packet: io::Result<Vec<u8>>,
    ) -> bool {
        let Some(leasing) = self.links.get_mut(key) else {
            return false;
        };
        let payload = match packet {
            Ok(payload) => payload,
            Err(error) => {
                // The link went down: a new socket is opened for the next message.
                tracing::debug!(link = %key, %error, "cannot receive DHCP packets");
                leasing.socket = None;
                return false;
            }
        };
        let before = leasing.learnt();
        match leasing.client.handle_packet(now, &payload) {
            Ok(()) => {}
            Err(Ignored::NotOurs) => return false,
            Err(error) => {
                tracing::debug!(link = %key, error = %runtime::Chain(&error), "DHCP reply ignored");
            }
        }
        leasing.send();
        leasing.tell_change(key, &before)
    }

    /// Lets timers fire; true when a lease changed.
    pub(super) fn handle_timeouts(&mut self, now: Duration) -> bool {
        let mut changed = false;
        for (key, leasing) in &mut self.links {
            let before = leasing.learnt();
            leasing.client.handle_timeout(now);
            leasing.send();
            changed |= leasing.tell_change(key, &before);
        }
        changed
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.links
            .values()
            .filter_map(|leasing| leasing.client.next_timeout())
            .min()
    }

    pub(super) fn learnt(&self) -> BTreeMap<IfName, Learnt> {
        self.links
            .iter()
            .map(|(key, leasing)| (key.clone(), leasing.learnt()))
            .collect()
    }

    pub(super) fn clients(&self) -> BTreeMap<&IfName, &Client> {
        self.links
            .iter()
            .map(|(key, leasing)| (key, &leasing.client))
            .collect()
    }

    pub(super) fn poll_packet(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(IfName, io::Result<Vec<u8>>)> {
        for (key, leasing) in &mut self.links {
            if let Some(socket) = &mut leasing.socket
                && let Poll::Ready(packet) = socket.poll_receive(context)
            {
                return Poll::Ready((key.clone(), packet));
            }
        }
        Poll::Pending
    }
}

impl Leasing {
    fn learnt(&self) -> Learnt {
        Learnt {
            lease: self.client.lease().cloned(),
            hopes_for_previous: self.client.hopes_for_previous(),
        }
    }

    fn send(&mut self) {
        while let Some(message) = self.client.poll_transmit() {
            if let Err(error) = self.try_send(&message) {
                // Like a packet that gets lost on the wire: the client asks again.
                tracing::debug!(link = %self.name, %error, "cannot send a DHCP message");
                self.socket = None;
            }
        }
        if !self.client.listens() {
            self.socket = None;
        }
    }

    fn try_send(&mut self, message: &crate::dhcp::client::Transmit) -> io::Result<()> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => PacketSocket::open(&self.name, self.index)?,
        };
        socket.send(message)?;
        self.socket = Some(socket);
        Ok(())
    }

    fn tell_change(&self, key: &IfName, before: &Learnt) -> bool {
        let after = self.learnt();
        if after == *before {
            return false;
        }
        match (&before.lease, &after.lease) {
            (old, Some(new)) if old.as_ref().map(|old| old.address) != Some(new.address) => {
                tracing::info!(link = %key, address = %new.address, server = %new.server, "leased");
            }
            (Some(old), None) => {
                tracing::warn!(link = %key, address = %old.address, "lease lost");
            }
            _ => tracing::debug!(link = %key, "lease renewed"),
        }
        true
    }
}
