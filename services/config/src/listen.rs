//! Addresses that a service listens on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::as_text::as_text;
use crate::network::{Network, Role};
use crate::path::Path;
use crate::problem::Faults;
use crate::section::Checks;

/// An address to listen on, with a port or without: `192.0.2.1`, `192.0.2.1:2222`,
/// `2001:db8::1`, `[2001:db8::1]:2222`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listen {
    /// The address.
    pub ip: IpAddr,
    /// Without one the service has its own.
    pub port: Option<u16>,
}

/// Why a text is no [`Listen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ListenError {
    /// Neither an address nor one with a port.
    #[error("write it as 192.0.2.1, 192.0.2.1:2222, 2001:db8::1 or [2001:db8::1]:2222")]
    Form,
    /// Port 0 is none.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// Nobody can listen there, or nobody else could connect to it.
    #[error("a router cannot listen on a multicast or broadcast address")]
    Address,
}

impl Listen {
    /// The socket address, with the service's own port where none is given.
    #[must_use]
    pub fn socket(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let listen = if let Ok(ip) = text.parse() {
            Self { ip, port: None }
        } else {
            let socket: SocketAddr = text.parse().map_err(|_| ListenError::Form)?;
            // A zone names an interface by its number, which a document cannot know.
            if matches!(socket, SocketAddr::V6(socket) if socket.scope_id() != 0) {
                return Err(ListenError::Form);
            }
            Self {
                ip: socket.ip(),
                port: Some(socket.port()),
            }
        };
        let is_broadcast = matches!(listen.ip, IpAddr::V4(ip) if ip.is_broadcast());
        if listen.port == Some(0) {
            Err(ListenError::Port)
        } else if listen.ip.is_multicast() || is_broadcast {
            Err(ListenError::Address)
        } else {
            Ok(listen)
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

as_text! {
    Listen: "listen",
        "An address to listen on, such as 192.0.2.1, 192.0.2.1:2222 or [2001:db8::1]:2222",
        r"^(\[[0-9A-Fa-f:.]{2,45}\]:[0-9]{1,5}|[0-9.]{7,15}:[0-9]{1,5}|[0-9A-Fa-f:.]{2,45})$";
}

/// What a list of them has to be on its own.
pub(crate) fn check(listen: &[Listen], allow_wan: bool, path: &Path, checks: &mut Checks<'_>) {
    if listen.len() > LISTEN_MAX {
        let message = format!(
            "{} addresses; at most {LISTEN_MAX} are possible",
            listen.len()
        );
        checks.value(path.clone(), message);
        return;
    }
    for (index, one) in listen.iter().enumerate() {
        if listen[..index].contains(one) {
            checks.value(path.index(index), format!("{one} is there already"));
        } else if one.ip.is_unspecified() && !allow_wan {
            let message = format!("{} is every address, and so the WAN's too", one.ip);
            checks.hint(path.index(index), message, HINT);
        }
    }
}

/// No service listens on a WAN's address unless the document says so in words.
pub(crate) fn check_wan(listen: &[Listen], path: &Path, network: &Network, faults: &mut Faults) {
    for (name, link) in &network.links {
        if link.role != Role::Wan {
            continue;
        }
        for address in link.ipv4.addresses.iter().chain(&link.ipv6.addresses) {
            for (index, one) in listen.iter().enumerate() {
                if one.ip == address.ip() {
                    let message = format!("{} is an address of the WAN `{name}`", one.ip);
                    faults.hint(path.index(index), message, HINT);
                }
            }
        }
    }
}

const LISTEN_MAX: usize = 8;
const HINT: &str = "if that is meant, say allow_wan = true";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_addresses_with_and_without_port() {
        for text in [
            "192.0.2.1",
            "192.0.2.1:2222",
            "2001:db8::1",
            "[2001:db8::1]:22",
            "::",
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
        }
        assert_eq!(
            "::1".parse::<Listen>().unwrap().socket(22).to_string(),
            "[::1]:22"
        );
        for (text, error) in [
            ("", ListenError::Form),
            ("localhost", ListenError::Form),
            ("192.0.2.1:65536", ListenError::Form),
            ("[fe80::1%2]:22", ListenError::Form),
            ("192.0.2.1:0", ListenError::Port),
            ("255.255.255.255", ListenError::Address),
            ("[ff02::1]:22", ListenError::Address),
        ] {
            assert_eq!(text.parse::<Listen>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_prints_parses(ip: IpAddr, port: Option<u16>) {
            let listen = Listen { ip, port };
            if let Ok(parsed) = listen.to_string().parse::<Listen>() {
                prop_assert_eq!(parsed, listen);
            }
        }
    }
}
