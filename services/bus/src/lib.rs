//! Starts and feeds the system bus.
#![forbid(unsafe_code)]
