//! Service manifests: what a `services/<name>/service.toml` may say, and the one table that the
//! image carries.
//!
//! Responsible for: parsing with errors that name file, line, column and key; checks across
//! services (unknown needs, cycles, user ids used twice); compiling all manifests into a [`Table`]
//! in an order in which every service comes after what it needs; loading that table within bounds.
//! Not responsible for: starting anything, or finding manifests on a running appliance; the set of
//! services is fixed when the image is built.
//! What a service may touch is denied unless its manifest grants it; the types in [`Files`], [`Net`],
//! [`Socket`], [`Bus`] and [`SyscallGroup`] say what each key means. A grant may carry a reason:
//!
//! ```toml
//! syscalls = ["network-io"]
//! [files]
//! read = ["/run/x0/store"]            # folder of another service's socket
//! [net]
//! access = "host"
//! tcp_bind = [9100]
//! [reasons]
//! "net.tcp_bind.9100" = "off until the configuration asks for it"
//! ```
//!
//! Talks to: nobody. The image builder compiles, PID 1 loads.
#![forbid(unsafe_code)]

mod accounts;
mod check;
mod compile;
mod grants;
mod names;
mod source;
mod syscalls;
mod table;

pub use accounts::{CONTROL_GROUP_ID, VIEW_GROUP_ID, group_file, group_id, passwd_file};
pub use compile::{CompileError, compile, compile_sources};
pub use grants::{
    AnyPort, Bus, Files, InvalidMode, Mode, Net, NetAccess, Ports, Socket, SocketKind,
};
pub use names::{Capability, InvalidName, Name};
pub use source::{Manifest, ManifestError, parse};
pub use syscalls::{Filter, InvalidFilter, SyscallGroup, groups_with, syscall_name};
pub use table::{
    Kind, Limits, LoadError, MAX_SERVICES, MAX_TABLE_BYTES, Policy, Readiness, Restart, Service,
    Table, User,
};
