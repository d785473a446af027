use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::as_text::as_text;

/// A name of an interface or of a link in the document: 1 to 15 characters out of letters, digits,
/// `.`, `_` and `-`. The kernel takes more; what it takes beyond this is a trap in shells and paths.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

/// A host name: one DNS label, in lower or upper case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

/// A DNS domain for the search list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// A hardware address of an Ethernet card: unicast, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

/// A pattern with `*` (any text) and `?` (one character), at most 64 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

/// Why a text is not such a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// For [`IfName`].
    #[error("an interface name has 1 to 15 characters: letters, digits, '.', '_', '-'")]
    IfName,
    /// For [`Hostname`].
    #[error("a host name has 1 to 63 letters, digits and inner '-'")]
    Hostname,
    /// For [`DomainName`].
    #[error("a domain has labels of letters, digits and inner '-' joined by '.', 253 in all")]
    DomainName,
    /// For [`MacAddr`].
    #[error("a MAC address looks like 52:54:00:12:34:56, is not a group address and not all zero")]
    MacAddr,
    /// For [`Pattern`].
    #[error("a pattern has 1 to 64 printable characters; '*' and '?' stand for others")]
    Pattern,
}

impl IfName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key in whose order `eth2` comes before `eth10`.
    #[must_use]
    pub fn natural_order(&self) -> (String, u64, String) {
        let digits = self.0.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let number = self.0[digits..].parse().unwrap_or(0);
        (self.0[..digits].to_owned(), number, self.0.clone())
    }
}

impl FromStr for IfName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let reserved = matches!(text, "." | ".." | "all" | "default" | "lo");
        if (1..=15).contains(&text.len()) && text.chars().all(known) && !reserved {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::IfName)
        }
    }
}

impl Hostname {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_label(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Hostname)
        }
    }
}

impl DomainName {
    /// The domain as text, without a final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.len() <= 253 && text.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::DomainName)
        }
    }
}

impl MacAddr {
    /// The address's bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl TryFrom<[u8; 6]> for MacAddr {
    type Error = NameError;

    fn try_from(bytes: [u8; 6]) -> Result<Self, NameError> {
        if bytes[0] & 1 == 0 && bytes != [0; 6] {
            Ok(Self(bytes))
        } else {
            Err(NameError::MacAddr)
        }
    }
}

impl FromStr for MacAddr {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or(NameError::MacAddr)?;
            if part.len() != 2 || !part.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(NameError::MacAddr);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| NameError::MacAddr)?;
        }
        match parts.next() {
            None => Self::try_from(bytes),
            Some(_) => Err(NameError::MacAddr),
        }
    }
}

impl Pattern {
    /// Whether the whole text fits the pattern.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        // Greedy with one way back, so that the time is bounded by the product of the lengths.
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t, mut back) = (0, 0, None);
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    back = Some((p, t));
                    p += 1;
                }
                Some(byte) if *byte == b'?' || *byte == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match back {
                    Some((star, from)) => {
                        back = Some((star, from + 1));
                        p = star + 1;
                        t = from + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

impl FromStr for Pattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Pattern)
        }
    }
}

impl From<&IfName> for Pattern {
    /// A pattern that only this name fits: interface names hold no wildcards.
    fn from(name: &IfName) -> Self {
        Self(name.0.clone())
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

macro_rules! prints_its_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}
prints_its_text!(IfName, Hostname, DomainName, Pattern);

as_text! {
    IfName: "interface-name",
        "The name of an interface, or of a link in this document",
        r"^[A-Za-z0-9._-]{1,15}$";
    Hostname: "host-name",
        "A host name: one label",
        r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$";
    DomainName: "domain-name",
        "A DNS domain, such as example.net",
        r"^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?$";
    MacAddr: "mac-address",
        "A hardware address, such as 52:54:00:12:34:56",
        r"^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$";
    Pattern: "pattern",
        "A text in which * stands for any text and ? for any character",
        r"^[!-~]{1,64}$";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_names_that_are_traps() {
        for bad in [
            "",
            "a b",
            "a/b",
            "..",
            "lo",
            "all",
            "default",
            "a:0",
            "0123456789abcdef",
            "ä",
        ] {
            assert!(bad.parse::<IfName>().is_err(), "{bad:?}");
        }
        for bad in ["", "-a", "a-", "a.b", "a_b", "x\n", &"a".repeat(64)] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad:?}");
        }
        for bad in ["", ".", "a..b", ".a", "a.-b"] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "1",
            "01:00:00:00:00:01",
            "00:00:00:00:00:00",
            "0:0:0:0:0:0",
            "+2:54:00:12:34:56",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad:?}");
        }
        assert!("52-54-00-12-34-56".parse::<MacAddr>().is_ok());
    }

    #[test]
    fn orders_names_as_people_do() {
        let mut names: Vec<IfName> = ["eth10", "eth2", "wan", "eth0"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        names.sort_by_key(IfName::natural_order);
        assert_eq!(format!("{names:?}"), r#"["eth0", "eth2", "eth10", "wan"]"#);
    }

    #[test]
    fn patterns_fit() {
        let fits = |pattern: &str, text| pattern.parse::<Pattern>().unwrap().fits(text);
        assert!(
            fits("eth*", "eth0") && fits("*", "") && fits("e?h0", "eth0") && fits("*th*0", "eth10")
        );
        assert!(!fits("eth", "eth0") && !fits("eth?", "eth") && !fits("*a", "b"));
    }

    proptest! {
        #[test]
        fn patterns_agree_with_a_plain_matcher(pattern in "[ab*?]{1,8}", text in "[ab]{0,8}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|n| plain(rest, &text[n..])),
                    Some((b'?', rest)) => !text.is_empty() && plain(rest, &text[1..]),
                    Some((byte, rest)) => text.first() == Some(byte) && plain(rest, &text[1..]),
                }
            }
            let parsed: Pattern = pattern.parse().unwrap();
            prop_assert_eq!(parsed.fits(&text), plain(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn what_prints_parses(bytes: [u8; 6]) {
            if let Ok(mac) = MacAddr::try_from(bytes) {
                prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            }
        }
    }
}
