//! The section `remote` of the configuration, checked, and what a connection needs of it.

use std::net::{IpAddr, SocketAddr};

use russh::keys::{Algorithm, PublicKey};
use serde::{Deserialize, Serialize};

/// Where none is written.
const PORT: u16 = 22;
const ADDRESSES_MAX: usize = 16;
const KEYS_MAX: usize = 64;
const KEY_MAX_BYTES: usize = 4096;

/// The section as the store hands it out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Section {
    #[serde(default)]
    pub(crate) enabled: bool,
    #[serde(default)]
    listen: Vec<String>,
    #[serde(default)]
    pub(crate) authorized_keys: Vec<String>,
}

/// What a connection's process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Briefing {
    pub(crate) keys: Vec<String>,
    /// In OpenSSH's format.
    pub(crate) host_key: String,
    pub(crate) shell: String,
    pub(crate) idle_s: u64,
}

/// What it reports, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Report {
    Accepted { key: String, comment: String },
    Refused { key: String },
}

impl Section {
    /// Where to listen: nowhere while it is off.
    pub(crate) fn sockets(&self) -> Result<Vec<SocketAddr>, String> {
        let listen = self.listen.iter().filter(|_| self.enabled);
        listen.map(|text| socket(text)).collect()
    }

    /// Whether all of it can be used.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.listen.len() > ADDRESSES_MAX {
            return Err(format!(
                "remote.listen: more than {ADDRESSES_MAX} addresses"
            ));
        }
        if self.authorized_keys.len() > KEYS_MAX {
            return Err(format!("remote.authorized_keys: more than {KEYS_MAX} keys"));
        }
        for (number, text) in (1..).zip(&self.authorized_keys) {
            key(text).map_err(|error| format!("remote.authorized_keys: key {number} {error}"))?;
        }
        if self.enabled && self.authorized_keys.is_empty() {
            return Err(
                "remote.enabled without remote.authorized_keys: nobody could log in".into(),
            );
        }
        Ok(())
    }
}

/// An address as people write it, with or without a port.
fn socket(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = |ip: IpAddr| SocketAddr::new(ip, PORT);
    text.parse()
        .or_else(|_| bare.parse().map(with_port))
        .map_err(|_| format!("remote.listen: {text} is no address"))
}

/// Reads one line of an authorized_keys file, without options.
pub(crate) fn key(text: &str) -> Result<PublicKey, String> {
    if text.len() > KEY_MAX_BYTES {
        return Err("is too long".to_owned());
    }
    let key = PublicKey::from_openssh(text.trim())
        .map_err(|error| format!("cannot be read; write `ssh-ed25519 AAAA… name`: {error}"))?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(key),
        other => Err(format!("is {other}; only Ed25519 and ECDSA keys are taken")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@home";

    #[test]
    fn addresses_need_no_port() {
        for (text, socket) in [
            ("192.0.2.1", "192.0.2.1:22"),
            ("[2001:db8::1]", "[2001:db8::1]:22"),
            ("::", "[::]:22"),
            ("[::1]:2222", "[::1]:2222"),
        ] {
            assert_eq!(super::socket(text).unwrap(), socket.parse().unwrap());
        }
        assert!(super::socket("router:22").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let section = |listen: &[&str], keys: &[&str]| Section {
            enabled: !listen.is_empty(),
            listen: listen.iter().map(|&text| text.to_owned()).collect(),
            authorized_keys: keys.iter().map(|&text| text.to_owned()).collect(),
        };
        assert_eq!(section(&[], &[]).check(), Ok(()));
        assert_eq!(section(&["192.0.2.1:22"], &[GOOD]).check(), Ok(()));
        for (keys, reason) in [
            (&[][..], "nobody could log in"),
            (&[GOOD, "ssh-ed25519 AAAA"], "key 2 cannot be read"),
            (&["command=\"x\" ssh-ed25519 AAAA"], "key 1 cannot be read"),
            (&["password"], "key 1 cannot be read"),
        ] {
            let error = section(&["192.0.2.1:22"], keys).check().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
