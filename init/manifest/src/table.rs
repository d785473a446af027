use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::grants::{Bus, Files, Net, NetAccess, Ports, Socket};
use crate::{Capability, Filter, Name, SyscallGroup};

/// The largest table that [`Table::load`] accepts.
pub const MAX_TABLE_BYTES: usize = 4 << 20;
/// The most services that a table may hold.
pub const MAX_SERVICES: usize = 512;

const FORMAT: u32 = 1;

/// Every service of the image, each after what it needs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    format: u32,
    services: Vec<Service>,
}

impl Table {
    pub(crate) fn new(services: Vec<Service>) -> Self {
        Self {
            format: FORMAT,
            services,
        }
    }

    /// The same with more services at the end; what they need must be among all of them.
    #[must_use]
    pub fn with(mut self, more: Vec<Service>) -> Self {
        self.services.extend(more);
        self
    }

    /// Reads a compiled table.
    ///
    /// # Errors
    /// When it is too large, not a table, of another format, or breaks a rule that PID 1 relies on.
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        if bytes.len() > MAX_TABLE_BYTES {
            return Err(LoadError::TooLarge);
        }
        let table: Self = serde_json::from_slice(bytes).map_err(LoadError::Syntax)?;
        if table.format != FORMAT {
            return Err(LoadError::Format(table.format));
        }
        if table.services.len() > MAX_SERVICES {
            return Err(LoadError::TooMany(table.services.len()));
        }
        let mut earlier = HashSet::new();
        for service in &table.services {
            if let Some(need) = service.needs.iter().find(|need| !earlier.contains(need)) {
                return Err(LoadError::Order {
                    service: service.name.clone(),
                    need: need.clone(),
                });
            }
            if !earlier.insert(&service.name) {
                return Err(LoadError::Twice(service.name.clone()));
            }
        }
        Ok(table)
    }

    /// The form that the image carries and [`Table::load`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a table has string keys only and no fallible serialiser");
        text.push('\n');
        text
    }

    /// The services, each after what it needs.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Gives the services away, in the same order.
    #[must_use]
    pub fn into_services(self) -> Vec<Service> {
        self.services
    }

    /// For each service, the positions of those that it needs.
    #[must_use]
    pub fn needs_by_position(&self) -> Vec<Vec<usize>> {
        let position: HashMap<&Name, usize> = (self.services.iter().enumerate())
            .map(|(position, service)| (&service.name, position))
            .collect();
        (self.services.iter())
            .map(|service| {
                let known = service.needs.iter();
                known.filter_map(|n| position.get(n).copied()).collect()
            })
            .collect()
    }
}

/// A table that PID 1 cannot use.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "the service table is of format {0}, and this PID 1 reads {FORMAT}: build both at once"
    )]
    Format(u32),
    #[error("the service table lists `{service}` before `{need}`, which it needs")]
    Order { service: Name, need: Name },
    #[error("the service table is not valid")]
    Syntax(#[source] serde_json::Error),
    #[error("the service table is larger than {MAX_TABLE_BYTES} bytes")]
    TooLarge,
    #[error("the service table lists {0} services, more than {MAX_SERVICES}")]
    TooMany(usize),
    #[error("the service table lists `{0}` twice")]
    Twice(Name),
}

/// One service, as PID 1 starts it. `services/<name>/service.toml` has the same keys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: Name,
    pub description: String,
    pub kind: Kind,
    pub readiness: Readiness,
    /// Absolute path of the program.
    pub program: String,
    pub arguments: Vec<String>,
    pub user: User,
    /// Bounding and ambient set; the service has no others and can gain none.
    pub capabilities: Vec<Capability>,
    /// Device nodes that belong to the service's user while it runs.
    pub devices: Vec<String>,
    /// Whether it has `/data/<name>`.
    pub state: bool,
    /// Services that must be ready before this one starts.
    pub needs: Vec<Name>,
    /// Whether the boot is healthy only when this service is ready.
    pub critical: bool,
    pub start_timeout_s: u32,
    pub stop_timeout_s: u32,
    /// How long the service may stay silent; 0 where PID 1 does not watch it.
    pub watchdog_s: u32,
    pub restart: Restart,
    pub limits: Limits,
    /// Sections of the configuration that the store hands to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<Name>,
    /// Groups of system calls beyond those that every service has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<SyscallGroup>,
    /// Why it has a grant that its own tests never use, by the grant's name ([`Service::grants`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, String>,
    /// It is restarted when one of these is; all of them are in `needs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_with: Vec<Name>,
    /// How many descriptors PID 1 keeps for it (`FDSTORE=1`).
    #[serde(default)]
    pub fd_store: u32,
    #[serde(default)]
    pub files: Files,
    #[serde(default)]
    pub net: Net,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<Socket>,
    #[serde(default)]
    pub bus: Bus,
    /// No sandbox at all: for what injects faults into test images. No other image may hold it.
    #[serde(default)]
    pub unconfined: bool,
    /// Compiled from `syscalls` and `net.access`.
    pub filter: Filter,
}

