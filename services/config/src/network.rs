//! `[network]`

mod address;
mod check;
mod defaults;
pub(crate) mod form;
mod model;
mod name;
mod number;
mod sysctl;

pub use address::{Address, AddressError, Prefix};
pub use model::{
    Advertise, AdvertisedPrefix, Advertiser, Bridge, Ipv4, Ipv4Method, Ipv6, Ipv6Method, Link,
    LinkKind, Match, Network, PortVlans, Role, Route, RouteKind,
};
pub use name::{DomainName, Hostname, IfName, MacAddr, NameError, Pattern};
pub use number::{Mtu, NumberError, VlanId};
pub use sysctl::{SysctlError, SysctlKey, SysctlValue};

use crate::section::{Checks, Section};

impl Section for Network {
    const NAME: &'static str = "network";

    type Form = form::Network;

    fn check(form: form::Network, checks: &mut Checks<'_>) -> Self {
        check::network(form, checks)
    }
}
