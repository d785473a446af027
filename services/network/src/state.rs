//! What the kernel has, what it shall have, and the actions that lead from the one to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::{IfName, MacAddr, Prefix, RouteKind, VlanId};

/// What the kernel has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// By the kernel's name. Loopback and interfaces with names beyond [`IfName`] are left out.
    pub links: BTreeMap<IfName, ObservedLink>,
    pub addresses: BTreeMap<AddressKey, ObservedAddress>,
    /// Ours, and those learnt from router advertisements. No others: mesh may have thousands.
    pub routes: Vec<Route>,
    /// Current values of the settings that were asked for, by their path below `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedLink {
    pub index: u32,
    pub mac: Option<MacAddr>,
    pub permanent_mac: Option<MacAddr>,
    pub driver: Option<String>,
    /// Below `/sys/devices`.
    pub path: Option<String>,
    /// A network card, not something that a program made.
    pub hardware: bool,
    /// Made by this service.
    pub ours: bool,
    pub kind: ObservedKind,
    pub mtu: u32,
    pub up: bool,
    pub carrier: bool,
    /// The index of the bridge or bond that it is a port of.
    pub controller: Option<u32>,
    /// Of a bridge's port.
    pub vlans: BTreeMap<VlanId, PortVlan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObservedKind {
    Bridge { vlan_filtering: bool, stp: bool },
    Other,
    Vlan { id: u16, parent: u32 },
}

/// How a bridge's port treats a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortVlan {
    Tagged,
    /// Untagged both ways.
    Untagged,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressKey {
    pub link: IfName,
    pub ip: IpAddr,
    pub prefix_len: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedAddress {
    pub origin: Origin,
    /// Seconds on the service's clock.
    pub valid_until_s: Option<u64>,
    /// Somebody else on the link has it (IPv6 duplicate address detection).
    pub duplicate: bool,
}

/// Who put an address or a route there. The kernel keeps it beside each as a protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The kernel, or another program.
    Foreign,
    /// This service, from a DHCP lease.
    Lease,
    LinkLocal,
    RouterAdvertisement,
    /// This service, from the document.
    Static,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    pub to: Prefix,
    pub table: u32,
    pub metric: u32,
    pub kind: RouteKind,
    pub via: Option<IpAddr>,
    pub dev: Option<IfName>,
    /// The next hop is on the link although no address of ours says so.
    pub onlink: bool,
    /// The source address of what we send by it ourselves.
    pub source: Option<IpAddr>,
    pub origin: Origin,
}

/// What the kernel shall have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// By the kernel's name. Others are left as they are.
    pub links: BTreeMap<IfName, DesiredLink>,
    pub addresses: BTreeMap<AddressKey, DesiredAddress>,
    pub routes: Vec<Route>,
    pub sysctls: BTreeMap<String, String>,
    /// Links whose lease is not known yet: what an earlier run of this service left there stays
    /// until it is confirmed, replaced or expired.
    pub held: BTreeSet<IfName>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredLink {
    pub make: Option<Make>,
    pub mtu: Option<u32>,
    /// The bridge that it is a port of.
    pub bridge: Option<IfName>,
    /// The VLANs of a port, where its bridge filters them.
    pub vlans: Option<BTreeMap<VlanId, PortVlan>>,
}

/// An interface that we make.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Make {
    Bridge { vlan_filtering: bool, stp: bool },
    Vlan { id: VlanId, parent: IfName },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DesiredAddress {
    pub origin: Origin,
    /// Seconds on the service's clock.
    pub valid_until_s: Option<u64>,
}

/// One change to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    DeleteRoute(Route),
    DeleteAddress(AddressKey),
    ReleasePort {
        link: IfName,
    },
    DeleteLink {
        link: IfName,
    },
    CreateLink {
        link: IfName,
        make: Make,
    },
    SetBridge {
        link: IfName,
        vlan_filtering: bool,
        stp: bool,
    },
    SetMtu {
        link: IfName,
        mtu: u32,
    },
    JoinBridge {
        link: IfName,
        bridge: IfName,
    },
    DeletePortVlan {
        link: IfName,
        id: VlanId,
    },
    PutPortVlan {
        link: IfName,
        id: VlanId,
        how: PortVlan,
    },
    SetSysctl {
        path: String,
        value: String,
    },
    SetUp {
        link: IfName,
    },
    PutAddress {
        key: AddressKey,
        address: DesiredAddress,
    },
    PutRoute(Route),
}

impl Origin {
    /// Whether this service put it there, so that it may take it away.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Lease | Self::Static)
    }
}

impl std::fmt::Display for AddressKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.link, self.ip, self.prefix_len)
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            RouteKind::Unicast => {}
            RouteKind::Blackhole => f.write_str("blackhole ")?,
            RouteKind::Prohibit => f.write_str("prohibit ")?,
            RouteKind::Unreachable => f.write_str("unreachable ")?,
        }
        write!(f, "{}", self.to)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        write!(f, " metric {} table {}", self.metric, self.table)
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DeleteRoute(route) => write!(f, "remove the route {route}"),
            Self::DeleteAddress(key) => write!(f, "remove the address {key}"),
            Self::ReleasePort { link } => write!(f, "take {link} out of its bridge"),
            Self::DeleteLink { link } => write!(f, "remove {link}"),
            Self::CreateLink {
                link,
                make: Make::Bridge { .. },
            } => write!(f, "make the bridge {link}"),
            Self::CreateLink {
                link,
                make: Make::Vlan { id, parent },
            } => {
                write!(f, "make {link}, VLAN {id:?} of {parent}")
            }
            Self::SetBridge { link, .. } => write!(f, "set the bridge {link}"),
            Self::SetMtu { link, mtu } => write!(f, "set the MTU of {link} to {mtu}"),
            Self::JoinBridge { link, bridge } => write!(f, "make {link} a port of {bridge}"),
            Self::DeletePortVlan { link, id } => write!(f, "remove VLAN {id:?} from port {link}"),
            Self::PutPortVlan { link, id, .. } => write!(f, "add VLAN {id:?} to port {link}"),
            Self::SetSysctl { path, value } => write!(f, "set {path} to {value}"),
            Self::SetUp { link } => write!(f, "bring {link} up"),
            Self::PutAddress { key, .. } => write!(f, "add the address {key}"),
            Self::PutRoute(route) => write!(f, "add the route {route}"),
        }
    }
}
