//! From the network, and what has been learnt, to what the kernel shall have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use config::{
    IfName, Ipv4Method, Ipv6Method, Link, LinkKind, Match, Network, Prefix, Role, RouteKind, VlanId,
};

use crate::dhcp::lease::Lease;
use crate::state::{
    AddressKey, Desired, DesiredAddress, DesiredLink, Make, Observed, ObservedLink, Origin,
    PortVlan, Route,
};

/// What the document means on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    pub desired: Desired,
    /// The kernel's name of each link of the document.
    pub names: BTreeMap<IfName, IfName>,
    /// What cannot be done, in words for a person.
    pub problems: Vec<String>,
}

/// What DHCP has brought for a link of the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learnt {
    pub lease: Option<Lease>,
    /// An earlier run's lease may still be confirmed.
    pub hopes_for_previous: bool,
}

#[must_use]
pub fn resolve(
    network: &Network,
    observed: &Observed,
    learnt: &BTreeMap<IfName, Learnt>,
) -> Resolved {
    let mut resolved = Resolved::default();
    name_links(network, observed, &mut resolved);
    for (key, link) in &network.links {
        if let Some(name) = resolved.names.get(key).cloned() {
            let seen = observed.links.get(&name);
            let lease = learnt.get(key);
            want_link(key, &name, link, network, lease, &mut resolved);
            want_addresses(&name, link, lease, network, &mut resolved);
            want_sysctls(key, &name, link, network, &mut resolved.desired.sysctls);
            if seen.is_none() && matches!(link.kind, LinkKind::Card(_)) {
                resolved
                    .problems
                    .push(format!("{key}: the card {name} is gone"));
            }
        }
    }
    want_routes(network, &mut resolved);
    for (path, value) in global_sysctls(network) {
        resolved
            .desired
            .sysctls
            .insert(path.to_owned(), value.to_owned());
    }
    for (key, value) in &network.sysctls {
        resolved
            .desired
            .sysctls
            .insert(key.path(), value.to_string());
    }
    for (key, seen) in &observed.addresses {
        if seen.duplicate {
            let AddressKey { link, ip, .. } = key;
            resolved
                .problems
                .push(format!("{link}: another host has the address {ip}"));
        }
    }
    resolved
}

/// Finds the card for each link that stands for one; a card serves one link only.
fn name_links(network: &Network, observed: &Observed, resolved: &mut Resolved) {
    let mut taken = BTreeSet::new();
    let mut cards: Vec<(&IfName, &ObservedLink)> = observed
        .links
        .iter()
        .filter(|(_, link)| !link.ours)
        .collect();
    cards.sort_by_key(|(name, _)| name.natural_order());
    for (key, link) in &network.links {
        let LinkKind::Card(wanted) = &link.kind else {
            continue;
        };
        let fitting = cards
            .iter()
            .find(|(name, card)| !taken.contains(*name) && fits(wanted, name, card));
        match fitting {
            Some((name, _)) => {
                taken.insert((*name).clone());
                resolved.names.insert(key.clone(), (*name).clone());
            }
            None => resolved
                .problems
                .push(format!("{key}: no network card fits")),
        }
    }
    for (key, link) in &network.links {
        if matches!(link.kind, LinkKind::Card(_)) {
            continue;
        }
        let foreign = observed.links.get(key).is_some_and(|seen| !seen.ours);
        let is_bridge = matches!(link.kind, LinkKind::Bridge(_));
        let same_kind = observed.links.get(key).is_some_and(|seen| {
            is_bridge && matches!(seen.kind, crate::state::ObservedKind::Bridge { .. })
        });
        if taken.contains(key) || (foreign && !same_kind) {
            resolved
                .problems
                .push(format!("{key}: another interface has this name"));
        } else {
            resolved.names.insert(key.clone(), key.clone());
        }
    }
}

fn fits(wanted: &Match, name: &IfName, card: &ObservedLink) -> bool {
    let text = |wanted: &Option<config::Pattern>, text: Option<&str>| match wanted {
        Some(pattern) => text.is_some_and(|text| pattern.fits(text)),
        None => true,
    };
    let mac = match wanted.mac {
        // The permanent address stays what it is when a bridge or a person changes the other.
        Some(mac) => card.permanent_mac.or(card.mac) == Some(mac),
        None => true,
    };
    mac && text(&wanted.name, Some(name.as_str()))
        && text(&wanted.driver, card.driver.as_deref())
        && text(&wanted.path, card.path.as_deref())
}

