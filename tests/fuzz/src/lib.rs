//! Throws hostile bytes at every parser of the appliance.
//!
//! Responsible for: the list of parsers that take bytes from outside, valid input of each to start
//! from, and the driver that mutates it. `cargo test -p fuzz` runs a fixed number of inputs from a
//! fixed seed; `ci/campaign fuzz` goes on for as long as asked.
//! Not responsible for: what a parser has to answer; here it only has to return, soon, without a
//! panic. Entries with stronger promises check those themselves (`bootstate::fuzz`).
//! Talks to: nobody.
#![forbid(unsafe_code)]

mod driver;
mod mutate;
mod seeds;
mod targets;

pub use driver::{Failure, Limit, Outcome, run};
pub use targets::{TARGETS, Target};
