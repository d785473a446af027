use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::address::Address;
use super::model::{Advertise, AdvertisedPrefix, Ipv4Method, Ipv6Method, Link, Role};
use super::name::IfName;

pub(crate) fn links<'a>(nics: impl IntoIterator<Item = &'a IfName>) -> BTreeMap<IfName, Link> {
    let mut names: Vec<&IfName> = nics.into_iter().collect();
    names.sort_by_key(|name| name.natural_order());
    names.dedup();
    let mut links = BTreeMap::new();
    for (index, name) in names.into_iter().enumerate() {
        let mut link = Link::card(name);
        match (index, u8::try_from(index)) {
            (0, _) => {
                link.role = Role::Wan;
                link.ipv4.method = Ipv4Method::Dhcp;
                link.ipv6.method = Ipv6Method::Auto;
            }
            (_, Ok(lan @ ..=LANS_MAX)) => make_lan(&mut link, lan),
            _ => {}
        }
        links.insert(name.clone(), link);
    }
    links
}

/// `lan` counts from 1.
fn make_lan(link: &mut Link, lan: u8) {
    let ipv4 = Ipv4Addr::new(192, 168, 76 + lan, 1);
    let ipv6 = Ipv6Addr::new(0xfd77, 0x7777, 0x7777, lan.into(), 0, 0, 0, 1);
    link.role = Role::Lan;
    link.ipv4.method = Ipv4Method::Static;
    link.ipv4
        .addresses
        .push(Address::new(ipv4.into(), 24).expect("the first address of a /24 in 192.168.0.0/16"));
    let address = Address::new(ipv6.into(), 64).expect("the first address of a /64 in fd00::/8");
    link.ipv6.method = Ipv6Method::Static;
    link.ipv6.addresses.push(address);
    link.advertise = Some(Advertise {
        prefixes: vec![AdvertisedPrefix {
            prefix: address.network(),
            preferred_s: PREFERRED_S,
            valid_s: VALID_S,
        }],
        ..Advertise::default()
    });
}

/// 192.168.77.0/24 to 192.168.226.0/24.
const LANS_MAX: u8 = 150;

/// Metric of default routes where the document gives none.
pub(crate) const METRIC: u32 = 100;

/// RFC 9096 section 3.4: AdvPreferredLifetime 45 minutes, AdvValidLifetime 90 minutes. The days and
/// weeks of RFC 4861 leave hosts with dead addresses after a renumbering.
pub(crate) const PREFERRED_S: u32 = 2700;
pub(crate) const VALID_S: u32 = 5400;

/// RFC 4861 section 6.2.1.
pub(crate) const INTERVAL_MAX_S: u16 = 600;
pub(crate) const ROUTER_LIFETIME_S: u16 = 1800;

#[cfg(test)]
mod tests {
    use super::super::{LinkKind, Network};

    #[test]
    fn first_card_is_the_wan_and_the_others_are_lans() {
        let nics = ["eth10", "eth1", "eth0"].map(|n| n.parse().unwrap());
        let network = Network::default().with_default_links(&nics);
        let summary: Vec<String> = network
            .links
            .iter()
            .map(|(name, link)| {
                assert!(matches!(link.kind, LinkKind::Card(_)));
                format!(
                    "{name} {:?} {:?}{:?} {:?}{:?} {}",
                    link.role,
                    link.ipv4.method,
                    link.ipv4.addresses,
                    link.ipv6.method,
                    link.ipv6.addresses,
                    link.advertise.is_some()
                )
            })
            .collect();
        assert_eq!(
            summary,
            [
                "eth0 Wan Dhcp[] Auto[] false",
                "eth1 Lan Static[192.168.77.1/24] Static[fd77:7777:7777:1::1/64] true",
                "eth10 Lan Static[192.168.78.1/24] Static[fd77:7777:7777:2::1/64] true",
            ]
        );
    }

    #[test]
    fn three_hundred_cards_do_no_harm() {
        let nics: Vec<_> = (0..300)
            .map(|n| format!("eth{n}").parse().unwrap())
            .collect();
        assert_eq!(
            Network::default().with_default_links(&nics).links.len(),
            300
        );
    }
}
