//! The named groups of system calls that a manifest may ask for.

mod filter;
mod lists;

pub(crate) use filter::compile;

use serde::{Deserialize, Serialize};

/// The kernel's table, as `number name` lines (arch/x86/entry/syscalls/syscall_64.tbl).
const TABLE: &str = include_str!("syscalls/x86_64.txt");

fn syscall_number(name: &str) -> Option<u32> {
    let mut entries = TABLE.lines().filter_map(|line| line.split_once(' '));
    entries.find(|(_, known)| *known == name)?.0.parse().ok()
}

/// The name of a system call, for messages.
#[must_use]
pub fn syscall_name(number: u32) -> Option<&'static str> {
    let entries = TABLE.lines().filter_map(|line| line.split_once(' '));
    let mut same = entries.filter(|(known, _)| known.parse() == Ok(number));
    same.next().map(|(_, name)| name)
}

/// The groups that allow a system call which not everybody may make.
#[must_use]
pub fn groups_with(call: &str) -> Vec<&'static str> {
    let socket = [
        SyscallGroup::Netlink,
        SyscallGroup::NetworkIo,
        SyscallGroup::PacketSockets,
    ];
    let has = |group: &&SyscallGroup| {
        lists::calls(**group).contains(&call) || call == "socket" && socket.contains(*group)
    };
    SyscallGroup::ALL
        .iter()
        .filter(has)
        .map(|group| group.name())
        .collect()
}

/// A seccomp filter, ready for the kernel: BPF instructions as linux/filter.h lays them out, in the
/// byte order of the machine. In the table it is hexadecimal.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter(pub(crate) Vec<u8>);

impl Filter {
    /// `struct sock_filter`.
    pub const INSTRUCTION_BYTES: usize = 8;

    /// The instructions, one after the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Filter({} instructions)",
            self.0.len() / Self::INSTRUCTION_BYTES
        )
    }
}

impl TryFrom<String> for Filter {
    type Error = InvalidFilter;

    fn try_from(text: String) -> Result<Self, InvalidFilter> {
        let digit = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let pair = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        let whole = |bytes: &Vec<u8>| bytes.len().is_multiple_of(Self::INSTRUCTION_BYTES);
        bytes.filter(whole).map(Self).ok_or(InvalidFilter)
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Not the hexadecimal form of whole instructions.
#[derive(Debug, thiserror::Error)]
#[error("a system call filter is not whole instructions in hexadecimal")]
pub struct InvalidFilter;

/// A group of system calls beyond those that every service has.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyscallGroup {
    /// Loading BPF programs and reading performance counters.
    Bpf,
    /// Setting the clock.
    Clock,
    /// Becoming another user or group, dropping capabilities, a root folder of its own.
    Credentials,
    /// Looking into other processes.
    Debug,
    /// The name of the machine.
    Hostname,
    /// Any ioctl(2); without it a service has only those that ask harmless things.
    Ioctl,
    /// The kernel's log.
    KernelLog,
    /// Keeping memory from being swapped or read by others.
    MemoryLock,
    /// Mounting and unmounting.
    Mount,
    /// Other namespaces.
    Namespaces,
    /// Netlink sockets.
    Netlink,
    /// TCP and UDP over IPv4 and IPv6, ICMP sockets.
    NetworkIo,
    /// Giving files to other users, device nodes.
    Ownership,
    /// Sockets that see whole frames, and raw IP.
    PacketSockets,
    /// Powering off and restarting the machine.
    Power,
    /// Other processes: making them, waiting for them, sending them signals.
    Processes,
    /// Confining itself or its children further: seccomp(2), Landlock.
    Sandbox,
    /// Priorities and processors.
    Scheduling,
    /// Settings of a terminal, and being its owner.
    Terminal,
}

impl SyscallGroup {
    /// All of them, in alphabetical order.
    pub const ALL: [Self; 19] = [
        Self::Bpf,
        Self::Clock,
        Self::Credentials,
        Self::Debug,
        Self::Hostname,
        Self::Ioctl,
        Self::KernelLog,
        Self::MemoryLock,
        Self::Mount,
        Self::Namespaces,
        Self::Netlink,
        Self::NetworkIo,
        Self::Ownership,
        Self::PacketSockets,
        Self::Power,
        Self::Processes,
        Self::Sandbox,
        Self::Scheduling,
        Self::Terminal,
    ];

    /// The manifest's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Debug => "debug",
            Self::Hostname => "hostname",
            Self::Ioctl => "ioctl",
            Self::KernelLog => "kernel-log",
            Self::MemoryLock => "memory-lock",
            Self::Mount => "mount",
            Self::Namespaces => "namespaces",
            Self::Netlink => "netlink",
            Self::NetworkIo => "network-io",
            Self::Ownership => "ownership",
            Self::PacketSockets => "packet-sockets",
            Self::Power => "power",
            Self::Processes => "processes",
            Self::Sandbox => "sandbox",
            Self::Scheduling => "scheduling",
            Self::Terminal => "terminal",
        }
    }

    /// What it allows, for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Bpf => "load BPF programs and read performance counters",
            Self::Clock => "set the clock",
            Self::Credentials => "become another user, drop capabilities, change its root folder",
            Self::Debug => "look into other processes",
            Self::Hostname => "name the machine",
            Self::Ioctl => "make any ioctl",
            Self::KernelLog => "read the kernel's log",
            Self::MemoryLock => "lock memory",
            Self::Mount => "mount and unmount",
            Self::Namespaces => "enter other namespaces",
            Self::Netlink => "open netlink sockets",
            Self::NetworkIo => "open TCP, UDP and ICMP sockets",
            Self::Ownership => "give files to other users, make device nodes",
            Self::PacketSockets => "open packet and raw IP sockets",
            Self::Power => "power off and restart the machine",
            Self::Processes => "start other processes and send signals",
            Self::Sandbox => "confine itself further",
            Self::Scheduling => "set priorities and processors",
            Self::Terminal => "change the settings of a terminal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_the_round_trip() {
        let filter = compile(&[SyscallGroup::Mount], crate::NetAccess::Unix);
        let text = String::from(filter.clone());
        assert_eq!(Filter::try_from(text.clone()).unwrap(), filter);
        for bad in [&text[1..], &text[2..], "zz00000000000000", "é0000000000000"] {
            assert!(Filter::try_from(bad.to_owned()).is_err());
        }
    }

    #[test]
    fn numbers_and_names() {
        assert_eq!(syscall_number("openat"), Some(257));
        assert_eq!(syscall_name(272), Some("unshare"));
        assert_eq!(syscall_name(9999), None);
    }

    #[test]
    fn names_are_what_manifests_say() {
        for group in SyscallGroup::ALL {
            let json = serde_json::to_string(&group).unwrap();
            assert_eq!(json, format!("\"{}\"", group.name()));
        }
    }
}
