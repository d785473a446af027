//! The store's interface: `org.x0tta6bl4.Store`, spoken in Varlink over `/run/x0/store/store.sock`.
//!
//! Responsible for: the types on the wire, the interface description, named errors, and a blocking
//! client with a deadline on every call. Clients and streams offer their descriptor ([`AsFd`]), so
//! that a poll loop can wait for them.
//! Not responsible for: serving the interface (`store` does), or who may call what (the store asks
//! the kernel who the caller is).
//! Talks to: the store.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use store_api::Client;
//!
//! let mut store = Client::connect(store_api::SOCKET)?;
//! let version = store.put("lease/wan", &serde_json::json!({ "address": "192.0.2.7" }), None)?;
//! store.put("lease/wan", &serde_json::json!({ "address": "192.0.2.8" }), Some(version))?;
//!
//! // A stream takes a connection of its own. Wait for its descriptor, then take all there is.
//! let mut updates = Client::connect(store_api::SOCKET)?.follow_configuration()?;
//! while let Some(configuration) = updates.next(Duration::from_secs(1))? {
//!     store.applied(configuration.generation, Ok(()))?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`AsFd`]: std::os::fd::AsFd
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client;
mod connection;
mod error;
mod follow;
mod types;
pub mod wire;

pub use client::{BackupError, Client, EventFilter};
pub use connection::{CallError, ConnectError, Stream};
pub use error::Refusal;
pub use follow::{FollowError, follow};
pub use types::{
    Application, BackupSummary, Change, Configuration, ConfigurationStatus, Editor, Entry, Event,
    Generation, GenerationState, Pending, Problem, Statistics, Verdict,
};

/// The interface's name.
pub const INTERFACE: &str = "org.x0tta6bl4.Store";
/// The interface in Varlink's own notation.
pub const DESCRIPTION: &str = include_str!("org.x0tta6bl4.Store.varlink");
/// Where the store listens.
pub const SOCKET: &str = "/run/x0/store/store.sock";
