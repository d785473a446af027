//! The packets that this service sends and receives itself: DHCP before there is an address, and
//! IPv6 router advertisements. The only place with sockets beside `kernel.rs`.

mod icmp;
mod packet;

pub use icmp::{IcmpSocket, Solicitation};
pub use packet::PacketSocket;
