//! The appliance on D-Bus: `org.x0tta6bl4.Init1`, `Config1` and `Store1`.
//!
//! Responsible for: objects, properties and their changes, jobs, named errors; who may do what
//! (Cedar policies over the caller's user and groups, as the bus vouches for them); the record of
//! every change.
//! Not responsible for: doing it (PID 1 and the store do), who may reach the bus and this service
//! on it (the bus's own policy), holding state of its own.
//! Talks to: the bus, PID 1 (`init-api`), the store (`store-api`).
#![forbid(unsafe_code)]

mod backend;
pub mod caller;
mod config;
pub mod dbus;
mod editing;
mod error;
mod follow;
pub mod fuzz;
mod hub;
mod job;
pub mod options;
pub mod policy;
mod presence;
mod publish;
mod record;
mod serve;
mod session;

pub use config::Config;
pub use error::Error;
pub use serve::{RunError, run};
