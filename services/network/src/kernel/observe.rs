//! From netlink's answers to [`Observed`].

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use config::{IfName, MacAddr, Prefix, RouteKind, VlanId};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol,
};
use netlink_packet_route::link::{
    AfSpecBridge, BridgeStpState, BridgeVlanInfoFlags, InfoBridge, InfoData, InfoKind, InfoVlan,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::RequestSocket;
use super::{GROUP, ObserveError, PROTOCOL_LEASE, PROTOCOL_STATIC, RequestError};
use crate::state::{
    AddressKey, Observed, ObservedAddress, ObservedKind, ObservedLink, Origin, PortVlan, Route,
};

pub(super) fn observe(socket: &mut RequestSocket, now_s: u64) -> Result<Observed, ObserveError> {
    let fail = |what| move |cause| ObserveError { what, cause };
    let links = links(socket).map_err(fail("links"))?;
    let names: HashMap<u32, IfName> = links
        .iter()
        .map(|(name, link)| (link.index, name.clone()))
        .collect();
    let addresses = addresses(socket, now_s, &names).map_err(fail("addresses"))?;
    let routes = routes(socket, &names).map_err(fail("routes"))?;
    Ok(Observed {
        links,
        addresses,
        routes,
        sysctls: BTreeMap::new(),
    })
}

pub(super) fn has_route(socket: &mut RequestSocket, to: IpAddr) -> bool {
    let mut question = RouteMessage::default();
    (
        question.header.address_family,
        question.header.destination_prefix_length,
    ) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question
        .attributes
        .push(RouteAttribute::Destination(to.into()));
    let Ok(answers) = socket.get(RouteNetlinkMessage::GetRoute(question)) else {
        return false;
    };
    answers.iter().any(|answer| {
        matches!(answer, RouteNetlinkMessage::NewRoute(route) if route.header.kind == RouteType::Unicast)
    })
}

fn links(socket: &mut RequestSocket) -> Result<BTreeMap<IfName, ObservedLink>, RequestError> {
    let mut question = LinkMessage::default();
    question
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut links = BTreeMap::new();
    let mut filters = false;
    for answer in socket.dump(RouteNetlinkMessage::GetLink(question))? {
        if let RouteNetlinkMessage::NewLink(message) = answer
            && let Some((name, link)) = link(&message)
        {
            filters |= matches!(
                link.kind,
                ObservedKind::Bridge {
                    vlan_filtering: true,
                    ..
                }
            );
            links.insert(name, link);
        }
    }
    if filters {
        port_vlans(socket, &mut links)?;
    }
    Ok(links)
}

fn link(message: &LinkMessage) -> Option<(IfName, ObservedLink)> {
    let header = &message.header;
    if header.flags.contains(LinkFlags::Loopback) {
        return None;
    }
    let (mut name, mut parent) = (None, 0);
    let mut link = ObservedLink {
        index: header.index,
        mac: None,
        permanent_mac: None,
        driver: None,
        path: None,
        hardware: false,
        ours: false,
        kind: ObservedKind::Other,
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        controller: None,
        vlans: BTreeMap::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = text.parse::<IfName>().ok(),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            LinkAttribute::PermAddress(bytes) => link.permanent_mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::Group(group) => link.ours = *group == GROUP,
            LinkAttribute::Link(index) => parent = *index,
            LinkAttribute::LinkInfo(info) => link.kind = kind(info),
            _ => {}
        }
    }
    if let ObservedKind::Vlan { id, .. } = link.kind {
        link.kind = ObservedKind::Vlan { id, parent };
    }
    let name = name?;
    let device = Path::new("/sys/class/net")
        .join(name.as_str())
        .join("device");
    let is_ethernet = header.link_layer_type == LinkLayerType::Ether;
    if link.kind == ObservedKind::Other && is_ethernet {
        link.driver = file_name(&device.join("driver"));
        link.path = fs::canonicalize(&device)
            .ok()
            .and_then(|path| Some(path.strip_prefix("/sys/devices").ok()?.to_str()?.to_owned()));
        link.hardware = link.path.is_some();
    }
    Some((name, link))
}

fn kind(info: &[LinkInfo]) -> ObservedKind {
    let mut kind = ObservedKind::Other;
    for info in info {
        match info {
            LinkInfo::Kind(InfoKind::Bridge) if kind == ObservedKind::Other => {
                kind = ObservedKind::Bridge {
                    vlan_filtering: false,
                    stp: false,
                };
            }
            LinkInfo::Data(InfoData::Bridge(settings)) => {
                kind = ObservedKind::Bridge {
                    vlan_filtering: settings.contains(&InfoBridge::VlanFiltering(true)),
                    stp: settings.iter().any(|setting| {
                        matches!(setting, InfoBridge::StpState(state) if *state != BridgeStpState::Disabled)
                    }),
                };
            }
            LinkInfo::Data(InfoData::Vlan(settings)) => {
                let id = settings.iter().find_map(|setting| match setting {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                });
                if let Some(id) = id {
                    kind = ObservedKind::Vlan { id, parent: 0 };
                }
            }
            _ => {}
        }
    }
    kind
}

