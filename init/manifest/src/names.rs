use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a service, user or group: `[a-z][a-z0-9-]*`, at most 31 bytes.
///
/// Such a name is safe as a file name, a cgroup name and a word on the console.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if starts_well && text.len() <= 31 && text.chars().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName(text.chars().take(64).collect()))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

/// A name that is not one.
#[derive(Debug, thiserror::Error)]
#[error("bad name `{0}`: at most 31 of a-z, 0-9 and `-`, and a letter first")]
pub struct InvalidName(String);

/// A Linux capability, written without `cap_`: `net_admin`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(u8);

impl Capability {
    /// The number that the kernel knows it by (`linux/capability.h`).
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The manifest's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        CAPABILITIES[usize::from(self.0)]
    }
}

impl TryFrom<String> for Capability {
    type Error = UnknownCapability;

    fn try_from(text: String) -> Result<Self, UnknownCapability> {
        (0u8..)
            .zip(CAPABILITIES)
            .find(|(_, name)| *name == text)
            .map(|(number, _)| Self(number))
            .ok_or(UnknownCapability(text))
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.name().into()
    }
}

/// A capability that Linux does not have.
#[derive(Debug, thiserror::Error)]
#[error("unknown capability `{0}`: write it as in capabilities(7), in lower case, without `cap_`")]
pub struct UnknownCapability(String);

/// In the order of their numbers in `linux/capability.h`.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names() {
        for good in ["a", "network", "x0-agent", "a1"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in [
            "", ".", "..", "a/b", "A", "1a", "-a", "a_b", "a b", "ä", "a\0",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(32).parse::<Name>().is_err());
    }

    #[test]
    fn capabilities_have_the_kernels_numbers() {
        let number = |name: &str| Capability::try_from(name.to_owned()).unwrap().number();
        assert_eq!(number("chown"), 0);
        assert_eq!(number("net_admin"), 12);
        assert_eq!(number("sys_admin"), 21);
        assert_eq!(number("checkpoint_restore"), 40);
        assert!(Capability::try_from("cap_net_admin".to_owned()).is_err());
    }
}
