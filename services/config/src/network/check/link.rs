//! One link's table.

use std::net::IpAddr;

use super::super::address::{Address, Prefix};
use super::super::defaults::{METRIC, PREFERRED_S, VALID_S};
use super::super::form;
use super::super::model::{
    Advertise, AdvertisedPrefix, Bridge, Ipv4, Ipv4Method, Ipv6, Ipv6Method, Link, LinkKind, Match,
    PortVlans, Role,
};
use super::super::name::{IfName, Pattern};
use super::{
    ADDRESSES_MAX, Check, DNS_MAX, IPV6_MTU_MIN, PORTS_MAX, PREFIXES_MAX, SEARCH_MAX, VLANS_MAX,
};
use crate::path::Path;

impl Check<'_, '_> {
    pub(super) fn link(&mut self, name: &IfName, form: form::Link) -> Link {
        let path = self.place(name);
        let form::Link {
            advertise,
            bridge,
            ipv4,
            ipv6,
            matches,
            mtu,
            port,
            role,
            vlan,
        } = form;
        let given = [
            matches.is_some().then_some("match"),
            vlan.is_some().then_some("vlan"),
            bridge.is_some().then_some("bridge"),
        ];
        if let Some(second) = given.into_iter().flatten().nth(1) {
            let message = "a link has one of match, vlan and bridge";
            self.problem(path.key(second), message);
        }
        let kind = match (vlan, bridge) {
            (Some(vlan), _) => self.vlan(&path, vlan),
            (None, Some(bridge)) => self.bridge(&path, bridge),
            (None, None) => self.card(&path, name, matches),
        };
        let ipv4 = self.ipv4(name, role, ipv4);
        let ipv6 = self.ipv6(name, role, ipv6);
        let advertise = advertise.map(|form| self.advertise(&path.key("advertise"), form, &ipv6));
        if let Some(mtu) = mtu
            && ipv6.method != Ipv6Method::Off
            && mtu.bytes() < IPV6_MTU_MIN
        {
            let message = format!("IPv6 needs an MTU of {IPV6_MTU_MIN} at least");
            self.problem(path.key("mtu"), message);
        }
        let port = port.map(|form::Port { tagged, untagged }| {
            self.count(&path.key("port"), tagged.len(), VLANS_MAX, "VLANs");
            PortVlans { untagged, tagged }
        });
        Link {
            kind,
            role,
            mtu,
            ipv4,
            ipv6,
            advertise,
            port,
        }
    }

    fn vlan(&mut self, link: &Path, form: form::Vlan) -> LinkKind {
        let form::Vlan { id, parent } = form;
        let path = link.key("vlan").key("parent");
        self.places.references.push((path, parent.clone()));
        LinkKind::Vlan { id, parent }
    }

    fn bridge(&mut self, link: &Path, form: form::Bridge) -> LinkKind {
        let form::Bridge {
            ports,
            stp,
            vlan_filtering,
        } = form;
        let path = link.key("bridge").key("ports");
        let references = ports.iter().enumerate().take(PORTS_MAX);
        let references = references.map(|(index, port)| (path.index(index), port.clone()));
        self.places.references.extend(references);
        LinkKind::Bridge(Bridge {
            ports,
            vlan_filtering,
            stp,
        })
    }

    fn card(&mut self, link: &Path, name: &IfName, form: Option<form::Match>) -> LinkKind {
        let Some(form) = form else {
            let name = Some(Pattern::from(name));
            return LinkKind::Card(Match {
                name,
                ..Match::default()
            });
        };
        let form::Match {
            driver,
            mac,
            name,
            path,
        } = form;
        if driver.is_none() && mac.is_none() && name.is_none() && path.is_none() {
            let message = "match needs one of name, mac, driver and path";
            self.problem(link.key("match"), message);
        }
        LinkKind::Card(Match {
            name,
            mac,
            driver,
            path,
        })
    }

    fn ipv4(&mut self, name: &IfName, role: Role, form: Option<form::Ipv4>) -> Ipv4 {
        let by_role = if role == Role::Wan {
            Ipv4Method::Dhcp
        } else {
            Ipv4Method::Off
        };
        let Some(form) = form else {
            return Ipv4 {
                method: by_role,
                ..Ipv4::default()
            };
        };
        let path = self.place(name).key("ipv4");
        let form::Ipv4 {
            addresses,
            gateway,
            method,
            metric,
            use_dns,
        } = form;
        let without_method = if addresses.is_empty() {
            by_role
        } else {
            Ipv4Method::Static
        };
        let method = method.unwrap_or(without_method);
        match method {
            Ipv4Method::Off if !addresses.is_empty() || gateway.is_some() => {
                let message = "ipv4 is off, but has addresses or a gateway";
                self.problem(path.clone(), message);
            }
            Ipv4Method::Static if addresses.is_empty() => {
                self.problem(path.clone(), "a static ipv4 needs addresses");
            }
            _ => {}
        }
        let addresses = self.link_addresses(name, &path, addresses, Family::Ipv4);
        if let Some(gateway) = gateway {
            self.gateway(&path, gateway.into(), &addresses);
        }
        Ipv4 {
            method,
            addresses,
            gateway,
            metric: metric.unwrap_or(METRIC),
            use_dns: use_dns.unwrap_or(true),
        }
    }

