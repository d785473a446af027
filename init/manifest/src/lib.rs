//! Service manifests: what a `services/<name>/service.toml` may say, and the one table that the
//! image carries.
//!
//! Responsible for: parsing with errors that name file, line, column and key; checks across
//! services (unknown needs, cycles, user ids used twice); compiling all manifests into a [`Table`]
//! in an order in which every service comes after what it needs; loading that table within bounds.
//! Not responsible for: starting anything, or finding manifests on a running appliance; the set of
//! services is fixed when the image is built.
//! Talks to: nobody. The image builder compiles, PID 1 loads.
#![forbid(unsafe_code)]

mod accounts;
mod compile;
mod names;
mod source;
mod table;

pub use accounts::{CONTROL_GROUP_ID, group_file, group_id, passwd_file};
pub use compile::{CompileError, compile, compile_sources};
pub use names::{Capability, InvalidName, Name};
pub use source::{Manifest, ManifestError, parse};
pub use table::{
    Kind, Limits, LoadError, MAX_SERVICES, MAX_TABLE_BYTES, Policy, Readiness, Restart, Service,
    Table, User,
};
