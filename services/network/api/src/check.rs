//! From the document's form to its meaning: everything that serde cannot check.

mod across;
mod link;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use crate::SIZE_MAX_BYTES;
use crate::address::Address;
use crate::document::{Document, Network, Route, RouteKind, System};
use crate::error::{ParseError, Problem, nearest};
use crate::name::IfName;
use crate::raw;

pub(crate) fn parse(text: &str) -> Result<Document, ParseError> {
    if text.len() > SIZE_MAX_BYTES {
        let message = format!(
            "the document has {} bytes; at most {SIZE_MAX_BYTES} are read",
            text.len()
        );
        return Err(ParseError {
            problems: vec![Problem::at(text, 0, message)],
        });
    }
    let raw: raw::Document = toml::from_str(text).map_err(|error| ParseError {
        problems: vec![Problem::from_toml(text, &error)],
    })?;
    let mut check = Check {
        text,
        problems: Vec::new(),
    };
    let document = check.document(raw);
    if check.problems.is_empty() {
        Ok(document)
    } else {
        check
            .problems
            .sort_by_key(|problem| (problem.line, problem.column));
        check.problems.truncate(PROBLEMS_MAX);
        Err(ParseError {
            problems: check.problems,
        })
    }
}

struct Check<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

/// Where each link and each address of the document stands in the text.
#[derive(Default)]
struct Places {
    links: BTreeMap<IfName, Range<usize>>,
    addresses: Vec<(Range<usize>, IfName, Address)>,
    /// Links that others name: by whom, as what.
    references: Vec<(Range<usize>, IfName)>,
}

impl Check<'_> {
    fn document(&mut self, raw: raw::Document) -> Document {
        let raw::Document { system, network } = raw;
        let mut places = Places::default();
        let (span, dns) = unspan(network.dns);
        self.count(span.clone(), dns.len(), DNS_MAX, "DNS servers");
        if let Some(server) = dns
            .iter()
            .find(|ip| ip.is_unspecified() || ip.is_multicast())
        {
            self.problem(span, format!("{server} cannot be a DNS server"));
        }
        let (span, search) = unspan(network.search);
        self.count(span, search.len(), SEARCH_MAX, "search domains");
        let (span, sysctls) = unspan(network.sysctl);
        self.count(span, sysctls.len(), SYSCTLS_MAX, "settings");
        let mut links = BTreeMap::new();
        let too_many = network.link.keys().nth(LINKS_MAX).map(Spanned::span);
        if let Some(span) = too_many {
            self.problem(span, format!("more than {LINKS_MAX} links"));
        } else {
            for (name, link) in network.link {
                places.links.insert(name.get_ref().clone(), name.span());
                let checked = self.link(&name, link, &mut places);
                links.insert(name.into_inner(), checked);
            }
        }
        let mut routes = Vec::new();
        if let Some(route) = network.route.get(ROUTES_MAX) {
            self.problem(route.span(), format!("more than {ROUTES_MAX} routes"));
        } else {
            for route in network.route {
                routes.push(self.route(route, &mut places));
            }
        }
        self.references(&places);
        self.vlans(&links, &places);
        self.bridges(&links, &places);
        self.addresses(&links, &places);
        Document {
            system: System {
                hostname: system.hostname,
            },
            network: Network {
                links,
                routes,
                dns,
                search,
                forwarding: network.forwarding.unwrap_or(true),
                sysctls,
            },
        }
    }

    fn route(&mut self, raw: Spanned<raw::Route>, places: &mut Places) -> Route {
        let span = raw.span();
        let raw::Route {
            dev,
            kind,
            metric,
            table,
            to,
            via,
        } = raw.into_inner();
        if let Some(dev) = &dev {
            places.references.push((dev.span(), dev.get_ref().clone()));
        }
        let forwards = kind == RouteKind::Unicast;
        match via {
            Some(via) if via.is_ipv4() != to.network().is_ipv4() => {
                self.problem(
                    span.clone(),
                    format!("via {via} is not of the family of {to}"),
                );
            }
            Some(via) if via.is_unspecified() || via.is_multicast() || via.is_loopback() => {
                self.problem(span.clone(), format!("{via} cannot be a next hop"));
            }
            Some(IpAddr::V6(via)) if via.is_unicast_link_local() && dev.is_none() => {
                self.problem(span.clone(), "a link-local next hop needs dev");
            }
            _ => {}
        }
        if forwards && via.is_none() && dev.is_none() {
            self.problem(span.clone(), "a route needs via or dev");
        }
        if !forwards && (via.is_some() || dev.is_some()) {
            self.problem(span.clone(), "only a unicast route has via or dev");
        }
        let table = table.unwrap_or(MAIN_TABLE);
        if table == 0 || table == LOCAL_TABLE {
            self.problem(span, format!("table {table} belongs to the kernel"));
        }
        Route {
            to,
            via,
            dev: dev.map(Spanned::into_inner),
            metric,
            table,
            kind,
        }
    }

    fn references(&mut self, places: &Places) {
        for (span, name) in &places.references {
            if !places.links.contains_key(name) {
                let mut problem =
                    Problem::at(self.text, span.start, format!("there is no link `{name}`"));
                let known = places.links.keys().map(IfName::as_str);
                problem.hint = nearest(name.as_str(), known)
                    .map(|near| format!("did you mean `{near}`?"))
                    .or_else(|| Some(format!("add [network.link.{name}]")));
                self.problems.push(problem);
            }
        }
    }

    fn count(&mut self, span: Range<usize>, count: usize, most: usize, what: &str) {
        if count > most {
            self.problem(span, format!("{count} {what}; at most {most} are possible"));
        }
    }

    fn problem(&mut self, span: Range<usize>, message: impl Into<String>) {
        // Finding a line reads the text from its start: bound the work that a bad document makes.
        if self.problems.len() < PROBLEMS_MAX {
            self.problems
                .push(Problem::at(self.text, span.start, message));
        }
    }
}

fn unspan<T: Default>(value: Option<Spanned<T>>) -> (Range<usize>, T) {
    match value {
        Some(value) => (value.span(), value.into_inner()),
        None => (0..0, T::default()),
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
const PROBLEMS_MAX: usize = 32;
const IPV6_MTU_MIN: u32 = 1280;
const MAIN_TABLE: u32 = 254;
const LOCAL_TABLE: u32 = 255;
