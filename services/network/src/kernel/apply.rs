//! From an [`Action`] to a netlink request.

use std::net::{IpAddr, Ipv4Addr};

use config::{IfName, RouteKind, VlanId};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{
    AfSpecBridge, BridgeFlag, BridgeStpState, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridge,
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::RequestSocket;
use super::{ApplyError, GROUP, PROTOCOL_LEASE, PROTOCOL_STATIC, sysctl};
use crate::state::{Action, AddressKey, DesiredAddress, Make, Origin, PortVlan, Route};

pub(super) fn apply(
    socket: &mut RequestSocket,
    action: &Action,
    now_s: u64,
) -> Result<(), ApplyError> {
    let (message, flags) = match action {
        Action::SetSysctl { path, value } => {
            return sysctl::write(path, value).map_err(|cause| ApplyError::Sysctl {
                path: path.clone(),
                cause,
            });
        }
        Action::CreateLink { link, make } => {
            let message = create(socket, link, make)?;
            (
                RouteNetlinkMessage::NewLink(message),
                NLM_F_CREATE | NLM_F_EXCL,
            )
        }
        Action::DeleteLink { link } => {
            let message = message_for(find(socket, link)?.index);
            (RouteNetlinkMessage::DelLink(message), 0)
        }
        Action::ReleasePort { link } => {
            let mut message = message_for(find(socket, link)?.index);
            message.attributes.push(LinkAttribute::Controller(0));
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        Action::JoinBridge { link, bridge } => {
            let controller = find(socket, bridge)?.index;
            let mut message = message_for(find(socket, link)?.index);
            message
                .attributes
                .push(LinkAttribute::Controller(controller));
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        Action::SetBridge {
            link,
            vlan_filtering,
            stp,
        } => {
            let mut message = message_for(find(socket, link)?.index);
            message
                .attributes
                .push(bridge_info(Some(*vlan_filtering), *stp));
            // Settings of a kind are taken from RTM_NEWLINK only.
            (RouteNetlinkMessage::NewLink(message), 0)
        }
        Action::SetMtu { link, mtu } => {
            let mut message = message_for(find(socket, link)?.index);
            message.attributes.push(LinkAttribute::Mtu(*mtu));
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        Action::SetUp { link } => {
            let mut message = message_for(find(socket, link)?.index);
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        Action::PutPortVlan { link, id, how } => {
            let message = port_vlan(&find(socket, link)?, *id, *how);
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        Action::DeletePortVlan { link, id } => {
            let message = port_vlan(&find(socket, link)?, *id, PortVlan::Tagged);
            (RouteNetlinkMessage::DelLink(message), 0)
        }
        Action::PutAddress { key, address } => {
            let message = put_address(find(socket, &key.link)?.index, key, address, now_s);
            (
                RouteNetlinkMessage::NewAddress(message),
                NLM_F_CREATE | NLM_F_REPLACE,
            )
        }
        Action::DeleteAddress(key) => {
            let mut message = address_message(find(socket, &key.link)?.index, key);
            message.attributes.push(AddressAttribute::Local(key.ip));
            (RouteNetlinkMessage::DelAddress(message), 0)
        }
        // Never NLM_F_REPLACE: with the same destination and metric it would take the place of
        // another program's route.
        Action::PutRoute(route) => {
            let message = route_message(socket, route)?;
            (
                RouteNetlinkMessage::NewRoute(message),
                NLM_F_CREATE | NLM_F_EXCL,
            )
        }
        Action::DeleteRoute(route) => (
            RouteNetlinkMessage::DelRoute(route_message(socket, route)?),
            0,
        ),
    };
    socket.change(message, flags).map_err(ApplyError::Request)
}

struct Found {
    index: u32,
    is_bridge: bool,
}

fn find(socket: &mut RequestSocket, name: &IfName) -> Result<Found, ApplyError> {
    let mut question = LinkMessage::default();
    question
        .attributes
        .push(LinkAttribute::IfName(name.to_string()));
    let answers = match socket.get(RouteNetlinkMessage::GetLink(question)) {
        Ok(answers) => answers,
        Err(error) if error.errno() == Some(libc::ENODEV) => {
            return Err(ApplyError::NoLink(name.clone()));
        }
        Err(error) => return Err(ApplyError::Request(error)),
    };
    let found = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) => Some(message),
        _ => None,
    });
    let message = found.ok_or_else(|| ApplyError::NoLink(name.clone()))?;
    let is_bridge = message.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(info)
            if info.contains(&LinkInfo::Kind(InfoKind::Bridge)))
    });
    Ok(Found {
        index: message.header.index,
        is_bridge,
    })
}

