//! The service `network`: brings the kernel's links, addresses, routes and network settings to what
//! the configuration document says, and keeps them there.
//!
//! Responsible for: cards, bridges and VLANs, static addresses and routes, a DHCPv4 client, IPv6
//! autoconfiguration (done by the kernel, switched on here), router advertisements, forwarding and
//! other settings below `/proc/sys/net`, `resolv.conf`, and a status file; applying the difference
//! when the store hands out another generation, and telling it what became of that.
//! Not responsible for: routes of mesh and links of other programs (told apart by the kernel's
//! protocol number and link group, and never touched), packet filters, what a document means
//! (`config`), taking back what was applied (the store does, and this service follows).
//! Talks to: the kernel by rtnetlink, DHCP servers, hosts that look for a router; the store for its
//! configuration, without which it keeps the last good one; PID 1 for readiness; `status.json` is for whoever looks.
//!
//! Modules in reading order: `state` (what there is and shall be), `core` (the actions between the
//! two), `desired` (what the document means here), `dhcp` and `ra` (protocols, without I/O),
//! `source` and `news` (the configuration), `service` (the loop); `kernel` and `net` are the only ones that touch the outside.

pub mod config;
pub mod core;
pub mod desired;
pub mod dhcp;
pub mod kernel;
pub mod net;
pub mod news;
pub mod ra;
pub mod random;
pub mod report;
pub mod retry;
pub mod service;
pub mod source;
pub mod state;
mod watch;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use config::Options;
use service::{Service, StartError};

/// Runs the service until `shutdown` becomes readable.
///
/// # Errors
/// When it cannot run at all. What goes wrong later becomes a problem in its status.
pub fn run(options: Options, shutdown: UnixStream) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Signals)?;
    runtime.block_on(async {
        let shutdown = tokio::net::UnixStream::from_std(shutdown).map_err(StartError::Signals)?;
        Service::new(options, seed())?.run(&shutdown).await
    })
}

/// A number that differs from run to run.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    let read: io::Result<()> =
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if let Err(error) = read {
        // Two machines that start together would then ask a server in step, and no worse.
        tracing::warn!(%error, "no random numbers; using the process id");
        bytes = u64::from(std::process::id()).to_ne_bytes();
    }
    u64::from_ne_bytes(bytes)
}
