//! DHCP messages on the wire (RFC 2131 section 2, options of RFC 2132, 3396, 3442).
//!
//! Written here and not taken from a crate: the one that exists (`dhcproto`) brings a DNS library
//! with Unicode tables along, for a dozen options that a client needs. Whatever a server sends is
//! hostile: each length is checked, and a message is refused as a whole when one of them lies.

use std::net::Ipv4Addr;

use config::{DomainName, MacAddr, Prefix};
use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
}

/// What the client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    pub kind: Kind,
    pub transaction: u32,
    pub seconds: u16,
    pub mac: MacAddr,
    /// `ciaddr`: our address, where we can already answer under it.
    pub client: Option<Ipv4Addr>,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 12.
    pub hostname: Option<&'a str>,
}

/// What a server sends, as far as the client needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub kind: Kind,
    pub transaction: u32,
    pub mac: MacAddr,
    /// `yiaddr`
    pub address: Ipv4Addr,
    pub server: Option<Ipv4Addr>,
    /// A mask without holes, as a length.
    pub prefix_len: Option<u8>,
    pub routers: Vec<Ipv4Addr>,
    /// Option 121: the next hop 0.0.0.0 means on the link.
    pub classless_routes: Vec<(Prefix, Ipv4Addr)>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<DomainName>,
    pub mtu: Option<u16>,
    pub lease_s: Option<u32>,
    pub renew_s: Option<u32>,
    pub rebind_s: Option<u32>,
    /// Option 56, for the log.
    pub message: Option<String>,
}

/// Why a datagram is no reply from a DHCP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReplyError {
    #[error("it has {0} bytes, fewer than a DHCP message")]
    Short(usize),
    #[error("it is no reply for Ethernet, or without the magic cookie")]
    NoReply,
    #[error("it is for no Ethernet card")]
    HardwareAddress,
    #[error("option {0} does not fit where it stands")]
    Overrun(u8),
    #[error("option {0} has a length that it cannot have")]
    Length(u8),
    #[error("option {0} has a value that it cannot have")]
    Value(u8),
    #[error("it has no message type that a server sends")]
    Kind,
}

impl Request<'_> {
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS_AT];
        bytes[0] = 1; // BOOTREQUEST
        bytes[1] = 1; // Ethernet
        bytes[2] = 6;
        bytes[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.seconds.to_be_bytes());
        // No broadcast flag: the packet socket receives before there is an address.
        if let Some(client) = self.client {
            bytes[12..16].copy_from_slice(&client.octets());
        }
        bytes[28..34].copy_from_slice(&self.mac.bytes());
        bytes[236..240].copy_from_slice(&COOKIE);
        put(&mut bytes, MESSAGE_TYPE, &[self.kind.number()]);
        // RFC 2132 section 9.14: the hardware address, with its type before it.
        let mut id = vec![1];
        id.extend(self.mac.bytes());
        put(&mut bytes, CLIENT_ID, &id);
        if let Some(requested) = self.requested {
            put(&mut bytes, REQUESTED_ADDRESS, &requested.octets());
        }
        if let Some(server) = self.server {
            put(&mut bytes, SERVER_ID, &server.octets());
        }
        if matches!(self.kind, Kind::Discover | Kind::Request) {
            put(&mut bytes, MESSAGE_SIZE_MAX, &1472u16.to_be_bytes());
            if let Some(hostname) = self.hostname {
                put(&mut bytes, HOSTNAME, hostname.as_bytes());
            }
            // Option 121 before 3: RFC 3442.
            let wanted = [
                MASK,
                CLASSLESS_ROUTES,
                ROUTERS,
                DNS,
                DOMAIN,
                MTU,
                LEASE_TIME,
                RENEW_TIME,
                REBIND_TIME,
            ];
            put(&mut bytes, PARAMETERS, &wanted);
        }
        bytes.push(END);
        // Some relays drop what is shorter than a BOOTP message, RFC 1542 section 2.1.
        bytes.resize(bytes.len().max(300), 0);
        bytes
    }
}

