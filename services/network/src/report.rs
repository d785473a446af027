//! What the service tells others: the status file, one line for PID 1, and `resolv.conf`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use config::{DomainName, IfName, Network, Role};
use network_api::{AddressStatus, DhcpStatus, Gateway, LinkStatus, Status};

use crate::desired::Resolved;
use crate::dhcp::client::{Client, Phase};
use crate::state::{Observed, Origin};

/// What is known apart from the kernel's state.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub source: &'a str,
    pub generation: Option<u64>,
    pub network: &'a Network,
    pub resolved: &'a Resolved,
    pub observed: &'a Observed,
    /// By the document's name of the link.
    pub clients: BTreeMap<&'a IfName, &'a Client>,
    pub advertising: Vec<&'a IfName>,
    pub dns: Vec<IpAddr>,
    pub problems: Vec<String>,
    pub changes: u64,
}

#[must_use]
pub fn status(inputs: &Inputs<'_>) -> Status {
    let mut gateways: Vec<Gateway> = inputs
        .observed
        .routes
        .iter()
        .filter(|route| route.to.is_default() && route.table == 254)
        .filter_map(|route| {
            Some(Gateway {
                address: route.via?,
                interface: route.dev.as_ref()?.to_string(),
                metric: route.metric,
                origin: origin_text(route.origin).to_owned(),
            })
        })
        .collect();
    gateways.sort_by_key(|gateway| (gateway.metric, gateway.address));
    let links = inputs.network.links.iter();
    Status {
        configuration: inputs.source.to_owned(),
        generation: inputs.generation,
        links: links
            .map(|(key, link)| link_status(inputs, key, link.role))
            .collect(),
        gateways,
        dns: inputs.dns.clone(),
        problems: inputs.problems.clone(),
        changes: inputs.changes,
    }
}

fn link_status(inputs: &Inputs<'_>, key: &IfName, role: Role) -> LinkStatus {
    let mut status = LinkStatus {
        name: key.to_string(),
        role: match role {
            Role::Lan => "lan",
            Role::None => "none",
            Role::Wan => "wan",
        }
        .to_owned(),
        advertising: inputs.advertising.contains(&key),
        dhcp: inputs.clients.get(key).map(|client| dhcp_status(client)),
        ..LinkStatus::default()
    };
    let Some(name) = inputs.resolved.names.get(key) else {
        return status;
    };
    let Some(seen) = inputs.observed.links.get(name) else {
        return status;
    };
    status.interface = Some(name.to_string());
    status.up = seen.up;
    status.carrier = seen.carrier;
    status.mac = seen.mac.map(|mac| mac.to_string());
    status.mtu = seen.mtu;
    status.addresses = inputs
        .observed
        .addresses
        .iter()
        .filter(|(key, seen)| key.link == *name && seen.origin != Origin::LinkLocal)
        .map(|(key, seen)| AddressStatus {
            address: format!("{}/{}", key.ip, key.prefix_len),
            origin: origin_text(seen.origin).to_owned(),
        })
        .collect();
    status
}

fn dhcp_status(client: &Client) -> DhcpStatus {
    let phase = match client.phase() {
        Phase::Bound => "bound",
        Phase::NoLink => "no link",
        Phase::Rebinding => "rebinding",
        Phase::Rebooting => "confirming",
        Phase::Renewing => "renewing",
        Phase::Requesting | Phase::Selecting => "looking for a server",
        Phase::Waiting => "refused",
    };
    let server = client.lease().map(|lease| lease.server.into());
    DhcpStatus {
        phase: phase.to_owned(),
        server,
    }
}

