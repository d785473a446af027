//! `[metrics]`

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::listen::{self, Listen};
use crate::section::{Checks, Section};

/// The machine's measurements for Prometheus, at `http://ADDRESS:9100/metrics`. Off unless there
/// is an address to listen on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(rename = "metrics")]
pub struct Metrics {
    /// Where: `192.0.2.1` or `[2001:db8::1]:9101`; the port is 9100 where none is given.
    #[schemars(length(max = 8))]
    pub listen: Vec<Listen>,
    /// Whether it may listen on a WAN, or on every address as `::` does (false).
    pub allow_wan: bool,
}

impl Metrics {
    /// The sockets to listen on.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listen.iter().map(|listen| listen.socket(PORT))
    }
}

impl Section for Metrics {
    const NAME: &'static str = "metrics";

    type Form = Self;

    fn check(form: Self, checks: &mut Checks<'_>) -> Self {
        let listen = checks.path("listen");
        listen::check(&form.listen, form.allow_wan, &listen, checks);
        form
    }
}

const PORT: u16 = 9100;