impl Reply {
    /// Parses the payload of a UDP datagram.
    ///
    /// # Errors
    /// When it is not a well-formed reply; a malformed option spoils the whole message.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReplyError> {
        let header = bytes
            .get(..OPTIONS_AT)
            .ok_or(ReplyError::Short(bytes.len()))?;
        if header[0] != 2 || header[1] != 1 || header[2] != 6 || header[236..240] != COOKIE {
            return Err(ReplyError::NoReply);
        }
        let options = Options::collect(header, &bytes[OPTIONS_AT..])?;
        let kind = options
            .number::<1>(MESSAGE_TYPE)?
            .and_then(|[number]| Kind::from_server(number));
        let prefix_len = match options.number::<4>(MASK)? {
            Some(mask) => Some(mask_len(mask).ok_or(ReplyError::Value(MASK))?),
            None => None,
        };
        let domain = options
            .get(DOMAIN)
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let message = options.get(MESSAGE).map(printable);
        Ok(Self {
            kind: kind.ok_or(ReplyError::Kind)?,
            transaction: u32::from_be_bytes(array(&header[4..8])),
            mac: MacAddr::try_from(array::<6>(&header[28..34]))
                .map_err(|_| ReplyError::HardwareAddress)?,
            address: Ipv4Addr::from(array::<4>(&header[16..20])),
            server: options.number::<4>(SERVER_ID)?.map(Ipv4Addr::from),
            prefix_len,
            routers: options.addresses(ROUTERS)?,
            classless_routes: options.classless_routes()?,
            dns: options.addresses(DNS)?,
            // A domain that is none is no reason to stay without an address.
            domain: domain.and_then(|text| text.trim_end_matches('\0').parse().ok()),
            mtu: options.number::<2>(MTU)?.map(u16::from_be_bytes),
            lease_s: options.number::<4>(LEASE_TIME)?.map(u32::from_be_bytes),
            renew_s: options.number::<4>(RENEW_TIME)?.map(u32::from_be_bytes),
            rebind_s: options.number::<4>(REBIND_TIME)?.map(u32::from_be_bytes),
            message,
        })
    }
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
        }
    }

    fn from_server(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::Offer),
            5 => Some(Self::Ack),
            6 => Some(Self::Nak),
            _ => None,
        }
    }
}

/// A message's options. One that stands several times is joined (RFC 3396).
struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    fn collect(header: &[u8], options: &[u8]) -> Result<Self, ReplyError> {
        let mut collected = Self(Vec::new());
        collected.area(options)?;
        // RFC 2132 section 9.3: further options in `file` and `sname`.
        let overload = collected
            .number::<1>(OVERLOAD)?
            .map_or(0, |[overload]| overload);
        if overload & 1 != 0 {
            collected.area(&header[108..236])?;
        }
        if overload & 2 != 0 {
            collected.area(&header[44..108])?;
        }
        Ok(collected)
    }

    fn area(&mut self, mut rest: &[u8]) -> Result<(), ReplyError> {
        while let Some((&code, after)) = rest.split_first() {
            rest = match code {
                PAD => after,
                END => return Ok(()),
                _ => {
                    let (&len, after) = after.split_first().ok_or(ReplyError::Overrun(code))?;
                    let (value, after) = after
                        .split_at_checked(len.into())
                        .ok_or(ReplyError::Overrun(code))?;
                    match self.0.iter_mut().find(|(known, _)| *known == code) {
                        Some((_, joined)) => joined.extend(value),
                        None => self.0.push((code, value.to_vec())),
                    }
                    after
                }
            };
        }
        Ok(())
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, value)| value.as_slice())
    }

    fn number<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, ReplyError> {
        match self.get(code) {
            None => Ok(None),
            Some(value) => value
                .try_into()
                .map(Some)
                .map_err(|_| ReplyError::Length(code)),
        }
    }

    fn addresses(&self, code: u8) -> Result<Vec<Ipv4Addr>, ReplyError> {
        let value = self.get(code).unwrap_or_default();
        if !value.len().is_multiple_of(4) {
            return Err(ReplyError::Length(code));
        }
        Ok(value
            .chunks_exact(4)
            .take(ADDRESSES_MAX)
            .map(|a| Ipv4Addr::from(array::<4>(a)))
            .collect())
    }

    fn classless_routes(&self) -> Result<Vec<(Prefix, Ipv4Addr)>, ReplyError> {
        let mut rest = self.get(CLASSLESS_ROUTES).unwrap_or_default();
        let mut routes = Vec::new();
        while let Some((&len, after)) = rest.split_first() {
            let significant = usize::from(len).div_ceil(8);
            if len > 32 {
                return Err(ReplyError::Value(CLASSLESS_ROUTES));
            }
            let (to, after) = after
                .split_at_checked(significant)
                .ok_or(ReplyError::Length(CLASSLESS_ROUTES))?;
            let (via, after) = after
                .split_at_checked(4)
                .ok_or(ReplyError::Length(CLASSLESS_ROUTES))?;
            let mut network = [0; 4];
            network[..significant].copy_from_slice(to);
            // Bits beyond the prefix are dropped, as RFC 3442 tells clients to.
            let to = Prefix::containing(Ipv4Addr::from(network).into(), len)
                .map_err(|_| ReplyError::Value(CLASSLESS_ROUTES))?;
            if routes.len() < ROUTES_MAX {
                routes.push((to, Ipv4Addr::from(array::<4>(via))));
            }
            rest = after;
        }
        Ok(routes)
    }
}

