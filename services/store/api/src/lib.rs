//! How services talk to the store.
#![forbid(unsafe_code)]
