//! Boots the appliance in QEMU and drives it.
//!
//! Responsible for: starting QEMU with firmware, disk copies and cards, the serial line as a screen,
//! QMP, PID 1's control interface, the bus and the fault agent over virtio ports, network namespaces at both
//! ends of the router, a deadline on every wait, and what is kept when a case fails.
//! Not responsible for: building the image (crate `image`) and what a case asserts
//! (`tests/tests/`).
//! Talks to: QEMU, `ip`, and the appliance through its serial line and three virtio ports.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

mod accelerator;
mod agent;
mod case;
pub mod disk;
mod firmware;
mod machine;
mod namespace;
mod qmp;
mod serial;
mod tool;
mod vm;
mod wait;

pub use ::agent::Request;
pub use accelerator::{Accelerator, accelerator};
pub use agent::Agent;
pub use case::{Case, case};
pub use firmware::Firmware;
pub use machine::{Boot, Card, Machine, SerialLine};
pub use namespace::{Namespace, Running};
pub use qmp::Qmp;
pub use serial::Serial;
pub use tool::tool;
pub use vm::{Vm, command};
pub use wait::{Deadline, wait_for};

/// The top of the checkout that this was compiled from.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What takes long to make and is keyed by its inputs: it outlives the checkout.
#[must_use]
pub fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("X0_CACHE") {
        return folder.into();
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    PathBuf::from(home).join(".cache/x0")
}
