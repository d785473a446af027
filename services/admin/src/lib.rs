//! The appliance on D-Bus: who may do what, and the record of it.
#![forbid(unsafe_code)]
