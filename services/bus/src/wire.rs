//! The policy in the form that `dbus-broker` 33 takes.
//!
//! Its manual calls the form unstable, and indeed it has changed between versions. A broker of
//! another version answers `AddListener` with an error, so that a mismatch is seen at once and
//! never becomes a bus without a policy.

use serde::Serialize;
use zbus::wire::Type;

use crate::policy::{DRIVER, Policy, Rights};

/// Nothing is ever taken back, so all verdicts have the same weight. 0 would be none at all.
const PRIORITY: u64 = 1;
/// The user id that stands for everyone who has no entry of their own.
const EVERYONE: u32 = u32::MAX;
const METHOD_CALL: u32 = 1;
const SIGNAL: u32 = 4;
const ANY: u32 = 0;

/// Everything that a connection may do, by user and by group.
#[derive(Debug, Serialize, Type)]
pub(crate) struct WirePolicy<'a> {
    users: Vec<(u32, WireBatch<'a>)>,
    /// Groups (true) or ranges of users (false), first and last.
    groups: Vec<(bool, u32, u32, WireBatch<'a>)>,
    /// Names with their SELinux contexts.
    selinux: Vec<(&'a str, &'a str)>,
    apparmor: bool,
    bus_type: &'a str,
}

/// The default refuses everything.
#[derive(Debug, Default, Serialize, Type)]
struct WireBatch<'a> {
    connect: bool,
    priority: u64,
    own: Vec<Own<'a>>,
    send: Vec<Transfer<'a>>,
    receive: Vec<Transfer<'a>>,
}

#[derive(Debug, Serialize, Type)]
struct Own<'a> {
    verdict: bool,
    priority: u64,
    is_prefix: bool,
    name: &'a str,
}

/// A message that may be sent or received. An empty string is any.
#[derive(Debug, Serialize, Type)]
struct Transfer<'a> {
    verdict: bool,
    priority: u64,
    /// A name that the other side owns.
    name: &'a str,
    path: &'a str,
    interface: &'a str,
    member: &'a str,
    kind: u32,
    broadcast: u32,
    least_fds: u64,
    most_fds: u64,
}

impl<'a> Transfer<'a> {
    fn new(name: &'a str, kind: u32) -> Self {
        Self {
            verdict: true,
            priority: PRIORITY,
            name,
            path: "",
            interface: "",
            member: "",
            kind,
            broadcast: ANY,
            least_fds: 0,
            most_fds: u64::MAX,
        }
    }
}

impl<'a> From<&'a Policy> for WirePolicy<'a> {
    fn from(policy: &'a Policy) -> Self {
        let users = policy.users.iter();
        let groups = policy.groups.iter();
        Self {
            users: std::iter::once((EVERYONE, WireBatch::default()))
                .chain(users.map(|(id, rights)| (*id, rights.into())))
                .collect(),
            groups: groups
                .map(|(id, rights)| (true, *id, *id, rights.into()))
                .collect(),
            selinux: Vec::new(),
            apparmor: false,
            bus_type: "system",
        }
    }
}

impl<'a> From<&'a Rights> for WireBatch<'a> {
    fn from(rights: &'a Rights) -> Self {
        let own = rights.own.iter().map(|name| Own {
            verdict: true,
            priority: PRIORITY,
            is_prefix: false,
            name,
        });
        let callable = rights.call.iter().map(String::as_str).chain([DRIVER]);
        let calls = callable.map(|name| Transfer::new(name, METHOD_CALL));
        let signals = (!rights.own.is_empty()).then(|| Transfer::new("", SIGNAL));
        Self {
            connect: true,
            priority: PRIORITY,
            own: own.collect(),
            send: calls.chain(signals).collect(),
            // What was allowed to be sent is allowed to arrive.
            receive: vec![Transfer::new("", ANY)],
        }
    }
}
