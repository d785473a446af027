//! A DHCPv4 client (RFC 2131): messages, the state machine, and nothing that touches a socket.

pub mod client;
pub mod frame;
pub mod lease;
pub mod message;

#[cfg(test)]
mod tests;
