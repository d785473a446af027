//! What a server's reply leases to us, if a sane lease is in it.

use std::net::Ipv4Addr;
use std::time::Duration;

use config::{Address, DomainName, Prefix};

use super::client::Ignored;
use super::message::Reply;

/// What a server leased to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Address,
    pub server: Ipv4Addr,
    pub routes: Vec<LeasedRoute>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<DomainName>,
    pub mtu: Option<u16>,
    pub renew_at: Option<Duration>,
    pub rebind_at: Option<Duration>,
    /// `None`: never.
    pub expires_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasedRoute {
    pub to: Prefix,
    /// `None`: on the link.
    pub via: Option<Ipv4Addr>,
}

/// The lease in an offer or acknowledgement, if a sane one is in it.
pub(super) fn read(now: Duration, reply: &Reply) -> Result<Lease, Ignored> {
    let ip = reply.address;
    if ip.is_link_local() {
        return Err(Ignored::Address);
    }
    let prefix_len = reply.prefix_len.unwrap_or_else(|| natural_prefix_len(ip));
    let address = Address::new(ip.into(), prefix_len).map_err(|_| Ignored::Address)?;
    let server = server(reply)?;
    let lease_s = reply.lease_s.filter(|seconds| *seconds >= LEASE_MIN_S);
    let lease_s = lease_s.ok_or(Ignored::LeaseTime)?;
    let (renew_at, rebind_at, expires_at) = if lease_s == u32::MAX {
        (None, None, None)
    } else {
        let renew_s = reply
            .renew_s
            .filter(|renew| (LEASE_MIN_S / 2..lease_s).contains(renew))
            .unwrap_or(lease_s / 2);
        let rebind_s = reply
            .rebind_s
            .filter(|rebind| (renew_s..lease_s).contains(rebind))
            .unwrap_or_else(|| (lease_s - lease_s / 8).max(renew_s));
        let after = |seconds: u32| Some(now + Duration::from_secs(seconds.into()));
        (after(renew_s), after(rebind_s), after(lease_s))
    };
    Ok(Lease {
        address,
        server,
        routes: routes(reply, ip),
        dns: reply
            .dns
            .iter()
            .copied()
            .filter(|dns| is_host(*dns))
            .collect(),
        domain: reply.domain.clone(),
        mtu: reply.mtu.filter(|mtu| *mtu >= 576),
        renew_at,
        rebind_at,
        expires_at,
    })
}

/// RFC 3442: where there are classless routes, routers do not count.
fn routes(reply: &Reply, own: Ipv4Addr) -> Vec<LeasedRoute> {
    let is_next_hop = |via: Ipv4Addr| is_host(via) && via != own;
    if reply.classless_routes.is_empty() {
        let default = Prefix::containing(Ipv4Addr::UNSPECIFIED.into(), 0)
            .expect("no bits are fewer than an address has");
        let router = reply
            .routers
            .iter()
            .copied()
            .find(|router| is_next_hop(*router));
        return router
            .map(|via| LeasedRoute {
                to: default,
                via: Some(via),
            })
            .into_iter()
            .collect();
    }
    reply
        .classless_routes
        .iter()
        .filter_map(|(to, via)| {
            let std::net::IpAddr::V4(network) = to.network() else {
                return None;
            };
            let first = network.octets()[0];
            let sane = to.is_default() || (first != 0 && first != 127 && first < 224);
            let via = (!via.is_unspecified()).then_some(*via);
            // A default route that is "on the link" would ask for every host in the world by ARP.
            let reachable = match via {
                Some(via) => is_next_hop(via),
                None => !to.is_default(),
            };
            (sane && reachable).then_some(LeasedRoute { to: *to, via })
        })
        .collect()
}

pub(super) fn server(reply: &Reply) -> Result<Ipv4Addr, Ignored> {
    reply
        .server
        .filter(|server| is_host(*server))
        .ok_or(Ignored::Server)
}

fn is_host(ip: Ipv4Addr) -> bool {
    let first = ip.octets()[0];
    first != 0 && first != 127 && first < 224
}

/// For servers that send no mask: the address's class, as RFC 2131's time had it.
fn natural_prefix_len(ip: Ipv4Addr) -> u8 {
    match ip.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// A shorter lease would keep both sides busy with nothing but renewing.
pub(super) const LEASE_MIN_S: u32 = 30;
