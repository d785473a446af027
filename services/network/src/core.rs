//! From desired and observed state to the actions between them. Pure: no I/O and no clock.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use config::IfName;

use crate::state::{
    Action, AddressKey, Desired, DesiredAddress, DesiredLink, Make, Observed, ObservedKind,
    ObservedLink, Origin, Route,
};

/// The actions, in the order in which the kernel takes them, that make `observed` what is desired.
///
/// A link keeps an address all the time where it had one and shall have one: new addresses come
/// before old ones go, so that who administers the router over this link is not cut off half-way.
///
/// Nothing that is already as desired is touched, and nothing that another program put there is
/// removed: only links, addresses and routes that carry this service's mark.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    remove_links(desired, observed, &mut actions);
    let links = in_order(desired);
    let present = make_links(&links, desired, observed, &mut actions);
    // What sat on an interface that is made anew went with the old one.
    let fresh: BTreeSet<IfName> = actions
        .iter()
        .filter_map(|action| match action {
            Action::CreateLink { link, .. } => Some(link.clone()),
            _ => None,
        })
        .collect();
    let gone: BTreeSet<IfName> = actions
        .iter()
        .filter_map(|action| match action {
            Action::DeleteLink { link } => Some(link.clone()),
            _ => None,
        })
        .collect();
    let links: Vec<_> = links
        .into_iter()
        .filter(|(name, _)| present.contains(name))
        .collect();
    for (name, link) in &links {
        set_link(name, link, observed, &present, &fresh, &mut actions);
    }
    set_sysctls(desired, observed, &present, &mut actions);
    for (name, _) in &links {
        let is_up = observed.links.get(name).is_some_and(|link| link.up);
        if !is_up || fresh.contains(*name) {
            actions.push(Action::SetUp {
                link: (*name).clone(),
            });
        }
    }
    let stale = stale_addresses(desired, observed, &gone);
    // One that moves to another link or prefix has to go first: the kernel may refuse it twice.
    let moves = |key: &AddressKey| desired.addresses.keys().any(|wanted| wanted.ip == key.ip);
    let (moving, leaving): (Vec<_>, Vec<_>) = stale.into_iter().partition(moves);
    actions.extend(moving.into_iter().map(Action::DeleteAddress));
    for (key, address) in &desired.addresses {
        let missing = fresh.contains(&key.link) || address_is_missing(key, *address, observed);
        if present.contains(&key.link) && missing {
            actions.push(Action::PutAddress {
                key: key.clone(),
                address: *address,
            });
        }
    }
    remove_routes(desired, observed, &gone, &mut actions);
    actions.extend(leaving.into_iter().map(Action::DeleteAddress));
    // Routes on a link before routes through a next hop, which has to be reachable by then.
    let mut missing: Vec<&Route> = desired
        .routes
        .iter()
        .filter(|route| route.dev.as_ref().is_none_or(|dev| present.contains(dev)))
        .filter(|route| {
            !observed.routes.iter().any(|seen| {
                satisfies(seen, route) && seen.dev.as_ref().is_none_or(|dev| !fresh.contains(dev))
            })
        })
        .collect();
    missing.sort_by_key(|route| (route.via.is_some(), route.to.is_default()));
    actions.extend(missing.into_iter().cloned().map(Action::PutRoute));
    actions
}

fn remove_routes(
    desired: &Desired,
    observed: &Observed,
    gone: &BTreeSet<IfName>,
    actions: &mut Vec<Action>,
) {
    for seen in observed
        .routes
        .iter()
        .filter(|route| route.origin.is_ours())
    {
        let wanted = desired.routes.iter().any(|route| satisfies(seen, route));
        let held = seen.origin == Origin::Lease
            && seen
                .dev
                .as_ref()
                .is_some_and(|dev| desired.held.contains(dev));
        let went_along = seen.dev.as_ref().is_some_and(|dev| gone.contains(dev));
        if !wanted && !held && !went_along {
            actions.push(Action::DeleteRoute(seen.clone()));
        }
    }
}

/// Ours that are no longer wanted, but for those that went along with their link.
fn stale_addresses(
    desired: &Desired,
    observed: &Observed,
    gone: &BTreeSet<IfName>,
) -> Vec<AddressKey> {
    let mut stale = Vec::new();
    for (key, seen) in &observed.addresses {
        if !seen.origin.is_ours() || gone.contains(&key.link) {
            continue;
        }
        let wanted = desired
            .addresses
            .get(key)
            .is_some_and(|address| address.origin == seen.origin);
        let held = seen.origin == Origin::Lease && desired.held.contains(&key.link);
        if !wanted && !held {
            stale.push(key.clone());
        }
    }
    stale
}

