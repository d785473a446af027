//! Sole owner of what the appliance remembers.
#![forbid(unsafe_code)]
