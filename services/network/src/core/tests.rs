use std::collections::BTreeMap;
use std::net::IpAddr;

use config::{Prefix, RouteKind, VlanId};
use proptest::prelude::*;

use super::*;
use crate::state::{ObservedAddress, PortVlan};

/// A kernel, as far as the actions see it.
struct Model {
    observed: Observed,
    next_index: u32,
}

impl Model {
    fn apply(&mut self, action: &Action) -> Result<(), String> {
        let links = &mut self.observed.links;
        match action {
            Action::DeleteRoute(route) => {
                let before = self.observed.routes.len();
                self.observed.routes.retain(|seen| seen != route);
                check(self.observed.routes.len() < before, "ESRCH")?;
            }
            Action::DeleteAddress(key) => {
                check(
                    self.observed.addresses.remove(key).is_some(),
                    "EADDRNOTAVAIL",
                )?;
            }
            Action::ReleasePort { link } => links.get_mut(link).ok_or("ENODEV")?.controller = None,
            Action::DeleteLink { link } => self.delete(&link.clone())?,
            Action::CreateLink { link, make } => {
                check(!links.contains_key(link), "EEXIST")?;
                let kind = match make {
                    Make::Bridge {
                        vlan_filtering,
                        stp,
                    } => ObservedKind::Bridge {
                        vlan_filtering: *vlan_filtering,
                        stp: *stp,
                    },
                    Make::Vlan { id, parent } => ObservedKind::Vlan {
                        id: id.number(),
                        parent: links.get(parent).ok_or("no parent")?.index,
                    },
                };
                self.next_index += 1;
                links.insert(
                    link.clone(),
                    ObservedLink {
                        ours: true,
                        kind,
                        ..card(self.next_index)
                    },
                );
            }
            Action::SetBridge {
                link,
                vlan_filtering,
                stp,
            } => {
                let link = links.get_mut(link).ok_or("ENODEV")?;
                check(
                    matches!(link.kind, ObservedKind::Bridge { .. }),
                    "EOPNOTSUPP",
                )?;
                link.kind = ObservedKind::Bridge {
                    vlan_filtering: *vlan_filtering,
                    stp: *stp,
                };
            }
            Action::SetMtu { link, mtu } => links.get_mut(link).ok_or("ENODEV")?.mtu = *mtu,
            Action::JoinBridge { link, bridge } => {
                let bridge = links.get(bridge).ok_or("no bridge")?;
                check(
                    matches!(bridge.kind, ObservedKind::Bridge { .. }),
                    "not a bridge",
                )?;
                let index = bridge.index;
                let link = links.get_mut(link).ok_or("ENODEV")?;
                link.controller = Some(index);
                link.vlans = BTreeMap::from([(vlan(1), PortVlan::Untagged)]);
            }
            Action::DeletePortVlan { link, id } => {
                let vlans = &mut links.get_mut(link).ok_or("ENODEV")?.vlans;
                check(vlans.remove(id).is_some(), "ENOENT")?;
            }
            Action::PutPortVlan { link, id, how } => {
                links.get_mut(link).ok_or("ENODEV")?.vlans.insert(*id, *how);
            }
            Action::SetSysctl { path, value } => {
                if let Some(link) = sysctl_link(path) {
                    check(links.keys().any(|name| name.as_str() == link), "ENOENT")?;
                }
                self.observed.sysctls.insert(path.clone(), value.clone());
            }
            Action::SetUp { link } => {
                if let ObservedKind::Vlan { parent, .. } = links.get(link).ok_or("ENODEV")?.kind {
                    let is_up = links.values().any(|link| link.index == parent && link.up);
                    check(is_up, "ENETDOWN")?;
                }
                links.get_mut(link).ok_or("ENODEV")?.up = true;
            }
            Action::PutAddress { key, address } => {
                check(links.contains_key(&key.link), "ENODEV")?;
                // IPv6 compares the address only, and not the length of its prefix.
                let is_twice = self.observed.addresses.keys().any(|seen| {
                    seen.link == key.link && seen.ip == key.ip && seen != key && key.ip.is_ipv6()
                });
                check(!is_twice, "EEXIST")?;
                let DesiredAddress {
                    origin,
                    valid_until_s,
                } = *address;
                let seen = ObservedAddress {
                    origin,
                    valid_until_s,
                    duplicate: false,
                };
                self.observed.addresses.insert(key.clone(), seen);
            }
            Action::PutRoute(route) => {
                if let Some(dev) = &route.dev {
                    check(links.get(dev).is_some_and(|link| link.up), "ENETDOWN")?;
                }
                let taken = self.observed.routes.iter().any(|seen| {
                    (seen.to, seen.table, seen.metric) == (route.to, route.table, route.metric)
                });
                check(!taken, "EEXIST")?;
                self.observed.routes.push(route.clone());
            }
        }
        Ok(())
    }

