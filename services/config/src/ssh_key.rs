//! OpenSSH public keys.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;

use crate::as_text::as_text;

/// A line of `authorized_keys` without options: `ssh-ed25519 AAAA… name` (sshd(8)).
#[derive(Clone, PartialEq, Eq)]
pub struct SshKey(String);

/// Why a text is no [`SshKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SshKeyError {
    /// Longer than any key.
    #[error("a key has at most {TEXT_MAX_BYTES} characters")]
    TooLong,
    /// More than one line.
    #[error("a key is one line of printable characters")]
    Characters,
    /// It begins with what is a secret.
    #[error("this is a private key: keep it to yourself, and give the one in the .pub file")]
    Private,
    /// Options such as `command=`, or a type that nobody should use any more.
    #[error("begins with none of the types that are taken: {TYPES_TEXT}")]
    Type,
    /// What follows the type.
    #[error("what follows the type is damaged: was the key copied as a whole?")]
    Damaged,
    /// Too short to be safe.
    #[error("an RSA key has 2048 to 8192 bits")]
    RsaSize,
}

impl SshKey {
    /// The line: type, key and comment, with one blank between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the key is called; empty where it has no name.
    #[must_use]
    pub fn comment(&self) -> &str {
        self.0.splitn(3, ' ').nth(2).unwrap_or_default()
    }

    /// Whether it is the same key, whatever it is called.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |line: &Self| line.0.split(' ').nth(1).map(ToOwned::to_owned);
        key(self) == key(other)
    }
}

impl FromStr for SshKey {
    type Err = SshKeyError;

    fn from_str(text: &str) -> Result<Self, SshKeyError> {
        if text.len() > TEXT_MAX_BYTES {
            return Err(SshKeyError::TooLong);
        }
        if text.contains("PRIVATE KEY") {
            return Err(SshKeyError::Private);
        }
        let text = text.trim();
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(SshKeyError::Characters);
        }
        let mut words = text.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default();
        if !TYPES.contains(&kind) {
            return Err(SshKeyError::Type);
        }
        let encoded = words.next().ok_or(SshKeyError::Damaged)?;
        let blob = BASE64.decode(encoded).map_err(|_| SshKeyError::Damaged)?;
        check(kind, &blob)?;
        let comment: Vec<&str> = words.collect();
        let line = format!("{kind} {encoded} {}", comment.join(" "));
        Ok(Self(line.trim_end().to_owned()))
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

as_text! {
    SshKey: "ssh-key",
        "An OpenSSH public key, such as ssh-ed25519 AAAA… name",
        r"^\s*(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+\s+[A-Za-z0-9+/]+={0,2}(\s.*)?$";
}

/// The key's own encoding (RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8709 section 4, and
/// OpenSSH's PROTOCOL.u2f).
fn check(kind: &str, blob: &[u8]) -> Result<(), SshKeyError> {
    let mut fields = Fields(blob);
    if fields.next()? != kind.as_bytes() {
        return Err(SshKeyError::Damaged);
    }
    let is_good = match kind {
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" => fields.next()?.len() == 32,
        "ssh-rsa" => {
            let exponent = fields.next()?;
            let modulus = fields.next()?;
            // A number of two's complement: a zero byte before the highest bit.
            let bits = modulus.strip_prefix(&[0]).unwrap_or(modulus).len() * 8;
            if !(2048..=8192).contains(&bits) {
                return Err(SshKeyError::RsaSize);
            }
            (1..=8).contains(&exponent.len())
        }
        _ => {
            // A point, not compressed: 4, and two coordinates.
            let (curve, point) = (fields.next()?, fields.next()?);
            let bytes = match curve {
                b"nistp256" => 65,
                b"nistp384" => 97,
                b"nistp521" => 133,
                _ => return Err(SshKeyError::Damaged),
            };
            let kind = kind.trim_end_matches("@openssh.com").as_bytes();
            kind.ends_with(curve) && point.len() == bytes && point[0] == 4
        }
    };
    if kind.starts_with("sk-") && fields.next()?.is_empty() {
        return Err(SshKeyError::Damaged);
    }
    if is_good && fields.0.is_empty() {
        Ok(())
    } else {
        Err(SshKeyError::Damaged)
    }
}

/// Byte strings with their length before them (RFC 4251 section 5).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a [u8], SshKeyError> {
        let (length, rest) = self.0.split_first_chunk().ok_or(SshKeyError::Damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (field, rest) = rest.split_at_checked(length).ok_or(SshKeyError::Damaged)?;
        self.0 = rest;
        Ok(field)
    }
}

