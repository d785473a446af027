//! The status page on the serial line and the screen.
//!
//! Responsible for: showing what PID 1 and the network service say, the log of a service, and a few
//! keys that change the machine after a question; keeping escape sequences of others off the
//! terminal; staying readable on a slow 80x24 line of which nothing is known; letting a person log
//! in, with the configured password where there is one, and lending the terminal to `x0ctl`.
//! Not responsible for: what a person may do there (`admin`), or any state: it can be killed at any
//! time.
//! Talks to: PID 1 (`/run/x0/init.sock`), the store (the section `login`, events),
//! `/run/x0/network/status.json`, the terminals.
#![deny(unsafe_code)]

mod asker;
mod carrier;
mod config;
pub mod core;
mod entry;
mod gate;
pub mod input;
mod log;
pub mod model;
pub mod network;
mod once;
mod page;
mod run;
pub mod screen;
mod seat;
mod sections;
mod session;
mod terminal;
pub mod text;
mod throttle;

pub use config::{ArgumentError, Config, Mode, USAGE};
pub use entry::Secret;
pub use once::once;
pub use run::{RunError, run};
pub use session::{Shell, become_session};
