use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What `network` tells about itself in `/run/x0/network/status.json`, for those who only look. The
/// file is replaced as a whole whenever something in it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where the configuration comes from.
    pub configuration: String,
    /// The store's number for it.
    #[serde(default)]
    pub generation: Option<u64>,
    /// The document's links, in its order.
    pub links: Vec<LinkStatus>,
    /// Next hops of default routes, best first.
    pub gateways: Vec<Gateway>,
    /// DNS servers in use.
    pub dns: Vec<IpAddr>,
    /// What is not as the document wants it, in words for a person.
    pub problems: Vec<String>,
    /// How many changes this run has made to the kernel.
    pub changes: u64,
}

/// One link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The document's name for it.
    pub name: String,
    /// The kernel's name, where there is such an interface.
    pub interface: Option<String>,
    /// `wan`, `lan` or `none`.
    pub role: String,
    /// Switched on.
    pub up: bool,
    /// A cable with somebody on its other end.
    pub carrier: bool,
    /// Hardware address.
    pub mac: Option<String>,
    /// In bytes.
    pub mtu: u32,
    /// Without the link-local ones.
    pub addresses: Vec<AddressStatus>,
    /// Where this link asks a DHCP server.
    pub dhcp: Option<DhcpStatus>,
    /// Whether router advertisements are sent.
    pub advertising: bool,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// With its prefix length.
    pub address: String,
    /// `static`, `dhcp`, `ra` or `other`.
    pub origin: String,
}

/// The DHCP client of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpStatus {
    /// `no link`, `looking for a server`, `confirming`, `bound`, `renewing`, `rebinding` or
    /// `refused`.
    pub phase: String,
    /// Who leased the address.
    pub server: Option<IpAddr>,
}

/// A next hop of a default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its address.
    pub address: IpAddr,
    /// The kernel's name of the interface that leads to it.
    pub interface: String,
    /// Lower wins.
    pub metric: u32,
    /// `static`, `dhcp` or `ra`.
    pub origin: String,
}