fn message_for(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn create(
    socket: &mut RequestSocket,
    name: &IfName,
    make: &Make,
) -> Result<LinkMessage, ApplyError> {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_string()));
    message.attributes.push(LinkAttribute::Group(GROUP));
    match make {
        Make::Bridge {
            vlan_filtering,
            stp,
        } => {
            let filtering = vlan_filtering.then_some(true);
            message.attributes.push(bridge_info(filtering, *stp));
        }
        Make::Vlan { id, parent } => {
            message
                .attributes
                .push(LinkAttribute::Link(find(socket, parent)?.index));
            message.attributes.push(LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id.number())])),
            ]));
        }
    }
    Ok(message)
}

fn bridge_info(vlan_filtering: Option<bool>, stp: bool) -> LinkAttribute {
    let state = if stp {
        BridgeStpState::KernelStp
    } else {
        BridgeStpState::Disabled
    };
    let mut settings = vec![InfoBridge::StpState(state)];
    // A kernel that cannot filter VLANs refuses even to be told not to.
    if let Some(vlan_filtering) = vlan_filtering {
        settings.push(InfoBridge::VlanFiltering(vlan_filtering));
    }
    LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(settings)),
    ])
}

fn port_vlan(port: &Found, id: VlanId, how: PortVlan) -> LinkMessage {
    let flags = match how {
        PortVlan::Tagged => BridgeVlanInfoFlags::empty(),
        PortVlan::Untagged => BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged,
    };
    let mut specs = vec![AfSpecBridge::VlanInfo(BridgeVlanInfo {
        flags,
        vid: id.number(),
    })];
    if port.is_bridge {
        // The bridge's own port to the host.
        specs.insert(0, AfSpecBridge::Flags(BridgeFlag::LowerDev));
    }
    let mut message = message_for(port.index);
    message.header.interface_family = AddressFamily::Bridge;
    message.attributes.push(LinkAttribute::AfSpecBridge(specs));
    message
}

fn address_message(index: u32, key: &AddressKey) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(key.ip);
    message.header.prefix_len = key.prefix_len;
    message.header.index = index;
    let is_link_local = matches!(key.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    message.header.scope = if is_link_local {
        AddressScope::Link
    } else {
        AddressScope::Universe
    };
    message.attributes.push(AddressAttribute::Address(key.ip));
    message
}

fn put_address(
    index: u32,
    key: &AddressKey,
    address: &DesiredAddress,
    now_s: u64,
) -> AddressMessage {
    let mut message = address_message(index, key);
    message.attributes.push(AddressAttribute::Local(key.ip));
    if let IpAddr::V4(ip) = key.ip
        && key.prefix_len <= 30
    {
        let host = u32::MAX.checked_shr(key.prefix_len.into()).unwrap_or(0);
        message
            .attributes
            .push(AddressAttribute::Broadcast(Ipv4Addr::from_bits(
                ip.to_bits() | host,
            )));
    }
    if let Some(valid_until_s) = address.valid_until_s {
        // When this service is dead, the kernel takes the address away in time.
        let left_s = valid_until_s.saturating_sub(now_s).max(1);
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = u32::try_from(left_s).unwrap_or(u32::MAX);
        lifetime.ifa_preferred = lifetime.ifa_valid;
        message
            .attributes
            .push(AddressAttribute::CacheInfo(lifetime));
    }
    let protocol = AddressProtocol::Other(protocol(address.origin));
    message
        .attributes
        .push(AddressAttribute::Protocol(protocol));
    message
}

fn route_message(socket: &mut RequestSocket, route: &Route) -> Result<RouteMessage, ApplyError> {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(route.to.network());
    header.destination_prefix_length = route.to.len();
    header.protocol = protocol(route.origin).into();
    header.kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
    };
    let on_link = route.via.is_none() && route.kind == RouteKind::Unicast;
    header.scope = if on_link && route.to.network().is_ipv4() {
        RouteScope::Link
    } else {
        RouteScope::Universe
    };
    if route.onlink {
        header.flags = RouteFlags::Onlink;
    }
    // Tables beyond 255 only fit the attribute, which the kernel prefers.
    header.table = u8::try_from(route.table).unwrap_or(0);
    message.attributes.push(RouteAttribute::Table(route.table));
    if !route.to.is_default() {
        message
            .attributes
            .push(RouteAttribute::Destination(route.to.network().into()));
    }
    if let Some(via) = route.via {
        message.attributes.push(RouteAttribute::Gateway(via.into()));
    }
    if let Some(dev) = &route.dev {
        message
            .attributes
            .push(RouteAttribute::Oif(find(socket, dev)?.index));
    }
    if let Some(source) = route.source {
        message
            .attributes
            .push(RouteAttribute::PrefSource(source.into()));
    }
    if route.metric != 0 {
        message
            .attributes
            .push(RouteAttribute::Priority(route.metric));
    }
    Ok(message)
}

fn protocol(origin: Origin) -> u8 {
    match origin {
        Origin::Lease => PROTOCOL_LEASE,
        _ => PROTOCOL_STATIC,
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
