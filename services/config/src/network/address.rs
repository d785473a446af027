use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use crate::as_text::as_text;

/// An interface's address with the length of its prefix: `192.168.77.1/24`. Unicast, and neither
/// the network's own address nor its broadcast address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    ip: IpAddr,
    prefix_len: u8,
}

/// A destination: `10.0.0.0/8`. No bits are set beyond the prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: IpAddr,
    len: u8,
}

/// Why a text is not an [`Address`] or a [`Prefix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// There is no `/`, or no number behind it.
    #[error("the prefix length is missing: write it as 192.0.2.1/24 or 2001:db8::1/64")]
    NoLength,
    /// The part before `/` is not an address.
    #[error("this is neither an IPv4 nor an IPv6 address")]
    NotAnAddress,
    /// More than 32 or 128.
    #[error("the prefix is longer than the address: at most /32 for IPv4 and /128 for IPv6")]
    TooLong,
    /// An interface cannot have this address.
    #[error("an interface cannot have this address: it is no unicast address of a host")]
    NotUnicast,
    /// The network's own or broadcast address.
    #[error("this is the network's own or its broadcast address: choose one between them")]
    NotAHost,
    /// A prefix with bits beyond its length.
    #[error("bits are set beyond the prefix length: did you mean {0}?")]
    HostBits(Prefix),
}

impl Address {
    /// Checks and makes an interface address.
    ///
    /// # Errors
    /// When no interface can have this address.
    pub fn new(ip: IpAddr, prefix_len: u8) -> Result<Self, AddressError> {
        let network = Prefix::containing(ip, prefix_len)?;
        match ip {
            IpAddr::V4(ip) => {
                let first = ip.octets()[0];
                if ip.is_unspecified()
                    || first == 0
                    || first >= 224
                    || first == 127
                    || prefix_len == 0
                {
                    return Err(AddressError::NotUnicast);
                }
                // RFC 3021: in a /31 both addresses are hosts.
                let host_mask = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
                let host = ip.to_bits() & host_mask;
                if prefix_len <= 30 && (host == 0 || host == host_mask) {
                    return Err(AddressError::NotAHost);
                }
            }
            IpAddr::V6(ip) => {
                if ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_loopback()
                    || ip.to_ipv4_mapped().is_some()
                    || prefix_len == 0
                {
                    return Err(AddressError::NotUnicast);
                }
                // The subnet-router anycast address, RFC 4291 section 2.6.1; RFC 6164 for /127.
                if prefix_len < 127 && network.network == IpAddr::V6(ip) {
                    return Err(AddressError::NotAHost);
                }
            }
        }
        Ok(Self { ip, prefix_len })
    }

    /// The address itself.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// The number of leading bits that its network shares.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The network that it lies in.
    #[must_use]
    pub fn network(self) -> Prefix {
        Prefix {
            network: masked(self.ip, self.prefix_len),
            len: self.prefix_len,
        }
    }
}

impl Prefix {
    /// The prefix of this length that holds the address.
    ///
    /// # Errors
    /// When the length is more than the address has.
    pub fn containing(ip: IpAddr, len: u8) -> Result<Self, AddressError> {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        if len > longest {
            return Err(AddressError::TooLong);
        }
        Ok(Self {
            network: masked(ip, len),
            len,
        })
    }

    /// The first address.
    #[must_use]
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// The number of leading bits.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a prefix is never empty")]
    pub fn len(self) -> u8 {
        self.len
    }

    /// Whether the prefix is `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn is_default(self) -> bool {
        self.len == 0
    }

    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(self, ip: IpAddr) -> bool {
        self.network.is_ipv4() == ip.is_ipv4() && masked(ip, self.len) == self.network
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (ip, len) = split(text)?;
        Self::new(ip, len)
    }
}

impl FromStr for Prefix {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (ip, len) = split(text)?;
        let prefix = Self::containing(ip, len)?;
        if prefix.network == ip {
            Ok(prefix)
        } else {
            Err(AddressError::HostBits(prefix))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_len)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

as_text! {
    Address: "interface-address",
        "An interface's address with the length of its prefix, such as 192.0.2.1/24",
        r"^[0-9A-Fa-f:.]{2,45}/[0-9]{1,3}$";
    Prefix: "prefix",
        "A network, such as 192.0.2.0/24 or 2001:db8::/32",
        r"^[0-9A-Fa-f:.]{2,45}/[0-9]{1,3}$";
}

fn split(text: &str) -> Result<(IpAddr, u8), AddressError> {
    let (ip, len) = text.split_once('/').ok_or(AddressError::NoLength)?;
    let ip = ip.parse().map_err(|_| AddressError::NotAnAddress)?;
    if len.is_empty() || len.len() > 3 || !len.chars().all(|c| c.is_ascii_digit()) {
        return Err(AddressError::NoLength);
    }
    Ok((ip, len.parse().map_err(|_| AddressError::TooLong)?))
}

fn masked(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & !host).into()
        }
        IpAddr::V6(ip) => {
            let host = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & !host).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_what_a_host_can_have() {
        for good in [
            "192.168.77.1/24",
            "10.0.0.0/31",
            "10.0.0.1/32",
            "fe80::1/64",
            "fd00::/127",
        ] {
            let address: Address = good.parse().unwrap();
            assert_eq!(address.to_string(), good);
        }
    }

    #[test]
    fn refuses_what_no_host_can_have() {
        use AddressError::*;
        for (bad, why) in [
            ("192.168.77.1", NoLength),
            ("192.168.77.1/", NoLength),
            ("192.168.77.1/+8", NoLength),
            ("192.168.77/24", NotAnAddress),
            ("192.168.77.1/33", TooLong),
            ("192.168.77.1/999", TooLong),
            ("::1/129", TooLong),
            ("192.168.77.0/24", NotAHost),
            ("192.168.77.255/24", NotAHost),
            ("fd00::/64", NotAHost),
            ("224.0.0.1/24", NotUnicast),
            ("127.0.0.1/8", NotUnicast),
            ("0.0.0.0/0", NotUnicast),
            ("ff02::1/64", NotUnicast),
            ("::ffff:10.0.0.1/120", NotUnicast),
            ("10.0.0.1/0", NotUnicast),
        ] {
            assert_eq!(bad.parse::<Address>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn suggests_the_prefix_that_was_meant() {
        let error = "10.1.2.3/8".parse::<Prefix>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "bits are set beyond the prefix length: did you mean 10.0.0.0/8?"
        );
    }

    proptest! {
        #[test]
        fn overlap_is_containment(a: u32, b: u32, len_a in 0u8..=32, len_b in 0u8..=32) {
            let a = Prefix::containing(Ipv4Addr::from_bits(a).into(), len_a).unwrap();
            let b = Prefix::containing(Ipv4Addr::from_bits(b).into(), len_b).unwrap();
            prop_assert_eq!(a.overlaps(b), b.overlaps(a));
            prop_assert!(a.contains(a.network()));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
        }
    }
}