    fn delete(&mut self, name: &IfName) -> Result<(), String> {
        let index = self.observed.links.remove(name).ok_or("ENODEV")?.index;
        self.observed.addresses.retain(|key, _| key.link != *name);
        self.observed
            .routes
            .retain(|route| route.dev.as_ref() != Some(name));
        let carried: Vec<IfName> = self
            .observed
            .links
            .iter()
            .filter(|(_, link)| matches!(link.kind, ObservedKind::Vlan { parent, .. } if parent == index))
            .map(|(name, _)| name.clone())
            .collect();
        for link in self
            .observed
            .links
            .values_mut()
            .filter(|link| link.controller == Some(index))
        {
            link.controller = None;
            link.vlans.clear();
        }
        carried.iter().try_for_each(|name| self.delete(name))
    }
}

fn check(holds: bool, error: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(error.to_owned()) }
}

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn vlan(id: i64) -> VlanId {
    id.try_into().unwrap()
}

fn card(index: u32) -> ObservedLink {
    ObservedLink {
        index,
        mac: None,
        permanent_mac: None,
        driver: None,
        path: None,
        hardware: true,
        ours: false,
        kind: ObservedKind::Other,
        mtu: 1500,
        up: false,
        carrier: true,
        controller: None,
        vlans: BTreeMap::new(),
    }
}

fn cards() -> Model {
    let links = [
        (name("eth0"), card(1)),
        (name("eth1"), card(2)),
        (name("eth2"), card(3)),
    ];
    Model {
        observed: Observed {
            links: links.into(),
            ..Observed::default()
        },
        next_index: 10,
    }
}

fn route(to: &str, dev: &str, metric: u32, origin: Origin) -> Route {
    Route {
        to: to.parse().unwrap(),
        table: 254,
        metric,
        kind: RouteKind::Unicast,
        via: None,
        dev: Some(name(dev)),
        onlink: false,
        source: None,
        origin,
    }
}

fn address(link: &str, ip: &str, origin: Origin) -> (AddressKey, DesiredAddress) {
    let key = AddressKey {
        link: name(link),
        ip: ip.parse().unwrap(),
        prefix_len: 24,
    };
    (
        key,
        DesiredAddress {
            origin,
            valid_until_s: None,
        },
    )
}

#[test]
fn foreign_state_is_left_alone() {
    let mut model = cards();
    let foreign = route("10.0.0.0/8", "eth0", 0, Origin::Foreign);
    model.observed.routes.push(foreign.clone());
    let (key, _) = address("eth0", "192.0.2.9", Origin::Foreign);
    let seen = ObservedAddress {
        origin: Origin::Foreign,
        valid_until_s: None,
        duplicate: false,
    };
    model.observed.addresses.insert(key, seen);
    model.observed.links.insert(
        name("wg0"),
        ObservedLink {
            kind: ObservedKind::Other,
            ours: false,
            ..card(7)
        },
    );
    let mut desired = Desired::default();
    desired.links.insert(name("eth0"), DesiredLink::default());
    assert_eq!(
        plan(&desired, &model.observed),
        [Action::SetUp { link: name("eth0") }]
    );
}

#[test]
fn what_a_lease_left_is_held_until_the_lease_is_known() {
    let mut model = cards();
    let (key, _) = address("eth0", "192.0.2.9", Origin::Lease);
    let seen = ObservedAddress {
        origin: Origin::Lease,
        valid_until_s: Some(60),
        duplicate: false,
    };
    model.observed.addresses.insert(key.clone(), seen);
    model
        .observed
        .routes
        .push(route("0.0.0.0/0", "eth0", 100, Origin::Lease));
    let mut desired = Desired::default();
    desired.held.insert(name("eth0"));
    assert_eq!(plan(&desired, &model.observed), []);
    desired.held.clear();
    assert_eq!(plan(&desired, &model.observed).len(), 2);
}