    fn ipv6(&mut self, name: &IfName, role: Role, form: Option<form::Ipv6>) -> Ipv6 {
        let by_role = if role == Role::Wan {
            Ipv6Method::Auto
        } else {
            Ipv6Method::Off
        };
        let Some(form) = form else {
            return Ipv6 {
                method: by_role,
                ..Ipv6::default()
            };
        };
        let path = self.place(name).key("ipv6");
        let form::Ipv6 {
            addresses,
            gateway,
            method,
            metric,
            use_dns,
        } = form;
        let without_method = if addresses.is_empty() {
            by_role
        } else {
            Ipv6Method::Static
        };
        let method = method.unwrap_or(without_method);
        match method {
            Ipv6Method::Off if !addresses.is_empty() || gateway.is_some() => {
                let message = "ipv6 is off, but has addresses or a gateway";
                self.problem(path.clone(), message);
            }
            Ipv6Method::Static if addresses.is_empty() => {
                self.problem(path.clone(), "a static ipv6 needs addresses");
            }
            _ => {}
        }
        let addresses = self.link_addresses(name, &path, addresses, Family::Ipv6);
        if let Some(gateway) = gateway
            && !gateway.is_unicast_link_local()
        {
            self.gateway(&path, gateway.into(), &addresses);
        }
        Ipv6 {
            method,
            addresses,
            gateway,
            metric: metric.unwrap_or(METRIC),
            use_dns: use_dns.unwrap_or(true),
        }
    }

    fn link_addresses(
        &mut self,
        name: &IfName,
        path: &Path,
        addresses: Vec<Address>,
        family: Family,
    ) -> Vec<Address> {
        let path = path.key("addresses");
        self.count(&path, addresses.len(), ADDRESSES_MAX, "addresses on a link");
        for (index, address) in addresses.iter().enumerate().take(ADDRESSES_MAX) {
            let path = path.index(index);
            if address.ip().is_ipv4() == (family == Family::Ipv4) {
                let place = (path, name.clone(), *address);
                self.places.addresses.push(place);
            } else {
                let family = match family {
                    Family::Ipv4 => "ipv4",
                    Family::Ipv6 => "ipv6",
                };
                self.problem(path, format!("{address} is no {family} address"));
            }
        }
        addresses
    }

    fn gateway(&mut self, path: &Path, gateway: IpAddr, addresses: &[Address]) {
        let is_own = addresses.iter().any(|address| address.ip() == gateway);
        let mut networks = addresses.iter().map(|address| address.network());
        let message = if is_own {
            format!("the gateway {gateway} is this router's own address")
        } else if networks.any(|network| network.contains(gateway)) {
            return;
        } else {
            format!("the gateway {gateway} is in no network of this link")
        };
        self.problem(path.key("gateway"), message);
    }

    fn advertise(&mut self, path: &Path, form: form::Advertise, ipv6: &Ipv6) -> Advertise {
        let defaults = Advertise::default();
        self.count(path, form.rdnss.len(), DNS_MAX, "DNS servers");
        self.count(path, form.dnssl.len(), SEARCH_MAX, "search domains");
        if ipv6.method == Ipv6Method::Off {
            self.problem(path.clone(), "advertisements need ipv6 on this link");
        }
        let interval_max_s = form.interval_max_s.unwrap_or(defaults.interval_max_s);
        if !(4..=1800).contains(&interval_max_s) {
            let message = "interval_max_s is from 4 to 1800";
            self.problem(path.key("interval_max_s"), message);
        }
        let router_lifetime_s = form
            .router_lifetime_s
            .unwrap_or(defaults.router_lifetime_s.max(interval_max_s));
        if !(interval_max_s..=9000).contains(&router_lifetime_s) {
            let message =
                format!("router_lifetime_s is from interval_max_s ({interval_max_s}) to 9000");
            self.problem(path.key("router_lifetime_s"), message);
        }
        let prefixes = match form.prefixes {
            Some(prefixes) => {
                let path = path.key("prefixes");
                self.count(&path, prefixes.len(), PREFIXES_MAX, "prefixes");
                let prefixes = prefixes.into_iter().enumerate().take(PREFIXES_MAX);
                prefixes
                    .map(|(index, prefix)| self.advertised_prefix(&path.index(index), prefix))
                    .collect()
            }
            None => static_prefixes(ipv6),
        };
        Advertise {
            prefixes,
            rdnss: form.rdnss,
            dnssl: form.dnssl,
            router: form.router,
            router_lifetime_s,
            interval_max_s,
            mtu: form.mtu,
        }
    }

    fn advertised_prefix(&mut self, path: &Path, form: form::AdvertisedPrefix) -> AdvertisedPrefix {
        let form::AdvertisedPrefix {
            preferred_s,
            prefix,
            valid_s,
        } = form;
        if !is_advertisable(prefix) {
            let message = format!("{prefix} is no IPv6 /64 that hosts could use");
            self.problem(path.key("prefix"), message);
        }
        let valid_s = valid_s.unwrap_or(VALID_S.max(preferred_s.unwrap_or(0)));
        let preferred_s = preferred_s.unwrap_or(PREFERRED_S.min(valid_s));
        if preferred_s > valid_s {
            self.problem(path.clone(), "preferred_s is longer than valid_s");
        }
        AdvertisedPrefix {
            prefix,
            preferred_s,
            valid_s,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
}

fn static_prefixes(ipv6: &Ipv6) -> Vec<AdvertisedPrefix> {
    let mut prefixes: Vec<AdvertisedPrefix> = Vec::new();
    for address in &ipv6.addresses {
        let prefix = address.network();
        if is_advertisable(prefix) && prefixes.iter().all(|known| known.prefix != prefix) {
            prefixes.push(AdvertisedPrefix {
                prefix,
                preferred_s: PREFERRED_S,
                valid_s: VALID_S,
            });
        }
    }
    prefixes.truncate(PREFIXES_MAX);
    prefixes
}

fn is_advertisable(prefix: Prefix) -> bool {
    match prefix.network() {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => {
            prefix.len() == 64
                && !ip.is_unicast_link_local()
                && !ip.is_multicast()
                && !ip.is_unspecified()
        }
    }
}
