//! The only contact with the kernel's network configuration: rtnetlink and `/proc/sys`.
//!
//! One socket asks and waits for the answer, which the kernel gives before `send` returns; the other
//! hears of changes. What it hears is only a bell: the state is always read anew, so an event that
//! was lost (`ENOBUFS`) costs nothing.

mod apply;
mod doorbell;
mod observe;
mod socket;
mod sysctl;

use std::collections::BTreeMap;

use config::IfName;
use thiserror::Error;

pub use doorbell::{Doorbell, Ring};
pub use socket::RequestError;

use crate::state::{Action, Observed};
use socket::RequestSocket;

/// The kernel of the network namespace that this thread is in.
#[derive(Debug)]
pub struct Kernel {
    socket: RequestSocket,
}

/// Why the kernel's state could not be read.
#[derive(Debug, Error)]
#[error("cannot read the kernel's {what}")]
pub struct ObserveError {
    what: &'static str,
    #[source]
    cause: RequestError,
}

/// Why an action failed.
#[derive(Debug, Error)]
pub enum ApplyError {
    #[error("there is no interface {0}")]
    NoLink(IfName),
    #[error("the kernel refused")]
    Request(#[source] RequestError),
    #[error("cannot write /proc/sys/{path}")]
    Sysctl {
        path: String,
        #[source]
        cause: std::io::Error,
    },
}

impl Kernel {
    /// # Errors
    /// When there is no netlink socket to be had.
    pub fn open() -> std::io::Result<Self> {
        Ok(Self {
            socket: RequestSocket::open()?,
        })
    }

    /// Reads links, addresses, and routes: ours and those of router advertisements.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn observe(&mut self, now_s: u64) -> Result<Observed, ObserveError> {
        observe::observe(&mut self.socket, now_s)
    }

    /// The current values of these settings; those that do not exist are left out.
    pub fn settings<'a>(
        &self,
        paths: impl Iterator<Item = &'a String>,
    ) -> BTreeMap<String, String> {
        paths
            .filter_map(|path| Some((path.clone(), sysctl::read(path)?)))
            .collect()
    }

    /// Whether packets to this address would be forwarded: there is a route that does not refuse.
    pub fn has_route(&mut self, to: std::net::IpAddr) -> bool {
        observe::has_route(&mut self.socket, to)
    }

    /// Does one change.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn apply(&mut self, action: &Action, now_s: u64) -> Result<(), ApplyError> {
        apply::apply(&mut self.socket, action, now_s)
    }
}

/// The mark on routes and addresses from the document (`rtm_protocol`, `IFA_PROTO`). Numbers of
/// routing protocols are in `linux/rtnetlink.h`; these two are free.
const PROTOCOL_STATIC: u8 = 120;
/// The same for those from a lease.
const PROTOCOL_LEASE: u8 = 121;
/// The mark on links: their group, "x0" in ASCII.
const GROUP: u32 = 0x7830;
