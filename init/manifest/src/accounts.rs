//! `/etc/passwd` and `/etc/group`, for people who look at files; no program of ours reads them.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::{Name, Table};

/// Whoever is in it may command PID 1 through its socket.
pub const CONTROL_GROUP_ID: u32 = 90;

/// Whoever is in it may look at everything that holds no secret, and change nothing.
pub const VIEW_GROUP_ID: u32 = 91;

const GROUPS: [(&str, u32); 2] = [("control", CONTROL_GROUP_ID), ("view", VIEW_GROUP_ID)];

/// The id of a group that manifests may ask for.
#[must_use]
pub fn group_id(group: &Name) -> Option<u32> {
    let known = GROUPS.iter().find(|(name, _)| group.as_str() == *name);
    known.map(|(_, id)| *id)
}

/// The text of `/etc/passwd` for the services of `table`.
#[must_use]
pub fn passwd_file(table: &Table) -> String {
    let mut text = String::from("root:x:0:0:root:/:/usr/sbin/nologin\n");
    for (id, name) in users(table) {
        writeln!(text, "{name}:x:{id}:{id}:{name}:/:/usr/sbin/nologin")
            .expect("writing to a String does not fail");
    }
    text
}

/// The text of `/etc/group` for the services of `table`.
#[must_use]
pub fn group_file(table: &Table) -> String {
    let mut text = String::from("root:x:0:\n");
    for (group, id) in GROUPS {
        let members = table.services().iter().map(|service| &service.user);
        let members = members.filter(|user| user.groups.iter().any(|name| name.as_str() == group));
        let members: Vec<&str> = members.map(|user| user.name.as_str()).collect();
        writeln!(text, "{group}:x:{id}:{}", members.join(","))
            .expect("writing to a String does not fail");
    }
    for (id, name) in users(table) {
        writeln!(text, "{name}:x:{id}:").expect("writing to a String does not fail");
    }
    text
}

fn users(table: &Table) -> BTreeMap<u32, &Name> {
    let users = table.services().iter().map(|service| &service.user);
    (users.filter(|user| user.id != 0))
        .map(|user| (user.id, &user.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_follow_the_manifests() {
        let text = "description = \"x\"\nuser = { name = \"console\", id = 204, groups = [\"control\"] }\n";
        let manifest = crate::parse(&"console".parse().unwrap(), "console.toml", text).unwrap();
        let table = crate::compile_sources(vec![manifest]).unwrap();
        assert!(passwd_file(&table).ends_with("console:x:204:204:console:/:/usr/sbin/nologin\n"));
        let expected = "root:x:0:\ncontrol:x:90:console\nview:x:91:\nconsole:x:204:\n";
        assert_eq!(group_file(&table), expected);
    }
}