fn remove_links(desired: &Desired, observed: &Observed, actions: &mut Vec<Action>) {
    for (name, seen) in &observed.links {
        let Some(wanted) = desired.links.get(name) else {
            continue;
        };
        let Some(controller) = controller(seen, observed) else {
            continue;
        };
        // A controller that is not ours has been set by somebody who knows why, unless we want
        // the port elsewhere.
        let is_ours = observed.links[controller].ours || desired.links.contains_key(controller);
        let elsewhere = wanted
            .bridge
            .as_ref()
            .is_some_and(|bridge| bridge != controller);
        if elsewhere || (is_ours && wanted.bridge.is_none()) {
            actions.push(Action::ReleasePort { link: name.clone() });
        }
    }
    // VLANs before what carries them: the kernel would take them along, and then miss them.
    let mut gone: Vec<&IfName> = observed
        .links
        .iter()
        .filter(|(name, seen)| seen.ours && !keeps(name, desired, observed))
        .map(|(name, _)| name)
        .collect();
    gone.sort_by_key(|name| !matches!(observed.links[*name].kind, ObservedKind::Vlan { .. }));
    actions.extend(
        gone.into_iter()
            .map(|name| Action::DeleteLink { link: name.clone() }),
    );
}

/// Makes what is missing, and tells which of the desired links there are then.
fn make_links<'a>(
    links: &[(&'a IfName, &DesiredLink)],
    desired: &Desired,
    observed: &Observed,
    actions: &mut Vec<Action>,
) -> BTreeSet<&'a IfName> {
    let mut present = BTreeSet::new();
    for (name, link) in links {
        let seen = observed.links.get(*name);
        match (&link.make, seen) {
            (None, Some(_)) => {
                present.insert(*name);
            }
            (None, None) => {}
            (Some(_), Some(_)) if keeps(name, desired, observed) => {
                present.insert(*name);
            }
            // Something else has the name; `plan` of the document reports it.
            (Some(_), Some(seen)) if !seen.ours => {}
            (Some(make), _) => {
                let carried = match make {
                    Make::Bridge { .. } => true,
                    Make::Vlan { parent, .. } => present.contains(parent),
                };
                if carried {
                    present.insert(*name);
                    actions.push(Action::CreateLink {
                        link: (*name).clone(),
                        make: make.clone(),
                    });
                }
            }
        }
    }
    present
}

fn set_link(
    name: &IfName,
    link: &DesiredLink,
    observed: &Observed,
    present: &BTreeSet<&IfName>,
    fresh: &BTreeSet<IfName>,
    actions: &mut Vec<Action>,
) {
    let seen = observed.links.get(name).filter(|_| !fresh.contains(name));
    if let (
        Some(Make::Bridge {
            vlan_filtering,
            stp,
        }),
        Some(seen),
    ) = (&link.make, seen)
        && seen.kind
            != (ObservedKind::Bridge {
                vlan_filtering: *vlan_filtering,
                stp: *stp,
            })
    {
        actions.push(Action::SetBridge {
            link: name.clone(),
            vlan_filtering: *vlan_filtering,
            stp: *stp,
        });
    }
    if let Some(mtu) = link.mtu
        && seen.is_none_or(|seen| seen.mtu != mtu)
    {
        actions.push(Action::SetMtu {
            link: name.clone(),
            mtu,
        });
    }
    let mut joins = false;
    if let Some(bridge) = link
        .bridge
        .as_ref()
        .filter(|bridge| present.contains(bridge))
    {
        joins = seen.and_then(|seen| controller(seen, observed)) != Some(bridge)
            || fresh.contains(bridge);
        if joins {
            actions.push(Action::JoinBridge {
                link: name.clone(),
                bridge: bridge.clone(),
            });
        }
    }
    let Some(vlans) = &link.vlans else { return };
    // A new filtering bridge and each port that joins it get VLAN 1 from the kernel.
    let none = std::collections::BTreeMap::new();
    let had = seen.filter(|_| !joins).map_or(&none, |seen| &seen.vlans);
    let default = config::VlanId::try_from(1).expect("1 is a VLAN id");
    for id in had.keys() {
        if !vlans.contains_key(id) {
            actions.push(Action::DeletePortVlan {
                link: name.clone(),
                id: *id,
            });
        }
    }
    let is_new_bridge = fresh.contains(name) && matches!(link.make, Some(Make::Bridge { .. }));
    if (joins || is_new_bridge) && !vlans.contains_key(&default) {
        actions.push(Action::DeletePortVlan {
            link: name.clone(),
            id: default,
        });
    }
    for (id, how) in vlans {
        if had.get(id) != Some(how) {
            actions.push(Action::PutPortVlan {
                link: name.clone(),
                id: *id,
                how: *how,
            });
        }
    }
}

