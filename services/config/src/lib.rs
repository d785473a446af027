//! The one configuration document: its sections, schema, checks and differences.
#![forbid(unsafe_code)]
