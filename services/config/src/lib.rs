//! The router's one configuration document: its sections, its schema, and the difference between
//! two documents.
//!
//! Responsible for: parsing one bounded TOML text into types in which an invalid value cannot exist,
//! the checks within and across sections, problems with line, column and a suggestion, the JSON
//! Schema, comparing documents with secrets hidden, changing a key of a text.
//! Not responsible for: reading files, keeping generations (`store`), applying anything.
//! Talks to: nobody. `store` parses with it, services read their sections with it, `x0ctl` edits
//! and compares with it.
//!
//! # The document
//!
//! Unknown keys are refused. Everything is optional; a document without any `network.link` gets the
//! built-in links ([`Network::with_default_links`]): the first card is the WAN, each further one a
//! LAN.
//!
//! ```toml
#![doc = include_str!("../example.toml")]
//! ```
//!
//! # A service's section
//!
//! The store hands out sections as JSON, as they were written. [`Section::read`] makes the typed,
//! checked value of them:
//!
//! ```
//! use config::{Metrics, Section as _};
//!
//! let sections = serde_json::json!({ "metrics": { "listen": ["192.168.77.1"] } });
//! let metrics = Metrics::read(sections.as_object().unwrap()).unwrap();
//! assert_eq!(metrics.sockets().next().unwrap().to_string(), "192.168.77.1:9100");
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod as_text;
mod diff;
mod document;
pub mod edit;
mod form;
mod listen;
mod login;
mod metrics;
mod network;
mod path;
mod place;
mod problem;
mod remote;
mod schema;
mod secret;
mod section;
mod ssh_key;
mod system;
mod text;

pub use diff::{Change, Diff, diff};
pub use document::{Document, check_sections};
pub use listen::{Listen, ListenError};
pub use login::{Login, PasswordHash};
pub use metrics::Metrics;
pub use network::{
    Address, AddressError, Advertise, AdvertisedPrefix, Advertiser, Bridge, DomainName, Hostname,
    IfName, Ipv4, Ipv4Method, Ipv6, Ipv6Method, Link, LinkKind, MacAddr, Match, Mtu, NameError,
    Network, NumberError, Pattern, PortVlans, Prefix, Role, Route, RouteKind, SysctlError,
    SysctlKey, SysctlValue, VlanId,
};
pub use path::{Path, PathError, Segment};
pub use problem::{Problem, Problems};
pub use remote::Remote;
pub use schema::schema;
pub use secret::{SECRETS, public_sections};
pub use section::Section;
pub use ssh_key::{SshKey, SshKeyError};
pub use system::System;
pub use text::SIZE_MAX_BYTES;

/// The document's sections, in the order in which people write them.
pub const SECTIONS: &[&str] = &["system", "network", "login", "remote", "metrics"];