fn want_link(
    key: &IfName,
    name: &IfName,
    link: &Link,
    network: &Network,
    learnt: Option<&Learnt>,
    resolved: &mut Resolved,
) {
    let make = match &link.kind {
        LinkKind::Card(_) => None,
        LinkKind::Bridge(bridge) => Some(Make::Bridge {
            vlan_filtering: bridge.vlan_filtering,
            stp: bridge.stp,
        }),
        LinkKind::Vlan { id, parent } => match resolved.names.get(parent) {
            Some(parent) => Some(Make::Vlan {
                id: *id,
                parent: parent.clone(),
            }),
            None => {
                resolved
                    .problems
                    .push(format!("{key}: there is no card for its parent {parent}"));
                return;
            }
        },
    };
    let bridge = network
        .links
        .iter()
        .find_map(|(bridge, link)| match &link.kind {
            LinkKind::Bridge(kind) if kind.ports.contains(key) => Some((bridge, kind)),
            _ => None,
        });
    let filtered = match &link.kind {
        LinkKind::Bridge(kind) => kind.vlan_filtering,
        _ => bridge.is_some_and(|(_, kind)| kind.vlan_filtering),
    };
    let vlans = filtered.then(|| port_vlans(link));
    let leased_mtu = learnt
        .and_then(|learnt| learnt.lease.as_ref()?.mtu)
        .map(u32::from);
    // A server's MTU must not take IPv6 off the link.
    let leased_mtu = leased_mtu.filter(|mtu| *mtu >= 1280 || link.ipv6.method == Ipv6Method::Off);
    let mtu = link.mtu.map(config::Mtu::bytes).or(leased_mtu);
    let bridge = bridge.map(|(bridge, _)| bridge.clone());
    resolved.desired.links.insert(
        name.clone(),
        DesiredLink {
            make,
            mtu,
            bridge,
            vlans,
        },
    );
}

/// Without a `port` table a port is in VLAN 1 untagged, as the kernel has it.
fn port_vlans(link: &Link) -> BTreeMap<VlanId, PortVlan> {
    let Some(port) = &link.port else {
        let default = VlanId::try_from(1).expect("1 is a VLAN id");
        return BTreeMap::from([(default, PortVlan::Untagged)]);
    };
    let mut vlans: BTreeMap<VlanId, PortVlan> = port
        .tagged
        .iter()
        .map(|id| (*id, PortVlan::Tagged))
        .collect();
    vlans.extend(port.untagged.map(|id| (id, PortVlan::Untagged)));
    vlans
}

fn want_addresses(
    name: &IfName,
    link: &Link,
    learnt: Option<&Learnt>,
    network: &Network,
    resolved: &mut Resolved,
) {
    let desired = &mut resolved.desired;
    for address in link.ipv4.addresses.iter().chain(&link.ipv6.addresses) {
        let key = AddressKey {
            link: name.clone(),
            ip: address.ip(),
            prefix_len: address.prefix_len(),
        };
        let wanted = DesiredAddress {
            origin: Origin::Static,
            valid_until_s: None,
        };
        desired.addresses.insert(key, wanted);
    }
    let gateway = Route {
        to: default_of(Ipv4Addr::UNSPECIFIED.into()),
        table: MAIN_TABLE,
        metric: link.ipv4.metric,
        kind: RouteKind::Unicast,
        via: None,
        dev: Some(name.clone()),
        onlink: false,
        source: None,
        origin: Origin::Static,
    };
    if let Some(via) = link.ipv4.gateway {
        desired.routes.push(Route {
            via: Some(via.into()),
            ..gateway.clone()
        });
    }
    if let Some(via) = link.ipv6.gateway {
        desired.routes.push(Route {
            to: default_of(Ipv6Addr::UNSPECIFIED.into()),
            via: Some(via.into()),
            metric: kernel_metric_v6(link.ipv6.metric),
            ..gateway.clone()
        });
    }
    if link.ipv4.method != Ipv4Method::Dhcp {
        return;
    }
    let Some(Learnt {
        lease: Some(lease), ..
    }) = learnt
    else {
        if learnt.is_none_or(|learnt| learnt.hopes_for_previous) {
            desired.held.insert(name.clone());
        }
        return;
    };
    want_lease(name, lease, &gateway, network, resolved);
}

fn want_lease(
    name: &IfName,
    lease: &Lease,
    gateway: &Route,
    network: &Network,
    resolved: &mut Resolved,
) {
    let address = lease.address;
    let lans: Vec<(&IfName, Prefix)> = network
        .links
        .iter()
        .filter(|(_, link)| link.role == Role::Lan)
        .flat_map(|(key, link)| {
            link.ipv4
                .addresses
                .iter()
                .map(move |address| (key, address.network()))
        })
        .collect();
    for (lan, network) in &lans {
        if network.overlaps(address.network()) {
            resolved.problems.push(format!(
                "{name}: the lease {address} overlaps {network} of {lan}"
            ));
        }
    }
    let key = AddressKey {
        link: name.clone(),
        ip: address.ip(),
        prefix_len: address.prefix_len(),
    };
    let valid_until_s = lease.expires_at.map(|at| at.as_secs());
    let wanted = DesiredAddress {
        origin: Origin::Lease,
        valid_until_s,
    };
    resolved.desired.addresses.insert(key, wanted);
    let mut known = BTreeSet::new();
    for route in &lease.routes {
        // A server on the WAN side must not draw a LAN's packets to itself (CVE-2024-3661).
        let stolen = lans
            .iter()
            .find(|(_, lan)| !route.to.is_default() && lan.overlaps(route.to));
        if let Some((lan, network)) = stolen {
            let to = route.to;
            resolved.problems.push(format!(
                "{name}: the server's route to {to} is ignored, {lan} has {network}"
            ));
            continue;
        }
        if known.insert(route.to) {
            let via = route.via.map(IpAddr::from);
            resolved.desired.routes.push(Route {
                to: route.to,
                via,
                onlink: via.is_some_and(|via| !address.network().contains(via)),
                source: Some(address.ip()),
                origin: Origin::Lease,
                ..gateway.clone()
            });
        }
    }
}