fn put(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    let len =
        u8::try_from(value.len()).expect("host names and addresses are shorter than 256 bytes");
    bytes.extend([code, len]);
    bytes.extend(value);
}

fn mask_len(mask: [u8; 4]) -> Option<u8> {
    let mask = u32::from_be_bytes(mask);
    let len = mask.leading_ones();
    let is_whole = mask.count_ones() == len && len > 0;
    is_whole.then_some(u8::try_from(len).expect("at most 32 ones"))
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(120)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("the slice was cut to this length")
}

const OPTIONS_AT: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const ADDRESSES_MAX: usize = 8;
const ROUTES_MAX: usize = 64;

const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTERS: u8 = 3;
const DNS: u8 = 6;
const HOSTNAME: u8 = 12;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_TIME: u8 = 51;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const PARAMETERS: u8 = 55;
const MESSAGE: u8 = 56;
const MESSAGE_SIZE_MAX: u8 = 57;
const RENEW_TIME: u8 = 58;
const REBIND_TIME: u8 = 59;
const CLIENT_ID: u8 = 61;
const CLASSLESS_ROUTES: u8 = 121;
const END: u8 = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The options of an otherwise sound reply.
    fn reply(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS_AT];
        bytes[..3].copy_from_slice(&[2, 1, 6]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn reads_every_option_that_it_asks_for() {
        let reply = Reply::parse(&reply(&[
            53, 1, 5, 0, 0, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 1, 6, 8, 9, 9, 9, 9, 1, 1, 1,
            1, 15, 11, b'e', b'x', b'a', b'm', b'p', b'l', b'e', b'.', b'n', b'e', b't', 26, 2, 5,
            0, 51, 4, 0, 0, 14, 16, 58, 4, 0, 0, 7, 8, 59, 4, 0, 0, 12, 0, 54, 4, 10, 0, 0, 2, 121,
            8, 24, 10, 5, 6, 0, 0, 0, 0, 121, 5, 0, 10, 0, 0, 1, 255, 77,
        ]))
        .unwrap();
        assert_eq!(reply.kind, Kind::Ack);
        assert_eq!(reply.prefix_len, Some(24));
        assert_eq!(reply.routers, [Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(reply.dns.len(), 2);
        assert_eq!(reply.domain.unwrap().as_str(), "example.net");
        assert_eq!(reply.mtu, Some(1280));
        assert_eq!(
            (reply.lease_s, reply.renew_s, reply.rebind_s),
            (Some(3600), Some(1800), Some(3072))
        );
        let routes: Vec<String> = reply
            .classless_routes
            .iter()
            .map(|(to, via)| format!("{to} {via}"))
            .collect();
        assert_eq!(routes, ["10.5.6.0/24 0.0.0.0", "0.0.0.0/0 10.0.0.1"]);
    }

    #[test]
    fn refuses_lengths_that_lie() {
        for (options, why) in [
            (&[53, 1, 5, 1, 200, 0][..], ReplyError::Overrun(1)),
            (&[53][..], ReplyError::Overrun(53)),
            (&[53, 2, 5, 5][..], ReplyError::Length(53)),
            (&[53, 1, 5, 1, 4, 255, 0, 255, 0][..], ReplyError::Value(1)),
            (&[53, 1, 5, 1, 4, 0, 0, 0, 0][..], ReplyError::Value(1)),
            (&[53, 1, 5, 6, 3, 1, 2, 3][..], ReplyError::Length(6)),
            (&[53, 1, 5, 121, 1, 33][..], ReplyError::Value(121)),
            (&[53, 1, 5, 121, 3, 24, 1, 2][..], ReplyError::Length(121)),
            (&[53, 1, 1][..], ReplyError::Kind),
            (&[][..], ReplyError::Kind),
        ] {
            assert_eq!(Reply::parse(&reply(options)), Err(why), "{options:?}");
        }
        assert_eq!(Reply::parse(&[2; 239]), Err(ReplyError::Short(239)));
    }

    #[test]
    fn reads_options_from_the_overloaded_fields() {
        let mut bytes = reply(&[53, 1, 5, 52, 1, 3, 255]);
        bytes[108..115].copy_from_slice(&[3, 4, 10, 0, 0, 1, 255]);
        bytes[44..51].copy_from_slice(&[6, 4, 9, 9, 9, 9, 255]);
        let reply = Reply::parse(&bytes).unwrap();
        assert_eq!((reply.routers.len(), reply.dns.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic(options: Vec<u8>, cut in 0usize..400) {
            let bytes = reply(&options);
            let _ = Reply::parse(&bytes[..cut.min(bytes.len())]);
            let _ = Reply::parse(&options);
        }
    }
}
