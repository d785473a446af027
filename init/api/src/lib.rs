//! PID 1's control interface: `org.x0tta6bl4.Init`, spoken in Varlink over `/run/x0/init.sock`.
//!
//! Responsible for: the types on the wire, the interface description, and a blocking client with a
//! deadline on every call that works over a Unix socket, a virtio port or anything that reads and
//! writes.
//! Not responsible for: serving the interface (`init` does), or who may call it (the socket's mode
//! does: root and group `control`).
//! Talks to: PID 1.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client;
mod follow;
mod types;
pub mod wire;

pub use client::{CallError, Client, ConnectError, Stream};
pub use follow::{Follow, FollowEvents};
pub use types::{
    Blame, BlameEntry, Denial, Event, Explanation, Health, HealthState, LogLine, Power, Resources,
    ServiceState, ServiceStatus, Status,
};

/// The interface's name.
pub const INTERFACE: &str = "org.x0tta6bl4.Init";
/// The interface in Varlink's own notation.
pub const DESCRIPTION: &str = include_str!("org.x0tta6bl4.Init.varlink");
/// Where PID 1 listens.
pub const SOCKET: &str = "/run/x0/init.sock";