#[test]
fn a_lease_that_is_renewed_is_refreshed_and_not_removed() {
    let mut model = cards();
    let (key, mut wanted) = address("eth0", "192.0.2.9", Origin::Lease);
    let seen = ObservedAddress {
        origin: Origin::Lease,
        valid_until_s: Some(60),
        duplicate: false,
    };
    model.observed.addresses.insert(key.clone(), seen);
    wanted.valid_until_s = Some(62);
    let mut desired = Desired::default();
    desired.links.insert(name("eth0"), DesiredLink::default());
    desired.addresses.insert(key.clone(), wanted);
    assert_eq!(plan(&desired, &model.observed).len(), 1, "only bring it up");
    wanted.valid_until_s = Some(120);
    desired.addresses.insert(key.clone(), wanted);
    assert!(
        plan(&desired, &model.observed).contains(&Action::PutAddress {
            key,
            address: wanted
        })
    );
}

#[test]
fn settings_of_links_come_before_forwarding() {
    let model = cards();
    let mut desired = Desired::default();
    desired.links.insert(name("eth0"), DesiredLink::default());
    for path in [
        "net/ipv6/conf/all/forwarding",
        "net/ipv6/conf/eth0/accept_ra",
        "net/ipv6/conf/no/x",
    ] {
        desired.sysctls.insert(path.to_owned(), "2".to_owned());
    }
    let paths: Vec<String> = plan(&desired, &model.observed)
        .into_iter()
        .filter_map(|action| match action {
            Action::SetSysctl { path, .. } => Some(path),
            _ => None,
        })
        .collect();
    assert_eq!(
        paths,
        [
            "net/ipv6/conf/eth0/accept_ra",
            "net/ipv6/conf/all/forwarding"
        ]
    );
}

/// Any desired state over three cards, two bridges and three VLANs.
fn desired() -> impl Strategy<Value = Desired> {
    let cards = prop::collection::vec((any::<bool>(), 0..4u8, prop::option::of(1280..1500u32)), 3);
    let bridges = prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 2);
    let vlans = prop::collection::vec((any::<bool>(), 0..5u8, 1..4i64), 3);
    let addresses = prop::collection::vec((0..8u8, 1..4u8, any::<bool>()), 0..6);
    let routes = prop::collection::vec((0..8u8, 0..3u8, 0..2u32, any::<bool>()), 0..6);
    (cards, bridges, vlans, addresses, routes).prop_map(
        |(cards, bridges, vlans, addresses, routes)| {
            let all = ["eth0", "eth1", "eth2", "br0", "br1", "v0", "v1", "v2"].map(name);
            let mut desired = Desired::default();
            for (index, (on, vlan_filtering, stp)) in bridges.into_iter().enumerate() {
                if on {
                    let make = Some(Make::Bridge {
                        vlan_filtering,
                        stp,
                    });
                    let link = DesiredLink {
                        make,
                        ..DesiredLink::default()
                    };
                    desired.links.insert(all[3 + index].clone(), link);
                }
            }
            for (index, (on, bridge, mtu)) in cards.into_iter().enumerate() {
                if on {
                    let bridge = all
                        .get(3 + usize::from(bridge))
                        .filter(|name| desired.links.contains_key(*name));
                    let vlans = bridge.map(|_| BTreeMap::from([(vlan(5), PortVlan::Tagged)]));
                    let link = DesiredLink {
                        mtu,
                        bridge: bridge.cloned(),
                        vlans,
                        make: None,
                    };
                    desired.links.insert(all[index].clone(), link);
                }
            }
            for (index, (on, parent, id)) in vlans.into_iter().enumerate() {
                if on {
                    // The document's checks see to it that every parent is a link of its own.
                    let named = &all[usize::from(parent)];
                    let is_bridge = usize::from(parent) >= 3;
                    let missing = is_bridge && !desired.links.contains_key(named);
                    let parent_name = if missing {
                        all[0].clone()
                    } else {
                        named.clone()
                    };
                    desired.links.entry(parent_name.clone()).or_default();
                    let make = Some(Make::Vlan {
                        id: vlan(id),
                        parent: parent_name,
                    });
                    desired.links.insert(
                        all[5 + index].clone(),
                        DesiredLink {
                            make,
                            ..DesiredLink::default()
                        },
                    );
                }
            }
            for (link, host, leased) in addresses {
                let ip = IpAddr::from([10, 0, 0, host]);
                let key = AddressKey {
                    link: all[usize::from(link)].clone(),
                    ip,
                    prefix_len: 24,
                };
                let origin = if leased {
                    Origin::Lease
                } else {
                    Origin::Static
                };
                desired.addresses.insert(
                    key,
                    DesiredAddress {
                        origin,
                        valid_until_s: None,
                    },
                );
            }
            let mut keys = BTreeSet::new();
            for (link, to, metric, via) in routes {
                let to = Prefix::containing(IpAddr::from([20, to, 0, 0]), 16).unwrap();
                if keys.insert((to, metric)) {
                    desired.routes.push(Route {
                        to,
                        via: via.then(|| IpAddr::from([10, 0, 0, 9])),
                        ..route(
                            "0.0.0.0/0",
                            all[usize::from(link)].as_str(),
                            metric,
                            Origin::Static,
                        )
                    });
                }
            }
            desired
                .sysctls
                .insert("net/ipv4/ip_forward".to_owned(), "1".to_owned());
            desired
        },
    )
}

