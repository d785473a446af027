//! The appliance's kernel, built from Debian's source and the fragments in this folder.
//!
//! Responsible for: which options the kernel has and why (`*.config`), that each of them survived
//! Kconfig, that the result is hardened as far as `deviations.toml` says, a reproducible build, and
//! a cache of what was built. Not responsible for: signing and packing it (crate `image`), and the
//! kernel command line.
//! Talks to: `tar`, `make`, `objcopy`, `dpkg-query`, and the files of the cache.

#![forbid(unsafe_code)]

mod build;
mod config;
mod date;
mod hardening;
mod key;
mod source;

pub use build::{EnsureError, KernelBuild, KernelRequest, ensure};
pub use config::{Config, FragmentError, Lost, Requests, Value};
pub use hardening::{CheckError, Deviation, Finding, Hardening, Verdict};
pub use source::{InputError, Inputs};
