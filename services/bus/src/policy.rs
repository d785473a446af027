//! Who may be on the bus, own which name, and call which: what follows from the manifests.
//!
//! The rules are coarse on purpose. They say who may speak to whom; what may be said is the
//! business of the service that owns the name, which knows its callers by their user and group.

use std::collections::{BTreeMap, BTreeSet};

use manifest::{CONTROL_GROUP_ID, Table, VIEW_GROUP_ID};

/// The bus itself. Whoever is on the bus may call it.
pub const DRIVER: &str = "org.freedesktop.DBus";

const ROOT: u32 = 0;

/// What each user and each group may do. What is not here is refused.
///
/// A connection may do what its user may and what each of its groups may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    pub users: BTreeMap<u32, Rights>,
    pub groups: BTreeMap<u32, Rights>,
}

/// What someone may do who is on the bus. Without rights nobody is: whoever has some may call
/// [`DRIVER`], too, and receive what others may send.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rights {
    /// Names that it may own. Who may own one may send signals, and nobody else.
    pub own: BTreeSet<String>,
    /// Names that it may call.
    pub call: BTreeSet<String>,
}

impl Policy {
    /// A service may own and call what its manifest says. Root and the groups `control` and `view`
    /// may call every name that any service may own.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let services = || table.services().iter();
        let names: BTreeSet<&String> = services().flat_map(|s| &s.bus.own).collect();
        let all = Rights {
            own: BTreeSet::new(),
            call: names.iter().copied().cloned().collect(),
        };
        let mut users = BTreeMap::from([(ROOT, all.clone())]);
        for service in services().filter(|service| !service.bus.is_empty()) {
            let rights: &mut Rights = users.entry(service.user.id).or_default();
            rights.own.extend(service.bus.own.iter().cloned());
            let called = service.bus.call.iter();
            rights
                .call
                .extend(called.flat_map(|pattern| matching(pattern, &names)));
        }
        let groups = [(CONTROL_GROUP_ID, all.clone()), (VIEW_GROUP_ID, all)];
        Self {
            users,
            groups: groups.into(),
        }
    }
}

/// What `pattern` stands for. The broker knows only whole names, and as the set of services is
/// fixed, so is the set of names.
fn matching(pattern: &str, names: &BTreeSet<&String>) -> Vec<String> {
    let Some(prefix) = pattern.strip_suffix('*') else {
        return vec![pattern.to_owned()];
    };
    let below = names.iter().filter(|name| name.starts_with(prefix));
    below.map(|name| (*name).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(services: &[(&str, u32, &str)]) -> Table {
        let manifests = services.iter().map(|(name, id, bus)| {
            let user = if *id == 0 { "root" } else { name };
            let text = format!(
                "description = \"x\"\nuser = {{ name = \"{user}\", id = {id} }}\n[bus]\n{bus}\n"
            );
            manifest::parse(&name.parse().unwrap(), name, &text).unwrap()
        });
        manifest::compile_sources(manifests.collect()).unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn rights_are_those_of_the_manifest_and_no_others() {
        let policy = Policy::of(&table(&[
            ("admin", 208, "own = [\"org.x.A\", \"org.x.B\"]"),
            ("metrics", 209, "call = [\"org.x.B\"]"),
            ("network", 203, ""),
            ("shell", 210, "own = [\"org.y.C\"]\ncall = [\"org.x.*\"]"),
        ]));
        assert_eq!(policy.users[&208].own, set(&["org.x.A", "org.x.B"]));
        assert_eq!(policy.users[&208].call, set(&[]));
        assert_eq!(policy.users[&209].call, set(&["org.x.B"]));
        assert_eq!(policy.users[&210].call, set(&["org.x.A", "org.x.B"]));
        assert!(!policy.users.contains_key(&203));
        let all = Rights {
            own: set(&[]),
            call: set(&["org.x.A", "org.x.B", "org.y.C"]),
        };
        assert_eq!(policy.users[&ROOT], all);
        let groups = [(CONTROL_GROUP_ID, all.clone()), (VIEW_GROUP_ID, all)];
        assert_eq!(policy.groups, groups.into());
    }

    #[test]
    fn a_pattern_ends_at_a_dot() {
        let policy = Policy::of(&table(&[
            ("one", 201, "own = [\"org.x.A\", \"org.xy.B\", \"org.x\"]"),
            ("two", 202, "call = [\"org.x.*\"]"),
        ]));
        assert_eq!(policy.users[&202].call, set(&["org.x.A"]));
    }

    #[test]
    fn services_that_share_a_user_share_its_rights() {
        let policy = Policy::of(&table(&[
            ("one", 0, "own = [\"org.x.A\"]"),
            ("two", 0, "own = [\"org.x.B\"]"),
        ]));
        assert_eq!(policy.users[&ROOT].own, set(&["org.x.A", "org.x.B"]));
    }
}
