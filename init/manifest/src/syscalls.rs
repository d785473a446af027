//! The named groups of system calls that a manifest may ask for.

use serde::{Deserialize, Serialize};

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
    fn names_are_what_manifests_say() {
        for group in SyscallGroup::ALL {
            let json = serde_json::to_string(&group).unwrap();
            assert_eq!(json, format!("\"{}\"", group.name()));
        }
    }
}
