//! Interfaces and addresses: from the network service, which knows where they come from, or else
//! from the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use network_api::{AddressStatus, LinkStatus, Status};

use crate::model::{Address, Interface, Link, Network};

const MAX_STATUS_BYTES: u64 = 1 << 20;

/// What is known of the network now. `file` is the network service's own account; where it is
/// missing, makes no sense or has no living author, the kernel is asked.
#[must_use]
pub fn read(file: &Path, status: Option<&api::Status>) -> Network {
    let service = status.and_then(|status| status.service("network"));
    let lives = service.is_some_and(|service| service.pid.is_some());
    let account = if lives { from_service(file) } else { None };
    account.unwrap_or_else(from_kernel)
}

fn from_service(status: &Path) -> Option<Network> {
    let mut text = String::new();
    let file = File::open(status).ok()?;
    file.take(MAX_STATUS_BYTES).read_to_string(&mut text).ok()?;
    parse(&text)
}

/// Reads the network service's account; nothing when it makes no sense.
#[must_use]
pub fn parse(text: &str) -> Option<Network> {
    let status: Status = serde_json::from_str(text).ok()?;
    let mut routes: Vec<String> = status
        .gateways
        .iter()
        .map(|way| {
            format!(
                "gateway {} on {} {}",
                way.address, way.interface, way.origin
            )
        })
        .collect();
    if !status.dns.is_empty() {
        let servers: Vec<String> = status.dns.iter().map(ToString::to_string).collect();
        routes.push(format!("dns {}", servers.join(", ")));
    }
    Some(Network {
        interfaces: status.links.into_iter().map(interface).collect(),
        routes,
        problems: status.problems,
    })
}

fn interface(link: LinkStatus) -> Interface {
    let address = |address: AddressStatus| Address {
        address: address.address,
        origin: address.origin,
    };
    Interface {
        link: match (&link.interface, link.up, link.carrier) {
            (None, _, _) => Link::Absent,
            (_, false, _) => Link::Off,
            (_, true, true) => Link::Up,
            (_, true, false) => Link::NoCarrier,
        },
        // The document may call a card as it likes; the kernel's name is what messages have.
        name: link.interface.unwrap_or(link.name),
        role: match link.role.as_str() {
            "none" => String::new(),
            _ => link.role,
        },
        addresses: link.addresses.into_iter().map(address).collect(),
        note: match link.dhcp {
            Some(dhcp) if dhcp.phase != "bound" => format!("dhcp: {}", dhcp.phase),
            _ => String::new(),
        },
    }
}

fn from_kernel() -> Network {
    let mut interfaces = BTreeMap::new();
    for entry in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        use nix::net::if_::InterfaceFlags as Flags;
        if entry.flags.contains(Flags::IFF_LOOPBACK) {
            continue;
        }
        let interface = interfaces
            .entry(entry.interface_name.clone())
            .or_insert_with(|| Interface {
                name: entry.interface_name.clone(),
                role: String::new(),
                note: String::new(),
                link: match entry.flags {
                    flags if !flags.contains(Flags::IFF_UP) => Link::Off,
                    flags if flags.contains(Flags::IFF_RUNNING) => Link::Up,
                    _ => Link::NoCarrier,
                },
                addresses: Vec::new(),
            });
        interface.addresses.extend(address(&entry));
    }
    interfaces.retain(|_, interface| says_something(interface));
    Network {
        interfaces: interfaces.into_values().collect(),
        routes: Vec::new(),
        problems: Vec::new(),
    }
}

/// The kernel makes some interfaces (`dummy0`, `ifb0`) that nobody has asked for.
fn says_something(interface: &Interface) -> bool {
    let device = Path::new("/sys/class/net")
        .join(&interface.name)
        .join("device");
    interface.link != Link::Off || !interface.addresses.is_empty() || device.exists()
}

fn address(entry: &nix::ifaddrs::InterfaceAddress) -> Option<Address> {
    let address = entry.address?;
    let mask = entry.netmask;
    let text = if let Some(v4) = address.as_sockaddr_in() {
        let mask = mask.and_then(|mask| mask.as_sockaddr_in().map(|mask| mask.ip()));
        let length = mask.map_or(32, |mask| mask.to_bits().count_ones());
        format!("{}/{length}", v4.ip())
    } else {
        let v6 = address.as_sockaddr_in6()?;
        let mask = mask.and_then(|mask| mask.as_sockaddr_in6().map(|mask| mask.ip()));
        let length = mask.map_or(128, |mask| mask.to_bits().count_ones());
        format!("{}/{length}", v6.ip())
    };
    Some(Address {
        address: text,
        origin: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_network_service_writes() {
        let link = |name: &str, interface: bool, carrier| LinkStatus {
            name: name.into(),
            interface: interface.then(|| format!("{name}-card")),
            role: "wan".into(),
            up: true,
            carrier,
            ..LinkStatus::default()
        };
        let mut status = Status {
            links: vec![
                link("first", true, true),
                link("second", true, false),
                link("third", false, false),
            ],
            problems: vec!["second: no cable".into()],
            dns: vec![[192, 0, 2, 53].into()],
            ..Status::default()
        };
        status.links[0].addresses = vec![AddressStatus {
            address: "192.0.2.7/24".into(),
            origin: "dhcp".into(),
        }];
        let network = parse(&serde_json::to_string(&status).unwrap()).unwrap();
        assert_eq!(network.interfaces[0].name, "first-card");
        assert_eq!(network.interfaces[0].addresses[0].origin, "dhcp");
        let links: Vec<Link> = network.interfaces.iter().map(|i| i.link).collect();
        assert_eq!(links, [Link::Up, Link::NoCarrier, Link::Absent]);
        assert_eq!(network.routes, ["dns 192.0.2.53"]);
        assert_eq!(network.problems, ["second: no cable"]);
        assert_eq!(parse("{\"links\":"), None);
    }

    #[test]
    fn without_the_network_service_the_kernel_is_asked() {
        let network = read(Path::new("/nonexistent"), None);
        assert!(network.interfaces.iter().all(|i| i.name != "lo"));
        let addresses = network.interfaces.iter().flat_map(|i| &i.addresses);
        for address in addresses {
            let (ip, length) = address.address.split_once('/').unwrap();
            assert!(ip.parse::<std::net::IpAddr>().is_ok(), "{address:?}");
            assert!(length.parse::<u8>().unwrap() <= 128);
        }
    }
}
