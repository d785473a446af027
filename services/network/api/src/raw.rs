//! The document's form: what serde checks. The meaning is checked in `check.rs`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use toml::Spanned;

use crate::address::Prefix;
use crate::document::{Advertiser, Ipv4Method, Ipv6Method, Role, RouteKind};
use crate::name::{DomainName, Hostname, IfName, MacAddr, Pattern};
use crate::number::{Mtu, VlanId};
use crate::sysctl::{SysctlKey, SysctlValue};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Document {
    pub(crate) system: System,
    pub(crate) network: Network,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct System {
    pub(crate) hostname: Option<Hostname>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    pub(crate) dns: Option<Spanned<Vec<IpAddr>>>,
    pub(crate) forwarding: Option<bool>,
    pub(crate) link: BTreeMap<Spanned<IfName>, Link>,
    pub(crate) route: Vec<Spanned<Route>>,
    pub(crate) search: Option<Spanned<Vec<DomainName>>>,
    pub(crate) sysctl: Option<Spanned<BTreeMap<SysctlKey, SysctlValue>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Link {
    pub(crate) advertise: Option<Spanned<Advertise>>,
    pub(crate) bridge: Option<Spanned<Bridge>>,
    pub(crate) ipv4: Option<Spanned<Ipv4>>,
    pub(crate) ipv6: Option<Spanned<Ipv6>>,
    #[serde(rename = "match")]
    pub(crate) matches: Option<Spanned<Match>>,
    pub(crate) mtu: Option<Spanned<Mtu>>,
    pub(crate) port: Option<Spanned<Port>>,
    pub(crate) role: Role,
    pub(crate) vlan: Option<Spanned<Vlan>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    pub(crate) driver: Option<Pattern>,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) name: Option<Pattern>,
    pub(crate) path: Option<Pattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vlan {
    pub(crate) id: VlanId,
    pub(crate) parent: Spanned<IfName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bridge {
    #[serde(default)]
    pub(crate) ports: Vec<Spanned<IfName>>,
    #[serde(default)]
    pub(crate) stp: bool,
    #[serde(default)]
    pub(crate) vlan_filtering: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    #[serde(default)]
    pub(crate) tagged: Vec<VlanId>,
    pub(crate) untagged: Option<VlanId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ipv4 {
    #[serde(default)]
    pub(crate) addresses: Vec<Spanned<String>>,
    pub(crate) gateway: Option<Spanned<Ipv4Addr>>,
    pub(crate) method: Option<Ipv4Method>,
    pub(crate) metric: Option<u32>,
    pub(crate) use_dns: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ipv6 {
    #[serde(default)]
    pub(crate) addresses: Vec<Spanned<String>>,
    pub(crate) gateway: Option<Spanned<Ipv6Addr>>,
    pub(crate) method: Option<Ipv6Method>,
    pub(crate) metric: Option<u32>,
    pub(crate) use_dns: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Advertise {
    #[serde(default)]
    pub(crate) dnssl: Vec<DomainName>,
    pub(crate) interval_max_s: Option<Spanned<u16>>,
    pub(crate) mtu: Option<Mtu>,
    pub(crate) prefixes: Option<Vec<Spanned<AdvertisedPrefix>>>,
    #[serde(default)]
    pub(crate) rdnss: Vec<Ipv6Addr>,
    #[serde(default)]
    pub(crate) router: Advertiser,
    pub(crate) router_lifetime_s: Option<Spanned<u16>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdvertisedPrefix {
    pub(crate) preferred_s: Option<u32>,
    pub(crate) prefix: Prefix,
    pub(crate) valid_s: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) dev: Option<Spanned<IfName>>,
    #[serde(default)]
    pub(crate) kind: RouteKind,
    #[serde(default)]
    pub(crate) metric: u32,
    pub(crate) table: Option<u32>,
    pub(crate) to: Prefix,
    pub(crate) via: Option<IpAddr>,
}