/// Links that had an address and shall have another one, and stay the links they are.
fn reachable(
    before: &BTreeMap<AddressKey, ObservedAddress>,
    desired: &Desired,
    actions: &[Action],
) -> BTreeSet<IfName> {
    // An address that moves to another link, prefix or origin has to go first.
    let stays = |key: &AddressKey, seen: &ObservedAddress| match desired.addresses.get(key) {
        Some(wanted) => wanted.origin == seen.origin,
        None => desired.addresses.keys().all(|wanted| wanted.ip != key.ip),
    };
    let had = before
        .iter()
        .filter(|(key, seen)| stays(key, seen))
        .map(|(key, _)| key);
    let is_made_anew = |name: &IfName| {
        actions
            .iter()
            .any(|action| matches!(action, Action::DeleteLink { link } if link == name))
    };
    had.map(|key| key.link.clone())
        .filter(|name| desired.links.contains_key(name))
        .filter(|name| desired.addresses.keys().any(|key| key.link == *name))
        .filter(|name| !is_made_anew(name))
        .collect()
}

#[test]
fn a_new_address_comes_before_the_old_one_goes() {
    let mut model = cards();
    let mut desired = Desired::default();
    desired.links.insert(name("eth0"), DesiredLink::default());
    let (key, wanted) = address("eth0", "192.0.2.9", Origin::Static);
    desired.addresses.insert(key, wanted);
    desired
        .routes
        .push(route("0.0.0.0/0", "eth0", 100, Origin::Static));
    for action in plan(&desired, &model.observed) {
        model.apply(&action).unwrap();
    }
    desired.addresses.clear();
    let (key, wanted) = address("eth0", "192.0.2.10", Origin::Static);
    desired.addresses.insert(key, wanted);
    desired.routes.clear();
    desired
        .routes
        .push(route("0.0.0.0/0", "eth0", 200, Origin::Static));
    let actions: Vec<String> = plan(&desired, &model.observed)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        actions,
        [
            "add the address eth0 192.0.2.10/24",
            "remove the route 0.0.0.0/0 dev eth0 metric 100 table 254",
            "remove the address eth0 192.0.2.9/24",
            "add the route 0.0.0.0/0 dev eth0 metric 200 table 254",
        ]
    );
}

proptest! {
    /// From any state that an earlier configuration left, the plan for a later one is taken by the
    /// kernel in full, and leaves nothing to do.
    #[test]
    fn the_plan_leads_to_the_desired_state(first in desired(), second in desired()) {
        let mut model = cards();
        for desired in [&first, &second, &first] {
            let actions = plan(desired, &model.observed);
            let before = model.observed.addresses.clone();
            for action in &actions {
                let result = model.apply(action);
                prop_assert!(result.is_ok(), "{action:?}: {result:?} in {actions:#?}");
                for name in reachable(&before, desired, &actions) {
                    let mut keys = model.observed.addresses.keys();
                    prop_assert!(keys.any(|key| key.link == name), "{name} is cut off by {action}");
                }
            }
            prop_assert_eq!(plan(desired, &model.observed), []);
            for (name, link) in &desired.links {
                let carried = match &link.make {
                    Some(Make::Vlan { parent, .. }) => model.observed.links.contains_key(parent),
                    _ => true,
                };
                prop_assert_eq!(model.observed.links.contains_key(name), carried);
            }
            let wanted = |key: &AddressKey| desired.addresses.contains_key(key);
            prop_assert!(model.observed.addresses.keys().all(wanted));
        }
    }
}
