//! What the service `network` tells about itself, for those who only look.
//!
//! Responsible for: the form of `/run/x0/network/status.json`.
//! Not responsible for: what `[network]` of the configuration says (`config`).
//! Talks to: nobody. `network` writes it, `console` and `admin` read it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod status;

pub use status::{AddressStatus, DhcpStatus, Gateway, LinkStatus, Status};
