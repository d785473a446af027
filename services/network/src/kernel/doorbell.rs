//! Hears that something has changed.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use tokio::io::unix::AsyncFd;

use super::socket::{HEADER_LEN, split_message};
use super::{PROTOCOL_LEASE, PROTOCOL_STATIC};
use crate::watch::watch;

/// A subscription to links, addresses, routes and what router advertisements say about DNS.
#[derive(Debug)]
pub struct Doorbell {
    socket: AsyncFd<Socket>,
}

/// What a ring was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ring {
    /// Read the kernel's state.
    Changed,
    /// A router on a link announces DNS servers, for this many seconds (RFC 8106).
    DnsServers {
        link_index: u32,
        lifetime_s: u32,
        servers: Vec<Ipv6Addr>,
    },
}

impl Doorbell {
    /// # Errors
    /// When there is no netlink socket to be had.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in GROUPS {
            socket.add_membership(*group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket: watch(socket)?,
        })
    }

    /// Waits for the next ring, and takes everything that has come since the last one.
    pub fn poll_rings(&mut self, context: &mut Context<'_>) -> Poll<Vec<Ring>> {
        let mut rings = Vec::new();
        // A flood of events must not keep the service from everything else.
        for _ in 0..DATAGRAMS_MAX {
            let mut guard = match self.socket.poll_read_ready(context) {
                Poll::Ready(Ok(guard)) => guard,
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "cannot wait for the kernel's events");
                    return Poll::Pending;
                }
                Poll::Pending if rings.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(rings),
            };
            match guard.try_io(|socket| socket.get_ref().recv_from_full()) {
                Ok(Ok((bytes, _))) => read(&bytes, &mut rings),
                // Too much came at once (ENOBUFS): whatever it was, the state is read anew.
                Ok(Err(error)) => {
                    tracing::debug!(%error, "events were lost");
                    ring(&mut rings);
                    return Poll::Ready(rings);
                }
                Err(_would_block) => {}
            }
        }
        Poll::Ready(rings)
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.get_ref().as_raw_fd()
    }
}

fn read(mut bytes: &[u8], rings: &mut Vec<Ring>) {
    while let Some((message, rest)) = split_message(bytes) {
        bytes = rest;
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let body = &message[HEADER_LEN..];
        match kind {
            libc::RTM_NEWNDUSEROPT => rings.extend(dns_servers(body)),
            // Thousands of routes of mesh come and go; rtm_protocol is byte 5.
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                if body
                    .get(5)
                    .is_some_and(|protocol| OUR_CONCERN.contains(protocol))
                {
                    ring(rings);
                }
            }
            _ => ring(rings),
        }
    }
}

fn ring(rings: &mut Vec<Ring>) {
    if !rings.contains(&Ring::Changed) {
        rings.push(Ring::Changed);
    }
}

/// `struct nduseroptmsg` and the option behind it. The kernel checked the advertisement's hop limit
/// and that the options' lengths add up, and passes on what a router says: check the rest.
fn dns_servers(body: &[u8]) -> Option<Ring> {
    let (header, rest) = body.split_at_checked(16)?;
    let options_len = usize::from(u16::from_ne_bytes([header[2], header[3]]));
    let link_index = u32::try_from(i32::from_ne_bytes(header[4..8].try_into().ok()?)).ok()?;
    let icmp = (header[8], header[9]);
    let option = rest.get(..options_len)?;
    let [RDNSS, units, _, _, a, b, c, d, addresses @ ..] = option else {
        return None;
    };
    if icmp != (ROUTER_ADVERTISEMENT, 0) || usize::from(*units) * 8 != option.len() {
        return None;
    }
    let servers: Vec<Ipv6Addr> = addresses
        .chunks_exact(16)
        .filter_map(|bytes| <[u8; 16]>::try_from(bytes).ok())
        .map(Ipv6Addr::from)
        .filter(|ip| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback())
        .take(SERVERS_MAX)
        .collect();
    let lifetime_s = u32::from_be_bytes([*a, *b, *c, *d]);
    (!servers.is_empty()).then_some(Ring::DnsServers {
        link_index,
        lifetime_s,
        servers,
    })
}

// The kernel's route protocols "kernel", "boot" and "ra": linux/rtnetlink.h.
const OUR_CONCERN: [u8; 5] = [2, 3, 9, PROTOCOL_STATIC, PROTOCOL_LEASE];
const ROUTER_ADVERTISEMENT: u8 = 134;
const RDNSS: u8 = 25;
const SERVERS_MAX: usize = 4;
const DATAGRAMS_MAX: usize = 64;
/// Numbers of multicast groups, `enum rtnetlink_groups`.
const GROUPS: &[u32] = &[
    1,  // RTNLGRP_LINK
    5,  // RTNLGRP_IPV4_IFADDR
    7,  // RTNLGRP_IPV4_ROUTE
    9,  // RTNLGRP_IPV6_IFADDR
    11, // RTNLGRP_IPV6_ROUTE
    20, // RTNLGRP_ND_USEROPT
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn announcement(units: u8, options_len: u16) -> Vec<u8> {
        let mut body = vec![10, 0];
        body.extend(options_len.to_ne_bytes());
        body.extend(3i32.to_ne_bytes());
        body.extend([ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0]);
        body.extend([RDNSS, units, 0, 0, 0, 0, 1, 44]);
        body.extend("2001:db8::53".parse::<Ipv6Addr>().unwrap().octets());
        body
    }

    #[test]
    fn reads_dns_servers_of_router_advertisements() {
        let Some(Ring::DnsServers {
            link_index,
            lifetime_s,
            servers,
        }) = dns_servers(&announcement(3, 24))
        else {
            panic!("not read")
        };
        assert_eq!((link_index, lifetime_s), (3, 300));
        assert_eq!(servers, ["2001:db8::53".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!(dns_servers(&announcement(5, 24)), None);
        assert_eq!(dns_servers(&announcement(3, 40)), None);
        assert_eq!(dns_servers(&announcement(3, 24)[..20]), None);
    }

    #[test]
    fn routes_of_others_do_not_ring() {
        let mut message = vec![28, 0, 0, 0];
        message.extend(libc::RTM_NEWROUTE.to_ne_bytes());
        message.resize(28, 0);
        let mut rings = Vec::new();
        message[HEADER_LEN + 5] = 42;
        read(&message, &mut rings);
        assert_eq!(rings, []);
        message[HEADER_LEN + 5] = PROTOCOL_LEASE;
        read(&[message.clone(), message].concat(), &mut rings);
        assert_eq!(rings, [Ring::Changed]);
    }

    proptest! {
        #[test]
        fn no_event_makes_it_panic(bytes: Vec<u8>) {
            read(&bytes, &mut Vec::new());
            let _ = dns_servers(&bytes);
        }
    }
}
