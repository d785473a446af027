//! The status page on the serial line and the screen.
//!
//! Responsible for: showing what PID 1 and the network service say, the log of a service, and a few
//! keys that change the machine after a question; keeping escape sequences of others off the
//! terminal; staying readable on a slow 80x24 line of which nothing is known.
//! Not responsible for: who may sit at the terminal, or any state: it can be killed at any time.
//! Talks to: PID 1 (`/run/x0/init.sock`), `/run/x0/network/status.json`, the terminals.
#![forbid(unsafe_code)]

mod asker;
mod config;
pub mod core;
pub mod input;
mod log;
pub mod model;
pub mod network;
mod once;
mod page;
mod run;
pub mod screen;
mod sections;
mod terminal;
pub mod text;

pub use config::{ArgumentError, Config, Mode, USAGE};
pub use once::once;
pub use run::{RunError, run};
