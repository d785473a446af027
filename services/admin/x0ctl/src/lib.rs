//! The command line of the appliance.
#![forbid(unsafe_code)]