/// Settings of links first: once forwarding is on, the kernel forgets the default routes of links
/// whose `accept_ra` is not 2.
fn set_sysctls(
    desired: &Desired,
    observed: &Observed,
    present: &BTreeSet<&IfName>,
    actions: &mut Vec<Action>,
) {
    let mut settings: Vec<(&String, &String)> = desired
        .sysctls
        .iter()
        .filter(|(path, _)| {
            sysctl_link(path).is_none_or(|link| present.iter().any(|name| name.as_str() == link))
        })
        .filter(|(path, value)| observed.sysctls.get(*path) != Some(value))
        .collect();
    settings.sort_by_key(|(path, _)| sysctl_link(path).is_none());
    for (path, value) in settings {
        actions.push(Action::SetSysctl {
            path: path.clone(),
            value: value.clone(),
        });
    }
}

/// The interface that a setting below `conf` belongs to.
fn sysctl_link(path: &str) -> Option<&str> {
    let rest = path
        .strip_prefix("net/ipv4/conf/")
        .or_else(|| path.strip_prefix("net/ipv6/conf/"))?;
    let (link, _) = rest.rsplit_once('/')?;
    (link != "all" && link != "default").then_some(link)
}

/// What carries others comes first: cards, bridges, then VLANs.
fn in_order(desired: &Desired) -> Vec<(&IfName, &DesiredLink)> {
    let mut links: Vec<_> = desired.links.iter().collect();
    links.sort_by_key(|(_, link)| match link.make {
        None => 0,
        Some(Make::Bridge { .. }) => 1,
        Some(Make::Vlan { .. }) => 2,
    });
    links
}

/// Whether the interface that is there can become the desired one without being made anew.
fn keeps(name: &IfName, desired: &Desired, observed: &Observed) -> bool {
    let (Some(wanted), Some(seen)) = (desired.links.get(name), observed.links.get(name)) else {
        return false;
    };
    match &wanted.make {
        None => true,
        Some(Make::Bridge { .. }) => matches!(seen.kind, ObservedKind::Bridge { .. }),
        Some(Make::Vlan { id, parent }) => {
            let index = observed.links.get(parent).map(|parent| parent.index);
            let same = matches!(seen.kind, ObservedKind::Vlan { id: seen_id, parent: seen_parent }
                if seen_id == id.number() && Some(seen_parent) == index);
            // A parent cannot be a VLAN itself, so this goes one step deep.
            same && keeps(parent, desired, observed)
        }
    }
}

fn controller<'a>(seen: &ObservedLink, observed: &'a Observed) -> Option<&'a IfName> {
    let index = seen.controller?;
    observed
        .links
        .iter()
        .find(|(_, link)| link.index == index)
        .map(|(name, _)| name)
}

fn address_is_missing(key: &AddressKey, address: DesiredAddress, observed: &Observed) -> bool {
    let Some(seen) = observed.addresses.get(key) else {
        return true;
    };
    if !seen.origin.is_ours() {
        return false;
    }
    let close = match (seen.valid_until_s, address.valid_until_s) {
        (None, None) => true,
        (Some(seen), Some(wanted)) => seen.abs_diff(wanted) <= LIFETIME_TOLERANCE_S,
        _ => false,
    };
    seen.origin != address.origin || !close
}

/// Whether a route that is there is the desired one.
fn satisfies(seen: &Route, wanted: &Route) -> bool {
    let Route {
        to,
        table,
        metric,
        kind,
        via,
        dev,
        onlink: _,
        source,
        origin,
    } = wanted;
    seen.origin == *origin
        && seen.to == *to
        && seen.table == *table
        && seen.metric == *metric
        && seen.kind == *kind
        && seen.via == *via
        && (dev.is_none() || seen.dev == *dev)
        && seen.source == *source
}

/// The kernel counts lifetimes in whole seconds from when it got them.
const LIFETIME_TOLERANCE_S: u64 = 5;
