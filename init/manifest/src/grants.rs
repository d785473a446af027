//! What a service may touch beyond its own program and folders. Nothing is the default.

use serde::{Deserialize, Serialize};

use crate::Name;

/// Files and folders beyond the program, its loader and libraries, `/dev/null`, `zero` and
/// `urandom`, `RUNTIME_DIRECTORY` and `STATE_DIRECTORY`. A path that does not exist when the service
/// starts is not there for it; `*` at the end stands for all that begins like that then. A folder stands for all that is in it. Connecting to a socket by its
/// path is reading; declare its folder, because a socket that is bound anew is another file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
    /// Programs that it may run, beside its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<String>,
    /// Folders on which it may mount something that everybody then sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount: Vec<String>,
}

/// Which network a service sees.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Net {
    pub access: NetAccess,
    /// Ports that it may listen on.
    pub tcp_bind: Ports,
    /// Ports of others that it may connect to.
    pub tcp_connect: Ports,
}

/// How much of the network there is for a service.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetAccess {
    /// A network of its own, without any link, and no Unix socket but PID 1's.
    #[default]
    None,
    /// A network of its own, without any link. Unix sockets that it declares.
    Unix,
    /// The router's.
    Host,
}

/// TCP ports: a list of numbers, or `"any"`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged, expecting = "expected a list of port numbers, or \"any\"")]
pub enum Ports {
    Any(AnyPort),
    These(Vec<u16>),
}

/// The word `any`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnyPort {
    Any,
}

impl Default for Ports {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Ports {
    /// Whether there is no port at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::These(ports) if ports.is_empty())
    }
}

/// A socket that PID 1 makes, and passes to the service by `LISTEN_FDS` (`sd_listen_fds(3)`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// What `LISTEN_FDNAMES` calls it.
    pub name: Name,
    /// A path under `/run/`.
    pub path: String,
    #[serde(default)]
    pub kind: SocketKind,
    /// Who may connect, in octal digits.
    #[serde(default)]
    pub mode: Mode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
}

/// The type of a Unix socket.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketKind {
    #[default]
    Stream,
    Datagram,
    Seqpacket,
}

/// Permissions of a file, written in octal: `"0660"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u32);

impl Mode {
    /// The permission bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl TryFrom<String> for Mode {
    type Error = InvalidMode;

    fn try_from(text: String) -> Result<Self, InvalidMode> {
        let octal = text.len() == 4 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if octal && bits <= 0o777 => Ok(Self(bits)),
            _ => Err(InvalidMode(text.chars().take(64).collect())),
        }
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        format!("{:04o}", mode.0)
    }
}

/// A mode that is none.
#[derive(Debug, thiserror::Error)]
#[error("bad mode `{0}`: write four octal digits, as in \"0660\"")]
pub struct InvalidMode(String);

/// What a service is on the message bus.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bus {
    /// Names that it may own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<String>,
    /// Names that it may call; `.*` at the end stands for all names below.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub call: Vec<String>,
}

impl Bus {
    /// Whether the service is to be seen on the bus at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.call.is_empty()
    }
}