/// `eth0 192.0.2.5/24 dhcp; eth1 192.168.77.1/24, no cable; 1 problem: …`
#[must_use]
pub fn line(status: &Status) -> String {
    let mut parts: Vec<String> = Vec::new();
    for link in &status.links {
        let mut words: Vec<String> = link
            .addresses
            .iter()
            .map(|address| match address.origin.as_str() {
                "static" => address.address.clone(),
                origin => format!("{} {origin}", address.address),
            })
            .collect();
        if link.interface.is_none() {
            words.push("no card".to_owned());
        } else if !link.carrier {
            words.push("no cable".to_owned());
        } else if let Some(dhcp) = &link.dhcp
            && dhcp.phase != "bound"
        {
            words.push(format!("dhcp: {}", dhcp.phase));
        }
        let interface = link
            .interface
            .as_ref()
            .filter(|interface| **interface != link.name);
        let name = match interface {
            Some(interface) => format!("{} ({interface})", link.name),
            None => link.name.clone(),
        };
        parts.push(format!("{name} {}", words.join(", ")).trim_end().to_owned());
    }
    match status.problems.as_slice() {
        [] => {}
        [problem] => parts.push(format!("1 problem: {problem}")),
        [first, ..] => parts.push(format!("{} problems: {first}", status.problems.len())),
    }
    let mut line = parts.join("; ");
    if line.len() > LINE_MAX {
        let end = (0..LINE_MAX)
            .rev()
            .find(|end| line.is_char_boundary(*end))
            .unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

#[must_use]
pub fn resolv_conf(dns: &[IpAddr], search: &[DomainName]) -> String {
    let mut text = String::from("# Written by the service network.\n");
    for server in dns {
        writeln!(text, "nameserver {server}").expect("a String takes everything");
    }
    if !search.is_empty() {
        let domains: Vec<&str> = search.iter().map(DomainName::as_str).collect();
        writeln!(text, "search {}", domains.join(" ")).expect("a String takes everything");
    }
    text
}

/// Replaces a file as a whole: a reader sees the old text or the new one. Everybody may read it,
/// whatever the file mode mask says: the console does.
///
/// # Errors
/// When the directory cannot be written to.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))?;
    fs::rename(&fresh, path)
}

fn origin_text(origin: Origin) -> &'static str {
    match origin {
        Origin::Foreign | Origin::LinkLocal => "other",
        Origin::Lease => "dhcp",
        Origin::RouterAdvertisement => "ra",
        Origin::Static => "static",
    }
}

/// A status line is read on a console.
const LINE_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, addresses: &[(&str, &str)]) -> LinkStatus {
        LinkStatus {
            name: name.to_owned(),
            interface: Some(name.to_owned()),
            carrier: true,
            addresses: addresses
                .iter()
                .map(|(address, origin)| AddressStatus {
                    address: (*address).to_owned(),
                    origin: (*origin).to_owned(),
                })
                .collect(),
            ..LinkStatus::default()
        }
    }

    #[test]
    fn the_line_tells_what_a_person_wants_to_know() {
        let mut status = Status {
            links: vec![
                link(
                    "eth0",
                    &[("192.0.2.5/24", "dhcp"), ("2001:db8::5/64", "ra")],
                ),
                link("eth1", &[("192.168.77.1/24", "static")]),
                LinkStatus {
                    carrier: false,
                    ..link("eth2", &[])
                },
                LinkStatus {
                    interface: None,
                    ..link("wan2", &[])
                },
                LinkStatus {
                    name: "lte".to_owned(),
                    ..link("eth7", &[])
                },
            ],
            ..Status::default()
        };
        assert_eq!(
            line(&status),
            "eth0 192.0.2.5/24 dhcp, 2001:db8::5/64 ra; eth1 192.168.77.1/24; eth2 no cable; \
             wan2 no card; lte (eth7)"
        );
        status.problems = vec!["x".repeat(500)];
        assert!(line(&status).contains("; 1 problem: x") && line(&status).len() < 410);
    }

    #[test]
    fn resolv_conf_has_servers_and_domains() {
        let dns = ["9.9.9.9".parse().unwrap(), "2620:fe::fe".parse().unwrap()];
        assert_eq!(
            resolv_conf(&dns, &["example.net".parse().unwrap()]),
            "# Written by the service network.\nnameserver 9.9.9.9\nnameserver 2620:fe::fe\n\
             search example.net\n"
        );
    }
}
