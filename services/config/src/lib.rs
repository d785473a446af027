//! The router's one configuration document: its sections, its schema, and the difference between
//! two documents.
//!
//! Responsible for: parsing one bounded TOML text, refusing what is not in the schema with line,
//! column and a suggestion, the JSON Schema, comparing documents with secrets hidden.
//! Not responsible for: reading files, keeping generations (`store`), applying anything, and what
//! `[network]` means (`network-api`).
//! Talks to: nobody. `store` parses with it, services read their sections with it, `x0ctl` edits
//! and compares with it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod diff;
mod document;
mod problem;
mod schema;

pub use diff::{Change, Diff, diff};
pub use document::Document;
pub use problem::{Problem, Problems};
pub use schema::schema;

/// A document longer than this is refused unread.
pub const SIZE_MAX_BYTES: usize = network_api::SIZE_MAX_BYTES;

/// The document's sections, in the order in which people write them.
pub const SECTIONS: &[&str] = &["system", "network"];
