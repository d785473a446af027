use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{Address, Prefix};
use super::defaults;
use super::name::{DomainName, IfName, MacAddr, Pattern};
use super::number::{Mtu, VlanId};
use super::sysctl::{SysctlKey, SysctlValue};

/// `[network]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// By the name that the document gives them. Without any, the built-in ones apply.
    pub links: BTreeMap<IfName, Link>,
    /// Static routes beside those of the links' gateways.
    pub routes: Vec<Route>,
    /// DNS servers, in order, before the ones learnt.
    pub dns: Vec<IpAddr>,
    /// DNS search list.
    pub search: Vec<DomainName>,
    /// Whether packets are forwarded between links.
    pub forwarding: bool,
    /// Further kernel settings.
    pub sysctls: BTreeMap<SysctlKey, SysctlValue>,
}

/// `[network.link.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// A card that exists, or an interface to be made.
    pub kind: LinkKind,
    /// Which side of the router it is on.
    pub role: Role,
    /// Without one it stays as the kernel chose.
    pub mtu: Option<Mtu>,
    /// IPv4 on this link.
    pub ipv4: Ipv4,
    /// IPv6 on this link.
    pub ipv6: Ipv6,
    /// Router advertisements sent on this link.
    pub advertise: Option<Advertise>,
    /// VLANs, where it is a port of a bridge that filters them.
    pub port: Option<PortVlans>,
}

/// What kind of interface a link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// Made by us, with the link's name.
    Bridge(Bridge),
    /// A card that fits.
    Card(Match),
    /// Made by us, with the link's name.
    Vlan {
        /// Its number.
        id: VlanId,
        /// The link that carries it.
        parent: IfName,
    },
}

/// `match`: all that are given have to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The interface's name.
    pub name: Option<Pattern>,
    /// Its permanent hardware address.
    pub mac: Option<MacAddr>,
    /// Its driver, such as `igc`.
    pub driver: Option<Pattern>,
    /// Its device's path below `/sys/devices`.
    pub path: Option<Pattern>,
}

/// `bridge`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// The links that are its ports.
    pub ports: Vec<IfName>,
    /// Whether it keeps VLANs apart by its ports' `port` tables.
    pub vlan_filtering: bool,
    /// Whether it speaks the spanning tree protocol.
    pub stp: bool,
}

/// `port`: the VLANs of a bridge's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortVlans {
    /// What comes untagged belongs to this VLAN, and it leaves untagged.
    pub untagged: Option<VlanId>,
    /// These come and leave with a tag.
    pub tagged: Vec<VlanId>,
}

/// Which side of the router a link is on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Hosts that we serve.
    Lan,
    /// Neither.
    #[default]
    None,
    /// The way to the internet.
    Wan,
}

/// `ipv4`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ipv4 {
    /// Where addresses come from.
    pub method: Ipv4Method,
    /// Static ones; with DHCP beside the leased one.
    pub addresses: Vec<Address>,
    /// The default route's next hop.
    pub gateway: Option<Ipv4Addr>,
    /// Metric of this link's default and DHCP routes.
    pub metric: u32,
    /// Whether DNS servers learnt here are used.
    pub use_dns: bool,
}

/// `ipv6`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ipv6 {
    /// Where addresses come from.
    pub method: Ipv6Method,
    /// Static ones; with `auto` beside the learnt ones.
    pub addresses: Vec<Address>,
    /// The default route's next hop.
    pub gateway: Option<Ipv6Addr>,
    /// Metric of this link's static default route.
    pub metric: u32,
    /// Whether DNS servers learnt here are used.
    pub use_dns: bool,
}

/// Where IPv4 addresses come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ipv4Method {
    /// A DHCP server.
    Dhcp,
    /// No IPv4 on this link.
    #[default]
    Off,
    /// The document.
    Static,
}

/// Where IPv6 addresses come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6Method {
    /// Router advertisements (RFC 4862).
    Auto,
    /// No IPv6 on this link.
    #[default]
    Off,
    /// The document.
    Static,
}

