//! From the document's form to its meaning: everything that serde cannot check.

mod across;
mod link;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address::Address;
use super::form;
use super::model::{Link, Network, Route, RouteKind};
use super::name::IfName;
use super::sysctl::SysctlKey;
use crate::path::Path;
use crate::problem::did_you_mean;
use crate::section::Checks;

pub(super) fn network(form: form::Network, checks: &mut Checks<'_>) -> Network {
    Check {
        link_table: checks.path("link"),
        checks,
        places: Places::default(),
    }
    .network(form)
}

struct Check<'a, 'b> {
    checks: &'a mut Checks<'b>,
    link_table: Path,
    places: Places,
}

/// Where each address of the document stands, and each link that others name.
#[derive(Default)]
struct Places {
    addresses: Vec<(Path, IfName, Address)>,
    references: Vec<(Path, IfName)>,
}

impl Check<'_, '_> {
    fn network(&mut self, form: form::Network) -> Network {
        let dns = self.checks.path("dns");
        self.count(&dns, form.dns.len(), DNS_MAX, "DNS servers");
        for (index, server) in form.dns.iter().enumerate().take(DNS_MAX) {
            if server.is_unspecified() || server.is_multicast() {
                self.problem(dns.index(index), format!("{server} cannot be a DNS server"));
            }
        }
        let search = self.checks.path("search");
        self.count(&search, form.search.len(), SEARCH_MAX, "search domains");
        let sysctl = self.checks.path("sysctl");
        self.count(&sysctl, form.sysctl.len(), SYSCTLS_MAX, "settings");
        let mut sysctls = BTreeMap::new();
        for (key, value) in form.sysctl.into_iter().take(SYSCTLS_MAX) {
            match key.parse::<SysctlKey>() {
                Ok(name) => drop(sysctls.insert(name, value)),
                Err(error) => self.checks.key(sysctl.key(key), error.to_string()),
            }
        }
        let mut links = BTreeMap::new();
        let link_table = self.link_table.clone();
        self.count(&link_table, form.link.len(), LINKS_MAX, "links");
        for (key, link) in form.link.into_iter().take(LINKS_MAX) {
            match key.parse::<IfName>() {
                Ok(name) => {
                    let checked = self.link(&name, link);
                    links.insert(name, checked);
                }
                Err(error) => self.checks.key(link_table.key(key), error.to_string()),
            }
        }
        let routes = self.checks.path("route");
        self.count(&routes, form.route.len(), ROUTES_MAX, "routes");
        let form_routes = form.route.into_iter().enumerate().take(ROUTES_MAX);
        let routes = form_routes
            .map(|(index, route)| self.route(routes.index(index), route))
            .collect();
        self.references(&links);
        self.vlans(&links);
        self.bridges(&links);
        self.addresses(&links);
        Network {
            links,
            routes,
            dns: form.dns,
            search: form.search,
            forwarding: form.forwarding.unwrap_or(true),
            sysctls,
        }
    }

    fn route(&mut self, path: Path, form: form::Route) -> Route {
        let form::Route {
            dev,
            kind,
            metric,
            table,
            to,
            via,
        } = form;
        if let Some(dev) = &dev {
            self.places.references.push((path.key("dev"), dev.clone()));
        }
        let forwards = kind == RouteKind::Unicast;
        match via {
            Some(via) if via.is_ipv4() != to.network().is_ipv4() => {
                let message = format!("via {via} is not of the family of {to}");
                self.problem(path.key("via"), message);
            }
            Some(via) if via.is_unspecified() || via.is_multicast() || via.is_loopback() => {
                self.problem(path.key("via"), format!("{via} cannot be a next hop"));
            }
            Some(IpAddr::V6(via)) if via.is_unicast_link_local() && dev.is_none() => {
                self.problem(path.key("via"), "a link-local next hop needs dev");
            }
            _ => {}
        }
        if forwards && via.is_none() && dev.is_none() {
            self.problem(path.clone(), "a route needs via or dev");
        }
        if !forwards && (via.is_some() || dev.is_some()) {
            self.problem(path.clone(), "only a unicast route has via or dev");
        }
        let table = table.unwrap_or(MAIN_TABLE);
        if table == 0 || table == LOCAL_TABLE {
            self.problem(
                path.key("table"),
                format!("table {table} belongs to the kernel"),
            );
        }
        Route {
            to,
            via,
            dev,
            metric,
            table,
            kind,
        }
    }

    fn references(&mut self, links: &BTreeMap<IfName, Link>) {
        for (path, name) in std::mem::take(&mut self.places.references) {
            if !links.contains_key(&name) {
                let known = links.keys().map(IfName::as_str);
                let hint = did_you_mean(name.as_str(), known)
                    .unwrap_or_else(|| format!("add [network.link.{name}]"));
                let message = format!("there is no link `{name}`");
                self.checks.hint(path, message, hint);
            }
        }
    }

    /// Where a link's table is.
    fn place(&self, link: &IfName) -> Path {
        self.link_table.key(link.as_str())
    }

    fn count(&mut self, path: &Path, count: usize, most: usize, what: &str) {
        if count > most {
            let message = format!("{count} {what}; at most {most} are possible");
            self.problem(path.clone(), message);
        }
    }

    fn problem(&mut self, path: Path, message: impl Into<String>) {
        self.checks.value(path, message);
    }
}

const LINKS_MAX: usize = 256;
const ADDRESSES_MAX: usize = 16;
const ROUTES_MAX: usize = 1024;
const PORTS_MAX: usize = 64;
const VLANS_MAX: usize = 256;
const PREFIXES_MAX: usize = 8;
const DNS_MAX: usize = 8;
const SEARCH_MAX: usize = 6;
const SYSCTLS_MAX: usize = 64;
const IPV6_MTU_MIN: u32 = 1280;
const MAIN_TABLE: u32 = 254;
const LOCAL_TABLE: u32 = 255;
