//! IPv4 and UDP headers around DHCP messages, for the time before there is an address.

use std::net::Ipv4Addr;

/// The IPv4 packet that takes a DHCP message from a client to servers.
#[must_use]
pub fn wrap(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(8 + payload.len()).expect("DHCP requests are a few hundred bytes");
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[1] = 0xc0; // CS6: network control
    packet[2..4].copy_from_slice(&(20 + udp_len).to_be_bytes());
    packet[8] = 64;
    packet[9] = UDP;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    let checksum = !sum(&packet, 0);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());

    let mut datagram = Vec::with_capacity(udp_len.into());
    datagram.extend(CLIENT_PORT.to_be_bytes());
    datagram.extend(SERVER_PORT.to_be_bytes());
    datagram.extend(udp_len.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let mut pseudo = sum(&source.octets(), 0);
    pseudo = sum(&destination.octets(), pseudo);
    pseudo = sum(&[0, UDP], pseudo);
    pseudo = sum(&udp_len.to_be_bytes(), pseudo);
    // RFC 768: a sum of zero is sent as all ones.
    let checksum = match !sum(&datagram, pseudo) {
        0 => u16::MAX,
        checksum => checksum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(datagram);
    packet
}

/// The UDP payload of an IPv4 packet from a server to a client, or `None` where it is anything else.
///
/// The UDP checksum is not looked at: a packet from the same machine (a virtual card's other side)
/// has not got its checksum yet when a packet socket sees it.
#[must_use]
pub fn unwrap(packet: &[u8]) -> Option<&[u8]> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let header = packet.get(..header_len)?;
    if packet[0] >> 4 != 4 || header_len < 20 || sum(header, 0) != u16::MAX {
        return None;
    }
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[9] != UDP || fragment != 0 || total_len < header_len {
        return None;
    }
    // Behind the packet's own length there may be padding of the Ethernet frame.
    let datagram = packet.get(header_len..total_len)?;
    let (udp, payload) = datagram.split_at_checked(8)?;
    let ports = [
        u16::from_be_bytes([udp[0], udp[1]]),
        u16::from_be_bytes([udp[2], udp[3]]),
    ];
    let udp_len = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    if ports != [SERVER_PORT, CLIENT_PORT] {
        return None;
    }
    payload.get(..udp_len.checked_sub(8)?)
}

/// The ones' complement sum of RFC 1071.
fn sum(bytes: &[u8], start: u16) -> u16 {
    let mut sum = u32::from(start);
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum += u32::from(word);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("the carry is folded in after each addition")
}

const UDP: u8 = 17;
pub const CLIENT_PORT: u16 = 68;
pub const SERVER_PORT: u16 = 67;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet of ours, turned into one from a server.
    fn from_server(payload: &[u8]) -> Vec<u8> {
        let mut packet = wrap(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::BROADCAST, payload);
        packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
        packet
    }

    #[test]
    fn headers_are_sound() {
        let packet = wrap(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, b"odd");
        assert_eq!(sum(&packet[..20], 0), u16::MAX);
        let pseudo = sum(&[0, 17, 0, 11], sum(&packet[12..20], 0));
        assert_eq!(sum(&packet[20..], pseudo), u16::MAX);
    }

    #[test]
    fn takes_only_what_a_server_sends() {
        let mut packet = from_server(b"hello");
        packet.extend([0; 20]);
        assert_eq!(unwrap(&packet), Some(&b"hello"[..]));
        for (at, value) in [
            (0, 0x65),
            (0, 0x4f),
            (9, 6),
            (6, 0x20),
            (20, 1),
            (23, 67),
            (24, 9),
            (25, 3),
        ] {
            let mut broken = packet.clone();
            broken[at] = value;
            assert_eq!(unwrap(&broken), None, "byte {at} = {value}");
        }
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(bytes: Vec<u8>, at in 0usize..48, value: u8) {
            let _ = unwrap(&bytes);
            let mut packet = from_server(&bytes);
            prop_assert_eq!(unwrap(&packet), Some(bytes.as_slice()));
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
            let _ = unwrap(&packet);
        }
    }
}
