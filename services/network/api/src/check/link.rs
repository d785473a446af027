//! One link's table.

use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use super::{
    ADDRESSES_MAX, Check, DNS_MAX, IPV6_MTU_MIN, PREFIXES_MAX, Places, SEARCH_MAX, VLANS_MAX,
};
use crate::address::Address;
use crate::defaults::{METRIC, PREFERRED_S, VALID_S};
use crate::document::{
    Advertise, AdvertisedPrefix, Bridge, Ipv4, Ipv4Method, Ipv6, Ipv6Method, Link, LinkKind, Match,
    PortVlans, Role,
};
use crate::name::{IfName, Pattern};
use crate::raw;

impl Check<'_> {
    pub(super) fn link(
        &mut self,
        name: &Spanned<IfName>,
        raw: raw::Link,
        places: &mut Places,
    ) -> Link {
        let kind = self.kind(name, &raw, places);
        let role = raw.role;
        let ipv4 = self.ipv4(name, role, raw.ipv4, places);
        let ipv6 = self.ipv6(name, role, raw.ipv6, places);
        let advertise = raw
            .advertise
            .map(|advertise| self.advertise(advertise, &ipv6));
        if let Some(mtu) = &raw.mtu
            && ipv6.method != Ipv6Method::Off
            && mtu.get_ref().bytes() < IPV6_MTU_MIN
        {
            self.problem(
                mtu.span(),
                format!("IPv6 needs an MTU of {IPV6_MTU_MIN} at least"),
            );
        }
        let port = raw.port.map(|port| {
            let span = port.span();
            let raw::Port { tagged, untagged } = port.into_inner();
            self.count(span, tagged.len(), VLANS_MAX, "VLANs");
            PortVlans { untagged, tagged }
        });
        let mtu = raw.mtu.map(Spanned::into_inner);
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

    fn kind(&mut self, name: &Spanned<IfName>, raw: &raw::Link, places: &mut Places) -> LinkKind {
        let given = [
            raw.matches.as_ref().map(Spanned::span),
            raw.vlan.as_ref().map(Spanned::span),
            raw.bridge.as_ref().map(Spanned::span),
        ];
        if let Some(second) = given.into_iter().flatten().nth(1) {
            self.problem(second, "a link has one of match, vlan and bridge");
        }
        if let Some(vlan) = &raw.vlan {
            let raw::Vlan { id, parent } = vlan.get_ref();
            places
                .references
                .push((parent.span(), parent.get_ref().clone()));
            return LinkKind::Vlan {
                id: *id,
                parent: parent.get_ref().clone(),
            };
        }
        if let Some(bridge) = &raw.bridge {
            let raw::Bridge {
                ports,
                stp,
                vlan_filtering,
            } = bridge.get_ref();
            for port in ports {
                places
                    .references
                    .push((port.span(), port.get_ref().clone()));
            }
            return LinkKind::Bridge(Bridge {
                ports: ports.iter().map(|port| port.get_ref().clone()).collect(),
                vlan_filtering: *vlan_filtering,
                stp: *stp,
            });
        }
        let Some(matches) = &raw.matches else {
            let name = Some(Pattern::from(name.get_ref()));
            return LinkKind::Card(Match {
                name,
                ..Match::default()
            });
        };
        let raw::Match {
            driver,
            mac,
            name,
            path,
        } = matches.get_ref();
        if driver.is_none() && mac.is_none() && name.is_none() && path.is_none() {
            self.problem(
                matches.span(),
                "match needs one of name, mac, driver and path",
            );
        }
        LinkKind::Card(Match {
            name: name.clone(),
            mac: *mac,
            driver: driver.clone(),
            path: path.clone(),
        })
    }

    fn ipv4(
        &mut self,
        name: &Spanned<IfName>,
        role: Role,
        raw: Option<Spanned<raw::Ipv4>>,
        places: &mut Places,
    ) -> Ipv4 {
        let by_role = if role == Role::Wan {
            Ipv4Method::Dhcp
        } else {
            Ipv4Method::Off
        };
        let Some(raw) = raw else {
            return Ipv4 {
                method: by_role,
                ..Ipv4::default()
            };
        };
        let span = raw.span();
        let raw::Ipv4 {
            addresses,
            gateway,
            method,
            metric,
            use_dns,
        } = raw.into_inner();
        let without_method = if addresses.is_empty() {
            by_role
        } else {
            Ipv4Method::Static
        };
        let method = method.unwrap_or(without_method);
        match method {
            Ipv4Method::Off if !addresses.is_empty() || gateway.is_some() => {
                self.problem(span, "ipv4 is off, but has addresses or a gateway");
            }
            Ipv4Method::Static if addresses.is_empty() => {
                self.problem(span, "a static ipv4 needs addresses");
            }
            _ => {}
        }
        let addresses = self.link_addresses(name, addresses, "ipv4", places);
        if let Some(gateway) = &gateway {
            self.gateway(gateway.span(), (*gateway.get_ref()).into(), &addresses);
        }
        Ipv4 {
            method,
            addresses,
            gateway: gateway.map(Spanned::into_inner),
            metric: metric.unwrap_or(METRIC),
            use_dns: use_dns.unwrap_or(true),
        }
    }

    fn ipv6(
        &mut self,
        name: &Spanned<IfName>,
        role: Role,
        raw: Option<Spanned<raw::Ipv6>>,
        places: &mut Places,
    ) -> Ipv6 {
        let by_role = if role == Role::Wan {
            Ipv6Method::Auto
        } else {
            Ipv6Method::Off
        };
        let Some(raw) = raw else {
            return Ipv6 {
                method: by_role,
                ..Ipv6::default()
            };
        };
        let span = raw.span();
        let raw::Ipv6 {
            addresses,
            gateway,
            method,
            metric,
            use_dns,
        } = raw.into_inner();
        let without_method = if addresses.is_empty() {
            by_role
        } else {
            Ipv6Method::Static
        };
        let method = method.unwrap_or(without_method);
        match method {
            Ipv6Method::Off if !addresses.is_empty() || gateway.is_some() => {
                self.problem(span, "ipv6 is off, but has addresses or a gateway");
            }
            Ipv6Method::Static if addresses.is_empty() => {
                self.problem(span, "a static ipv6 needs addresses");
            }
            _ => {}
        }
        let addresses = self.link_addresses(name, addresses, "ipv6", places);
        if let Some(gateway) = &gateway
            && !gateway.get_ref().is_unicast_link_local()
        {
            self.gateway(gateway.span(), (*gateway.get_ref()).into(), &addresses);
        }
        Ipv6 {
            method,
            addresses,
            gateway: gateway.map(Spanned::into_inner),
            metric: metric.unwrap_or(METRIC),
            use_dns: use_dns.unwrap_or(true),
        }
    }

    // Parsed here and not by serde, whose error would point at the array and not at the address.
    fn link_addresses(
        &mut self,
        name: &Spanned<IfName>,
        texts: Vec<Spanned<String>>,
        family: &str,
        places: &mut Places,
    ) -> Vec<Address> {
        if let Some(extra) = texts.get(ADDRESSES_MAX) {
            self.problem(
                extra.span(),
                format!("more than {ADDRESSES_MAX} addresses on a link"),
            );
            return Vec::new();
        }
        let mut addresses = Vec::new();
        for text in texts {
            match text.get_ref().parse::<Address>() {
                Ok(address) if address.ip().is_ipv4() == (family == "ipv4") => {
                    places
                        .addresses
                        .push((text.span(), name.get_ref().clone(), address));
                    addresses.push(address);
                }
                Ok(address) => {
                    self.problem(text.span(), format!("{address} is no {family} address"));
                }
                Err(error) => self.problem(text.span(), error.to_string()),
            }
        }
        addresses
    }

    fn gateway(&mut self, span: Range<usize>, gateway: IpAddr, addresses: &[Address]) {
        if addresses.iter().any(|address| address.ip() == gateway) {
            self.problem(
                span,
                format!("the gateway {gateway} is this router's own address"),
            );
        } else if !addresses
            .iter()
            .any(|address| address.network().contains(gateway))
        {
            self.problem(
                span,
                format!("the gateway {gateway} is in no network of this link"),
            );
        }
    }

    fn advertise(&mut self, raw: Spanned<raw::Advertise>, ipv6: &Ipv6) -> Advertise {
        let span = raw.span();
        let raw = raw.into_inner();
        let defaults = Advertise::default();
        self.count(span.clone(), raw.rdnss.len(), DNS_MAX, "DNS servers");
        self.count(span.clone(), raw.dnssl.len(), SEARCH_MAX, "search domains");
        if ipv6.method == Ipv6Method::Off {
            self.problem(span.clone(), "advertisements need ipv6 on this link");
        }
        let interval_max_s = match &raw.interval_max_s {
            Some(interval) if !(4..=1800).contains(interval.get_ref()) => {
                self.problem(interval.span(), "interval_max_s is from 4 to 1800");
                defaults.interval_max_s
            }
            Some(interval) => *interval.get_ref(),
            None => defaults.interval_max_s,
        };
        let router_lifetime_s = match &raw.router_lifetime_s {
            Some(lifetime) if !(interval_max_s..=9000).contains(lifetime.get_ref()) => {
                let message =
                    format!("router_lifetime_s is from interval_max_s ({interval_max_s}) to 9000");
                self.problem(lifetime.span(), message);
                defaults.router_lifetime_s
            }
            Some(lifetime) => *lifetime.get_ref(),
            None => defaults.router_lifetime_s,
        };
        let prefixes = match raw.prefixes {
            Some(prefixes) => {
                self.count(span, prefixes.len(), PREFIXES_MAX, "prefixes");
                prefixes
                    .into_iter()
                    .map(|prefix| self.advertised_prefix(prefix))
                    .collect()
            }
            None => static_prefixes(ipv6),
        };
        Advertise {
            prefixes,
            rdnss: raw.rdnss,
            dnssl: raw.dnssl,
            router: raw.router,
            router_lifetime_s,
            interval_max_s,
            mtu: raw.mtu,
        }
    }

    fn advertised_prefix(&mut self, raw: Spanned<raw::AdvertisedPrefix>) -> AdvertisedPrefix {
        let span = raw.span();
        let raw::AdvertisedPrefix {
            preferred_s,
            prefix,
            valid_s,
        } = raw.into_inner();
        if !is_advertisable(prefix) {
            self.problem(
                span.clone(),
                format!("{prefix} is no IPv6 /64 that hosts could use"),
            );
        }
        let valid_s = valid_s.unwrap_or(VALID_S.max(preferred_s.unwrap_or(0)));
        let preferred_s = preferred_s.unwrap_or(PREFERRED_S.min(valid_s));
        if preferred_s > valid_s {
            self.problem(span, "preferred_s is longer than valid_s");
        }
        AdvertisedPrefix {
            prefix,
            preferred_s,
            valid_s,
        }
    }
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

fn is_advertisable(prefix: crate::Prefix) -> bool {
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