const TEXT_MAX_BYTES: usize = 4096;
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];
const TYPES_TEXT: &str = "ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, \
    ecdsa-sha2-nistp521, sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@openssh.com, ssh-rsa";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by `ssh-keygen`, but for the last, whose key is made up.
    const KEYS: [&str; 6] = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICGAWHVffrzn6WV0REg2G4WyGsBK/Xo8waz9Da73a+jC admin@example.net",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCQzNWOFqZmfn7LUzPNZqLvZDT3ntFCPznZHV+1NL9xUVJs3WZ74YJKW41oAb+yA8gcZlqGbhjSK8tukAAaVzgwfGVyJ+JSZWxBqhNRvXMQOyJnc2Liqs8Gv3feAR3uxZkqL3u0W6CSQiFMmTdOOB/yM7a0m0Ile9BfwsmKC33ylXw347Qm1qQtPTUo4al7uCPGmgMWJE+hzoLf+1aW4EtIbZgKfU9Lpnil6U9DKLE2yrJQaHydwJf9U+86KqeNqfzWPVA1PnfpvuwOXD7c5mnM18349oHhqlXt+iynGWqBCxXvWARYah2GQJ4Hvr+XxDtsh/Bgb4US/9t1kfSlfixP k rsa:2048",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAnZxZ0KK3bF34BVA6lgyU4X07J9hwlpPA5IKhI7rDPxqXY21XNuqypyRtNGvVHGyY8jRhxviLjQfihujSJDP4Q= k ecdsa:256",
        "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBDxU8z7SJB2iGpF+dvl6MXu/iYy19+Nziom5FjQD4eCBei9wGzLP2TYVvDqTIlG0V1LWwJjPyfq0woiJgpSI+MYe5aCJDR9uRYonzu6WEQKisXGEpP0W2MKFLyDUG7a2Ag== k ecdsa:384",
        "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBADJzltNyG39+KTtG9tn9fsCU2feD2B6M33pw4fvM02IUyy5Z7ur7BW4Ljd6NvuPI5+q2oJQOCWvBGCsLGpRyzqj6wHyU0R3tr697uz7nsbpEwGQFXwG+JneUPhVLLdKNfNK2jhquamLdNtJx/avoETgwYymdBapzI90I9AQJnCeZri9YQ== k ecdsa:521",
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAABHNzaDo= stick",
    ];
    const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDchxIynXcY48LMe1RbOp7XzgXUyB++WINEbuSBJ9hv0t/guyUFdpKf2nQ4DR67NiZxKCUsQabO62gz8d3T13ytmMImEgYAJpE64jgJJLoNjxxbWgs33l893GsaN+3R/pb3GbH4+crW53zbSbGV1MBqVn1eGKszsg9UCn8fFakDGQ== k rsa:1024";

    #[test]
    fn takes_what_ssh_keygen_makes() {
        for key in KEYS {
            let parsed: SshKey = key.parse().unwrap_or_else(|error| panic!("{key}: {error}"));
            assert_eq!(parsed.as_str(), key);
            assert!(!parsed.comment().is_empty());
            let renamed = key.rsplit_once(' ').unwrap().0.replace(' ', "\t");
            assert!(renamed.parse::<SshKey>().unwrap().is_same(&parsed));
        }
    }

    #[test]
    fn tells_what_is_wrong() {
        let ed25519 = KEYS[0];
        let dsa = ed25519.replace("ssh-ed25519", "ssh-dss");
        let other = ed25519.replace("ssh-ed25519", "ssh-rsa");
        for (text, error) in [
            (RSA_1024, SshKeyError::RsaSize),
            (&dsa, SshKeyError::Type),
            (&other, SshKeyError::Damaged),
            ("command=\"ls\" ssh-ed25519 AAAA", SshKeyError::Type),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
                SshKeyError::Private,
            ),
            ("ssh-ed25519", SshKeyError::Damaged),
            ("", SshKeyError::Type),
            (&format!("{ed25519}\nssh-rsa AAAA"), SshKeyError::Characters),
            (&"k".repeat(5000), SshKeyError::TooLong),
        ] {
            assert_eq!(text.parse::<SshKey>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_cut_or_changed_in_its_frame_is_refused() {
        for key in KEYS {
            let mut words = key.split(' ');
            let (kind, encoded) = (words.next().unwrap(), words.next().unwrap());
            let blob = BASE64.decode(encoded).unwrap();
            for length in 0..blob.len() {
                let cut = format!("{kind} {}", BASE64.encode(&blob[..length]));
                assert!(cut.parse::<SshKey>().is_err(), "{cut}");
            }
            let longer = format!("{kind} {}", BASE64.encode([&blob[..], b"x"].concat()));
            assert_eq!(longer.parse::<SshKey>(), Err(SshKeyError::Damaged));
        }
    }

    proptest! {
        #[test]
        fn any_key_is_harmless(kind in 0..TYPES.len(), blob: Vec<u8>, comment in "\\PC{0,20}") {
            let text = format!("{} {} {comment}", TYPES[kind], BASE64.encode(blob));
            if let Ok(key) = text.parse::<SshKey>() {
                prop_assert_eq!(key.as_str().parse(), Ok(key));
            }
        }
    }
}