fn port_vlans(
    socket: &mut RequestSocket,
    links: &mut BTreeMap<IfName, ObservedLink>,
) -> Result<(), RequestError> {
    let mut question = LinkMessage::default();
    question.header.interface_family = AddressFamily::Bridge;
    question
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan]));
    for answer in socket.dump(RouteNetlinkMessage::GetLink(question))? {
        let RouteNetlinkMessage::NewLink(message) = answer else {
            continue;
        };
        let index = message.header.index;
        let Some(link) = links.values_mut().find(|link| link.index == index) else {
            continue;
        };
        for attribute in &message.attributes {
            let LinkAttribute::AfSpecBridge(specs) = attribute else {
                continue;
            };
            for spec in specs {
                let AfSpecBridge::VlanInfo(info) = spec else {
                    continue;
                };
                let Ok(id) = VlanId::try_from(i64::from(info.vid)) else {
                    continue;
                };
                let untagged = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
                let is_untagged = info.flags.contains(untagged);
                let how = if is_untagged {
                    PortVlan::Untagged
                } else {
                    PortVlan::Tagged
                };
                link.vlans.insert(id, how);
            }
        }
    }
    Ok(())
}

fn addresses(
    socket: &mut RequestSocket,
    now_s: u64,
    names: &HashMap<u32, IfName>,
) -> Result<BTreeMap<AddressKey, ObservedAddress>, RequestError> {
    let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = socket.dump(question)?;
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => address(message, now_s, names),
            _ => None,
        })
        .collect())
}

fn address(
    message: &AddressMessage,
    now_s: u64,
    names: &HashMap<u32, IfName>,
) -> Option<(AddressKey, ObservedAddress)> {
    let link = names.get(&message.header.index)?.clone();
    let (mut local, mut peer) = (None, None);
    let mut seen = ObservedAddress {
        origin: Origin::Foreign,
        valid_until_s: None,
        duplicate: false,
    };
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::CacheInfo(info) if info.ifa_valid != u32::MAX => {
                seen.valid_until_s = Some(now_s + u64::from(info.ifa_valid));
            }
            AddressAttribute::Flags(flags) => {
                seen.duplicate = flags.contains(AddressFlags::Dadfailed);
            }
            AddressAttribute::Protocol(protocol) => seen.origin = address_origin(*protocol),
            _ => {}
        }
    }
    let key = AddressKey {
        link,
        ip: local.or(peer)?,
        prefix_len: message.header.prefix_len,
    };
    Some((key, seen))
}

fn address_origin(protocol: AddressProtocol) -> Origin {
    match protocol {
        AddressProtocol::LinkLocal => Origin::LinkLocal,
        AddressProtocol::RouterAnnouncement => Origin::RouterAdvertisement,
        AddressProtocol::Other(PROTOCOL_STATIC) => Origin::Static,
        AddressProtocol::Other(PROTOCOL_LEASE) => Origin::Lease,
        _ => Origin::Foreign,
    }
}

fn routes(
    socket: &mut RequestSocket,
    names: &HashMap<u32, IfName>,
) -> Result<Vec<Route>, RequestError> {
    let mut routes = Vec::new();
    for (family, protocol) in [
        (AddressFamily::Inet, PROTOCOL_STATIC),
        (AddressFamily::Inet, PROTOCOL_LEASE),
        (AddressFamily::Inet6, PROTOCOL_STATIC),
        (AddressFamily::Inet6, RouteProtocol::Ra.into()),
    ] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        question.header.protocol = protocol.into();
        for answer in socket.dump(RouteNetlinkMessage::GetRoute(question))? {
            if let RouteNetlinkMessage::NewRoute(message) = answer
                && u8::from(message.header.protocol) == protocol
            {
                routes.extend(route(&message, names));
            }
        }
    }
    Ok(routes)
}

fn route(message: &RouteMessage, names: &HashMap<u32, IfName>) -> Option<Route> {
    let header = &message.header;
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        _ => return None,
    };
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut to = unspecified;
    let mut route = Route {
        to: Prefix::containing(unspecified, 0).ok()?,
        table: header.table.into(),
        metric: 0,
        kind,
        via: None,
        dev: None,
        onlink: header.flags.contains(RouteFlags::Onlink),
        source: None,
        origin: match u8::from(header.protocol) {
            PROTOCOL_STATIC => Origin::Static,
            PROTOCOL_LEASE => Origin::Lease,
            _ => Origin::RouterAdvertisement,
        },
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Gateway(address) => route.via = ip(address),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            // The kernel puts loopback behind a route that drops.
            RouteAttribute::Oif(index) if kind == RouteKind::Unicast => {
                route.dev = names.get(index).cloned();
            }
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Table(table) => route.table = *table,
            _ => {}
        }
    }
    route.to = Prefix::containing(to, header.destination_prefix_length).ok()?;
    Some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    <[u8; 6]>::try_from(bytes).ok()?.try_into().ok()
}

fn file_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}
