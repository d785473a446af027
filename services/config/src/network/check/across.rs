//! What one table says, against what others say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::model::{Ipv4Method, Ipv6Method, Link, LinkKind, Role};
use super::super::name::IfName;
use super::{Check, PORTS_MAX};

impl Check<'_, '_> {
    pub(super) fn vlans(&mut self, links: &BTreeMap<IfName, Link>) {
        let mut carried = BTreeMap::new();
        for (name, link) in links {
            let LinkKind::Vlan { id, parent } = &link.kind else {
                continue;
            };
            if let Some(first) = carried.insert((parent, id), name) {
                let path = self.place(name);
                self.problem(
                    path,
                    format!("`{first}` is VLAN {id:?} of `{parent}` already"),
                );
            }
            if matches!(
                links.get(parent),
                Some(Link {
                    kind: LinkKind::Vlan { .. },
                    ..
                })
            ) {
                let path = self.place(name);
                self.problem(path, format!("the parent `{parent}` is a VLAN itself"));
            }
        }
    }

    pub(super) fn bridges(&mut self, links: &BTreeMap<IfName, Link>) {
        let mut bridge_of = BTreeMap::new();
        for (name, link) in links {
            let LinkKind::Bridge(bridge) = &link.kind else {
                continue;
            };
            let path = self.place(name);
            self.count(&path.key("bridge"), bridge.ports.len(), PORTS_MAX, "ports");
            for port in &bridge.ports {
                if let Some(other) = bridge_of.insert(port, (name, bridge)) {
                    let message = format!("`{port}` is a port of `{}` already", other.0);
                    self.problem(path.clone(), message);
                }
                let Some(link) = links.get(port) else {
                    continue;
                };
                // Bridges in bridges and VLANs of the bridge itself are how loops are made.
                let through = match &link.kind {
                    LinkKind::Bridge(_) => Some(port),
                    LinkKind::Vlan { parent, .. } if parent == name => Some(parent),
                    _ => None,
                };
                if let Some(through) = through {
                    let message = format!(
                        "the port `{port}` makes a loop through `{through}`: a bridge cannot be in a bridge"
                    );
                    self.problem(path.clone(), message);
                }
                if link.ipv4.method != Ipv4Method::Off || link.ipv6.method != Ipv6Method::Off {
                    let message =
                        format!("`{port}` is a port of `{name}`: addresses belong to the bridge");
                    self.problem(self.place(port), message);
                }
            }
        }
        for (name, link) in links {
            if link.port.is_none() {
                continue;
            }
            let filters = match &link.kind {
                LinkKind::Bridge(bridge) => bridge.vlan_filtering,
                _ => bridge_of
                    .get(name)
                    .is_some_and(|(_, bridge)| bridge.vlan_filtering),
            };
            if !filters {
                let message =
                    format!("`{name}` has port VLANs, but is in no bridge with vlan_filtering");
                self.problem(self.place(name), message);
            }
        }
    }

    pub(super) fn addresses(&mut self, links: &BTreeMap<IfName, Link>) {
        let addresses = std::mem::take(&mut self.places.addresses);
        for (index, (path, link, address)) in addresses.iter().enumerate() {
            for (_, other_link, other) in &addresses[..index] {
                let link_local =
                    matches!(address.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
                if other.ip() == address.ip() && (link == other_link || !link_local) {
                    let message = format!("`{other_link}` has the address {} already", other.ip());
                    self.problem(path.clone(), message);
                    break;
                }
                let is_lan = |name| {
                    links
                        .get(name)
                        .is_some_and(|link: &Link| link.role == Role::Lan)
                };
                if link != other_link
                    && !link_local
                    && is_lan(link)
                    && is_lan(other_link)
                    && other.network().overlaps(address.network())
                {
                    let message = format!(
                        "the LAN {} overlaps {} of `{other_link}`",
                        address.network(),
                        other.network()
                    );
                    self.problem(path.clone(), message);
                    break;
                }
            }
        }
    }
}
