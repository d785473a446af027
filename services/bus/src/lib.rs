//! The system bus: starts Debian's `dbus-broker` and is its controller.
//!
//! Responsible for: handing the listening socket that PID 1 made to the broker, together with the
//! policy that follows from the manifests; telling PID 1 when the broker serves; asking it again
//! and again whether it still does; its log lines.
//! Not responsible for: moving messages (the broker), what a caller may do behind a name that it
//! may call (the service that owns the name), starting services on demand (all run always).
//! Talks to: `dbus-broker`, through a socket pair; PID 1, through `NOTIFY_SOCKET`.
//!
//! When the broker ends, so does this service, and PID 1 starts both anew: a broker without a
//! controller, or the other way round, is of no use to anyone.
#![deny(unsafe_code)]

mod broker;
mod config;
mod controller;
mod listener;
mod log;
pub mod policy;
mod service;
mod wire;

pub use config::Config;
pub use service::{BusError, run};