impl Service {
    /// All that is granted beyond what every service has, each by the key that `reasons` knows it by:
    /// `capabilities.net_raw`, `files.read./etc/x`, `net.tcp_bind.9100`.
    #[must_use]
    pub fn grants(&self) -> Vec<String> {
        let mut grants: Vec<String> = Vec::new();
        grants.extend((self.capabilities.iter()).map(|c| format!("capabilities.{}", c.name())));
        grants.extend(self.devices.iter().map(|path| format!("devices.{path}")));
        grants.extend((self.syscalls.iter()).map(|group| format!("syscalls.{}", group.name())));
        for (key, paths) in [
            ("read", &self.files.read),
            ("write", &self.files.write),
            ("exec", &self.files.exec),
            ("mount", &self.files.mount),
        ] {
            grants.extend(paths.iter().map(|path| format!("files.{key}.{path}")));
        }
        match self.net.access {
            NetAccess::None => {}
            NetAccess::Unix => grants.push("net.access.unix".into()),
            NetAccess::Host => grants.push("net.access.host".into()),
        }
        for (key, ports) in [
            ("tcp_bind", &self.net.tcp_bind),
            ("tcp_connect", &self.net.tcp_connect),
        ] {
            match ports {
                Ports::Any(_) => grants.push(format!("net.{key}.any")),
                Ports::These(list) => {
                    grants.extend(list.iter().map(|port| format!("net.{key}.{port}")));
                }
            }
        }
        grants
    }
}

/// How a service runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Runs until it is stopped.
    #[default]
    Daemon,
    /// Runs to its end once; ready when it exits with status 0.
    Oneshot,
}

/// When a daemon counts as ready.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// As soon as its program runs. For programs that know nothing of `sd_notify`.
    Exec,
    /// When it sends `READY=1` (`sd_notify(3)`).
    #[default]
    Notify,
}

/// Whom a service runs as.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: Name,
    /// User id and primary group id.
    pub id: u32,
    /// Supplementary groups, by name.
    #[serde(default)]
    pub groups: Vec<Name>,
}

/// What happens when a service ends by itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    pub policy: Policy,
    /// Before the first restart; doubled for each further one.
    pub delay_ms: u32,
    pub delay_max_ms: u32,
    /// After so long without a failure the delay starts over.
    pub healthy_after_s: u32,
    /// More restarts than this within `burst_window_s`, and PID 1 gives up.
    pub burst: u32,
    pub burst_window_s: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            delay_ms: 0,
            delay_max_ms: 30_000,
            healthy_after_s: 60,
            burst: 5,
            burst_window_s: 30,
        }
    }
}

/// When a service that ended is started again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// After each end of a daemon, and after each failure of a oneshot.
    #[default]
    Always,
    Never,
    /// Only after a failure: a status other than 0, a signal, a time-out.
    OnFailure,
}

/// Resources that a service may take, for all its processes together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max_mb: Option<u32>,
    /// From here on the service is slowed down instead of killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_high_mb: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<u32>,
    /// 1 to 10,000; the kernel's default is 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// 1 to 10,000; the kernel's default is 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u32>,
    /// Descriptors per process; 1,024 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(services: &[(&str, &[&str])]) -> Table {
        let sources = services.iter().map(|(name, needs)| {
            let text = format!(
                "description = \"x\"\nuser = {{ name = \"root\", id = 0 }}\nneeds = {needs:?}\n"
            );
            crate::parse(&name.parse().unwrap(), "test.toml", &text).unwrap()
        });
        crate::compile_sources(sources.collect()).unwrap()
    }

    #[test]
    fn a_table_survives_the_round_trip() {
        let table = table(&[("b", &["a"]), ("a", &[]), ("c", &["a", "b"])]);
        let names: Vec<_> = table.services().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(table.needs_by_position(), [vec![], vec![0], vec![0, 1]]);
        assert_eq!(Table::load(table.to_json().as_bytes()).unwrap(), table);
    }

    #[test]
    fn a_table_out_of_order_is_refused() {
        let mut wrong = table(&[("a", &[]), ("b", &["a"])]);
        wrong.services.reverse();
        let error = Table::load(wrong.to_json().as_bytes()).unwrap_err();
        assert!(matches!(error, LoadError::Order { .. }), "{error}");

        let mut twice = table(&[("a", &[])]);
        twice.services.push(twice.services[0].clone());
        let error = Table::load(twice.to_json().as_bytes()).unwrap_err();
        assert!(matches!(error, LoadError::Twice(_)), "{error}");
    }

    #[test]
    fn oversized_and_foreign_tables_are_refused() {
        let error = Table::load(&vec![b' '; MAX_TABLE_BYTES + 1]).unwrap_err();
        assert!(matches!(error, LoadError::TooLarge));
        let error = Table::load(br#"{"format":2,"services":[]}"#).unwrap_err();
        assert!(matches!(error, LoadError::Format(2)));
        let deep = "[".repeat(100_000);
        assert!(matches!(
            Table::load(deep.as_bytes()).unwrap_err(),
            LoadError::Syntax(_)
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            Table::load(&bytes).ok();
        }
    }
}