fn want_routes(network: &Network, resolved: &mut Resolved) {
    for route in &network.routes {
        let dev = match &route.dev {
            Some(key) => match resolved.names.get(key) {
                Some(name) => Some(name.clone()),
                None => continue,
            },
            None => route
                .via
                .and_then(|via| link_towards(via, network, resolved)),
        };
        if route.kind == RouteKind::Unicast && dev.is_none() {
            let (to, via) = (
                route.to,
                route.via.map_or(String::new(), |via| via.to_string()),
            );
            resolved
                .problems
                .push(format!("the route to {to}: {via} is in no link's network"));
            continue;
        }
        let metric = match route.to.network() {
            IpAddr::V4(_) => route.metric,
            IpAddr::V6(_) => kernel_metric_v6(route.metric),
        };
        resolved.desired.routes.push(Route {
            to: route.to,
            table: route.table,
            metric,
            kind: route.kind,
            via: route.via,
            dev,
            onlink: false,
            source: None,
            origin: Origin::Static,
        });
    }
    let mut keys = BTreeSet::new();
    let Resolved {
        desired, problems, ..
    } = resolved;
    desired.routes.retain(|route| {
        let is_first = keys.insert((route.to, route.table, route.metric));
        if !is_first {
            problems.push(format!(
                "the route {route}: there is another with this metric"
            ));
        }
        is_first
    });
}

fn link_towards(via: IpAddr, network: &Network, resolved: &Resolved) -> Option<IfName> {
    let on = |link: &Link| {
        let mut addresses = link.ipv4.addresses.iter().chain(&link.ipv6.addresses);
        addresses.any(|address| address.network().contains(via))
    };
    let by_document = network.links.iter().find(|(_, link)| on(link));
    match by_document {
        Some((key, _)) => resolved.names.get(key).cloned(),
        // A lease may lead there.
        None => resolved.desired.addresses.keys().find_map(|key| {
            let network = Prefix::containing(key.ip, key.prefix_len).ok()?;
            network.contains(via).then(|| key.link.clone())
        }),
    }
}

fn want_sysctls(
    key: &IfName,
    name: &IfName,
    link: &Link,
    network: &Network,
    sysctls: &mut BTreeMap<String, String>,
) {
    let is_port = network
        .links
        .values()
        .any(|other| matches!(&other.kind, LinkKind::Bridge(bridge) if bridge.ports.contains(key)));
    let has_ipv6 = link.ipv6.method != Ipv6Method::Off && !is_port;
    let accepts = link.ipv6.method == Ipv6Method::Auto;
    // Strict on a LAN, whose hosts have no business with other addresses; loose elsewhere, where a
    // packet may rightly come in by another way than its answer leaves (RFC 3704).
    let rp_filter = if link.role == Role::Lan { "1" } else { "2" };
    for (path, value) in [
        (
            "net/ipv6/conf",
            "disable_ipv6",
            if has_ipv6 { "0" } else { "1" },
        ),
        // 2: also while we forward.
        (
            "net/ipv6/conf",
            "accept_ra",
            if accepts { "2" } else { "0" },
        ),
        ("net/ipv6/conf", "autoconf", if accepts { "1" } else { "0" }),
        // A router's addresses shall be the same tomorrow.
        ("net/ipv6/conf", "use_tempaddr", "0"),
        ("net/ipv6/conf", "accept_redirects", "0"),
        ("net/ipv4/conf", "accept_redirects", "0"),
        ("net/ipv4/conf", "rp_filter", rp_filter),
    ]
    .map(|(family, setting, value)| (format!("{family}/{name}/{setting}"), value))
    {
        sysctls.insert(path, value.to_owned());
    }
}

fn global_sysctls(network: &Network) -> [(&'static str, &'static str); 3] {
    let forwarding = if network.forwarding { "1" } else { "0" };
    [
        ("net/ipv4/ip_forward", forwarding),
        ("net/ipv6/conf/all/forwarding", forwarding),
        // A link's second address outlives its first.
        ("net/ipv4/conf/all/promote_secondaries", "1"),
    ]
}

fn default_of(unspecified: IpAddr) -> Prefix {
    Prefix::containing(unspecified, 0).expect("no bits are fewer than an address has")
}

/// The kernel takes 0 for "none given", and 1024 in its place.
fn kernel_metric_v6(metric: u32) -> u32 {
    if metric == 0 { 1024 } else { metric }
}

const MAIN_TABLE: u32 = 254;

#[cfg(test)]
mod tests;
