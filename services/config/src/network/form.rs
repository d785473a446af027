//! `[network]` as it is written: what serde checks. The meaning is checked in `check.rs`. The texts
//! are also those of the JSON Schema.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Deserialize;

use super::address::{Address, Prefix};
use super::model::{Advertiser, Ipv4Method, Ipv6Method, Role, RouteKind};
use super::name::{DomainName, IfName, MacAddr, Pattern};
use super::number::{Mtu, VlanId};
use super::sysctl::{SysctlKey, SysctlValue};

/// Links, addresses and routes. Without any link the built-in ones apply: the first card is the
/// WAN, each further one a LAN.
#[derive(Debug, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(rename = "network")]
pub struct Network {
    /// DNS servers, used before those learnt from DHCP and router advertisements.
    #[schemars(length(max = 8))]
    pub dns: Vec<IpAddr>,
    /// Whether packets are forwarded between links (true).
    pub forwarding: Option<bool>,
    /// By interface name, or with `match` by a name of your choice.
    #[schemars(with = "BTreeMap<IfName, Link>", extend("maxProperties" = 256))]
    pub link: BTreeMap<String, Link>,
    /// Static routes beside those of the links' gateways.
    #[schemars(length(max = 1024))]
    pub route: Vec<Route>,
    /// DNS search list.
    #[schemars(length(max = 6))]
    pub search: Vec<DomainName>,
    /// Further kernel settings, from a list of allowed ones.
    #[schemars(with = "BTreeMap<SysctlKey, SysctlValue>", extend("maxProperties" = 64))]
    pub sysctl: BTreeMap<String, SysctlValue>,
}

/// A card that exists, or with `vlan` or `bridge` an interface that is made.
#[derive(Debug, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(rename = "link")]
pub struct Link {
    /// Router advertisements sent on this link.
    pub advertise: Option<Advertise>,
    /// A bridge of these links.
    pub bridge: Option<Bridge>,
    /// IPv4 on this link.
    pub ipv4: Option<Ipv4>,
    /// IPv6 on this link.
    pub ipv6: Option<Ipv6>,
    /// Which card it is; all that are given have to fit.
    #[serde(rename = "match")]
    pub matches: Option<Match>,
    /// In bytes.
    pub mtu: Option<Mtu>,
    /// VLANs, where it is a port of a bridge that filters them.
    pub port: Option<Port>,
    /// Which side of the router it is on (none).
    pub role: Role,
    /// A VLAN of another link.
    pub vlan: Option<Vlan>,
}

/// Which card; all that are given have to fit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "match", extend("minProperties" = 1))]
pub struct Match {
    /// Its driver, such as `igc`; may hold `*` and `?`.
    pub driver: Option<Pattern>,
    /// Its permanent hardware address.
    pub mac: Option<MacAddr>,
    /// Its name; may hold `*` and `?`.
    pub name: Option<Pattern>,
    /// Its device's path below `/sys/devices`; may hold `*` and `?`.
    pub path: Option<Pattern>,
}

/// A VLAN of another link.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "vlan")]
pub struct Vlan {
    /// Its number.
    pub id: VlanId,
    /// The link that carries it.
    pub parent: IfName,
}

/// A bridge.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "bridge")]
pub struct Bridge {
    /// The links that are its ports.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub ports: Vec<IfName>,
    /// Whether it speaks the spanning tree protocol (false).
    #[serde(default)]
    pub stp: bool,
    /// Whether it keeps VLANs apart by its ports' `port` tables (false).
    #[serde(default)]
    pub vlan_filtering: bool,
}

/// The VLANs of a bridge's port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "port")]
pub struct Port {
    /// VLANs that come and leave with a tag.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub tagged: Vec<VlanId>,
    /// The VLAN of what comes without a tag.
    pub untagged: Option<VlanId>,
}

/// IPv4 on a link.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "ipv4")]
pub struct Ipv4 {
    /// With their prefix length: `192.0.2.1/24`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub addresses: Vec<Address>,
    /// The default route's next hop.
    pub gateway: Option<Ipv4Addr>,
    /// Where addresses come from (static where there are some, else dhcp on a WAN, else off).
    pub method: Option<Ipv4Method>,
    /// Metric of the link's default and DHCP routes (100).
    pub metric: Option<u32>,
    /// Whether DNS servers learnt here are used (true).
    pub use_dns: Option<bool>,
}

/// IPv6 on a link.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "ipv6")]
pub struct Ipv6 {
    /// With their prefix length: `2001:db8::1/64`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub addresses: Vec<Address>,
    /// The default route's next hop.
    pub gateway: Option<Ipv6Addr>,
    /// Where addresses come from (static where there are some, else auto on a WAN, else off).
    pub method: Option<Ipv6Method>,
    /// Metric of the link's static default route (100).
    pub metric: Option<u32>,
    /// Whether DNS servers learnt here are used (true).
    pub use_dns: Option<bool>,
}

/// Router advertisements (RFC 4861 section 6.2).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "advertise")]
pub struct Advertise {
    /// DNS search list for hosts (RFC 8106).
    #[serde(default)]
    #[schemars(length(max = 6))]
    pub dnssl: Vec<DomainName>,
    /// At most this long between two advertisements, in seconds (600).
    #[schemars(range(min = 4, max = 1800))]
    pub interval_max_s: Option<u16>,
    /// The link's MTU, told to hosts.
    pub mtu: Option<Mtu>,
    /// Prefixes for hosts to make addresses from (those of the link's static addresses).
    #[schemars(length(max = 8))]
    pub prefixes: Option<Vec<AdvertisedPrefix>>,
    /// DNS servers for hosts (RFC 8106).
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub rdnss: Vec<Ipv6Addr>,
    /// Whether hosts shall use this router as their default router (auto).
    #[serde(default)]
    pub router: Advertiser,
    /// For how long, in seconds (1800); from `interval_max_s` to 9000.
    #[schemars(range(min = 4, max = 9000))]
    pub router_lifetime_s: Option<u16>,
}

/// A prefix that hosts make addresses from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "advertised-prefix")]
pub struct AdvertisedPrefix {
    /// For how long its addresses are preferred, in seconds (2700).
    pub preferred_s: Option<u32>,
    /// An IPv6 /64.
    pub prefix: Prefix,
    /// For how long its addresses are valid, in seconds (5400).
    pub valid_s: Option<u32>,
}

/// A static route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(rename = "route")]
pub struct Route {
    /// The link that it leaves by.
    pub dev: Option<IfName>,
    /// What happens to packets (unicast).
    #[serde(default)]
    pub kind: RouteKind,
    /// Lower wins (0).
    #[serde(default)]
    pub metric: u32,
    /// Routing table (254, the main one).
    #[schemars(range(min = 1))]
    pub table: Option<u32>,
    /// The destination; `0.0.0.0/0` and `::/0` are the default routes.
    pub to: Prefix,
    /// The next hop.
    pub via: Option<IpAddr>,
}
