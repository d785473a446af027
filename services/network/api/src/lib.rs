//! The router's configuration document `x0.toml`: its schema, and the checks that a document has to
//! pass before anything acts on it.
//!
//! Responsible for: parsing one bounded TOML text into types in which an invalid value cannot exist,
//! the checks across tables, errors with line, column and a suggestion, and the document that
//! applies when there is none.
//! Not responsible for: reading files, and applying anything.
//! Talks to: nobody. `network` applies documents, `provision` imports them, `console` shows them.
//!
//! # The document
//!
//! Unknown keys are refused. Everything is optional; a document without any `network.link` gets the
//! built-in links ([`Document::default_for`]): the first card is the WAN, each further one a LAN.
//!
//! ```toml
#![doc = include_str!("../example.toml")]
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod check;
mod defaults;
mod document;
mod error;
mod name;
mod number;
mod raw;
mod status;
mod sysctl;

pub use address::{Address, AddressError, Prefix};
pub use document::{
    Advertise, AdvertisedPrefix, Advertiser, Bridge, Document, Ipv4, Ipv4Method, Ipv6, Ipv6Method,
    Link, LinkKind, Match, Network, PortVlans, Role, Route, RouteKind, System,
};
pub use error::{ParseError, Problem};
pub use name::{DomainName, Hostname, IfName, MacAddr, NameError, Pattern};
pub use number::{Mtu, NumberError, VlanId};
pub use status::{AddressStatus, DhcpStatus, Gateway, LinkStatus, Status};
pub use sysctl::{SysctlError, SysctlKey, SysctlValue};

/// A document longer than this is refused unread.
pub const SIZE_MAX_BYTES: usize = 1024 * 1024;