/// `advertise`: router advertisements (RFC 4861 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advertise {
    /// Prefixes for hosts to make addresses from.
    pub prefixes: Vec<AdvertisedPrefix>,
    /// DNS servers for hosts (RFC 8106).
    pub rdnss: Vec<Ipv6Addr>,
    /// DNS search list for hosts (RFC 8106).
    pub dnssl: Vec<DomainName>,
    /// Whether hosts shall use us as their default router.
    pub router: Advertiser,
    /// For how long, in seconds: from `interval_max_s` to 9000.
    pub router_lifetime_s: u16,
    /// At most this long between two advertisements, in seconds: 4 to 1800.
    pub interval_max_s: u16,
    /// The link's MTU, told to hosts.
    pub mtu: Option<Mtu>,
}

/// A prefix that hosts on the link make addresses from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdvertisedPrefix {
    /// Always a /64 (RFC 4862 needs it on Ethernet).
    pub prefix: Prefix,
    /// For how long its addresses are preferred, in seconds.
    pub preferred_s: u32,
    /// For how long its addresses are valid, in seconds.
    pub valid_s: u32,
}

/// Whether we offer ourselves as default router.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Advertiser {
    /// Always.
    Always,
    /// While we have an IPv6 default route ourselves.
    #[default]
    Auto,
    /// Never: hosts get addresses, and find another router.
    Never,
}

/// `[[network.route]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The destination.
    pub to: Prefix,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The link that it leaves by.
    pub dev: Option<IfName>,
    /// Lower wins.
    pub metric: u32,
    /// Routing table; 254 is the main one.
    pub table: u32,
    /// What happens to packets.
    pub kind: RouteKind,
}

/// What happens to packets that fit a route.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Deserialize,
    Serialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Dropped in silence.
    Blackhole,
    /// Refused as administratively prohibited.
    Prohibit,
    /// Sent on.
    #[default]
    Unicast,
    /// Refused as unreachable.
    Unreachable,
}

impl Network {
    /// With the built-in links for these cards where the document has none of its own: the first
    /// card (in natural order of the names) is the WAN with DHCPv4 and IPv6 autoconfiguration; each
    /// further one is a LAN, the first with `192.168.77.1/24` and `fd77:7777:7777:1::1/64`, the next
    /// with `192.168.78.1/24` and `fd77:7777:7777:2::1/64` and so on, with router advertisements.
    ///
    /// There is room for 150 LANs; further cards stay without addresses.
    #[must_use]
    pub fn with_default_links<'a>(mut self, nics: impl IntoIterator<Item = &'a IfName>) -> Self {
        if self.links.is_empty() {
            self.links = defaults::links(nics);
        }
        self
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            links: BTreeMap::new(),
            routes: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
            forwarding: true,
            sysctls: BTreeMap::new(),
        }
    }
}

impl Default for Ipv4 {
    fn default() -> Self {
        Self {
            method: Ipv4Method::default(),
            addresses: Vec::new(),
            gateway: None,
            metric: defaults::METRIC,
            use_dns: true,
        }
    }
}

impl Default for Ipv6 {
    fn default() -> Self {
        Self {
            method: Ipv6Method::default(),
            addresses: Vec::new(),
            gateway: None,
            metric: defaults::METRIC,
            use_dns: true,
        }
    }
}

impl Default for Advertise {
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            rdnss: Vec::new(),
            dnssl: Vec::new(),
            router: Advertiser::default(),
            router_lifetime_s: defaults::ROUTER_LIFETIME_S,
            interval_max_s: defaults::INTERVAL_MAX_S,
            mtu: None,
        }
    }
}

impl Link {
    /// A card with this name and without addresses.
    #[must_use]
    pub fn card(name: &IfName) -> Self {
        Self {
            kind: LinkKind::Card(Match {
                name: Some(name.into()),
                ..Match::default()
            }),
            role: Role::None,
            mtu: None,
            ipv4: Ipv4::default(),
            ipv6: Ipv6::default(),
            advertise: None,
            port: None,
        }
    }
}
