//! `[remote]`

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::listen::{self, Listen};
use crate::path::Path;
use crate::section::{Checks, Section};
use crate::ssh_key::SshKey;

/// The remote shell, by SSH with keys only. Off until it is provisioned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(rename = "remote")]
pub struct Remote {
    /// Whether it runs at all (false).
    pub enabled: bool,
    /// Where: `192.0.2.1` or `[2001:db8::1]:2222`; the port is 22 where none is given.
    #[schemars(length(max = 8))]
    pub listen: Vec<Listen>,
    /// Whether it may listen on a WAN, or on every address as `::` does (false).
    pub allow_wan: bool,
    /// Who may log in: OpenSSH public keys, as in `id_ed25519.pub`.
    #[schemars(length(max = 64))]
    pub authorized_keys: Vec<SshKey>,
}

impl Remote {
    /// The sockets to listen on; none while it is off.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let listen = self.listen.iter().filter(|_| self.enabled);
        listen.map(|listen| listen.socket(PORT))
    }
}

impl Section for Remote {
    const NAME: &'static str = "remote";

    type Form = Self;

    fn check(form: Self, checks: &mut Checks<'_>) -> Self {
        let listen = checks.path("listen");
        listen::check(&form.listen, form.allow_wan, &listen, checks);
        if form.enabled && form.listen.is_empty() {
            let message = "remote is enabled, but listens nowhere";
            let hint = "name a LAN address of this router: listen = [\"192.168.77.1\"]";
            checks.hint(checks.path("enabled"), message, hint);
        }
        if form.enabled && form.authorized_keys.is_empty() {
            let message = "remote is enabled, but nobody has a key to log in with";
            let hint = "add authorized_keys = [\"ssh-ed25519 AAAA… name\"]";
            checks.hint(checks.path("enabled"), message, hint);
        }
        check_keys(
            &form.authorized_keys,
            &checks.path("authorized_keys"),
            checks,
        );
        form
    }
}

fn check_keys(keys: &[SshKey], path: &Path, checks: &mut Checks<'_>) {
    if keys.len() > KEYS_MAX {
        let message = format!("{} keys; at most {KEYS_MAX} are possible", keys.len());
        checks.value(path.clone(), message);
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        if let Some(first) = keys[..index].iter().position(|other| other.is_same(key)) {
            checks.value(
                path.index(index),
                format!("this is the key {path}[{first}]"),
            );
        }
    }
}

const PORT: u16 = 22;
const KEYS_MAX: usize = 64;
