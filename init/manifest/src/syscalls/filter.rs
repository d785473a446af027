//! From named groups to the BPF program that the kernel runs before each system call.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::lists::{ABSENT, BASE, calls};
use super::{Filter, SyscallGroup, syscall_number};
use crate::NetAccess;

// linux/seccomp.h. seccompiler knows no such action: it compiles SECCOMP_RET_TRACE, and that value
// is replaced afterwards.
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const ENOSYS: u32 = 38;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;
/// linux/audit.h.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// Places in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const RETURN: u16 = 0x06;
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;

const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_IF_ABOVE: u16 = 0x25;

const PROT_WRITE_EXEC: u64 = 2 | 4;
const PROT_EXEC: u64 = 4;
const MFD_EXEC: u64 = 0x10;
const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const AF_PACKET: u64 = 17;
/// The low bits of a socket's type; the others are SOCK_CLOEXEC and SOCK_NONBLOCK.
const TYPE_MASK: u64 = 0xf;
const SOCK_STREAM: u64 = 1;
const SOCK_DGRAM: u64 = 2;
const SOCK_RAW: u64 = 3;
/// CLONE_VM and CLONE_THREAD: a thread, not a process.
const CLONE_THREAD: u64 = 0x0001_0100;
/// Any new namespace: CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
const CLONE_NEW: u64 = 0x7e02_0000;
/// FIONBIO, FIONREAD, FIOCLEX, FIONCLEX, TCGETS, TCGETS2, TIOCGWINSZ: what libraries ask of any descriptor.
const HARMLESS_IOCTLS: [u64; 7] = [0x5421, 0x541b, 0x5451, 0x5450, 0x5401, 0x802c_542a, 0x5413];
/// TCSETS, TCSETSW, TCSETSF, the same with a 2 at the end, TIOCSCTTY, TIOCSPGRP, TIOCGPGRP, TCFLSH, TIOCSWINSZ, TIOCGPTN,
/// TIOCSPTLCK, TIOCGPTPEER, TIOCNOTTY, TCSBRK, TIOCGSID.
const TERMINAL_IOCTLS: [u64; 17] = [
    0x402c_542b,
    0x402c_542c,
    0x402c_542d,
    0x5429,
    0x5402,
    0x5403,
    0x5404,
    0x540e,
    0x5410,
    0x540f,
    0x540b,
    0x5414,
    0x8004_5430,
    0x4004_5431,
    0x5441,
    0x5422,
    0x5409,
];
/// SIOCGIFNAME, SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFINDEX, SIOCGIFHWADDR, SIOCGIFMTU.
const INTERFACE_IOCTLS: [u64; 6] = [0x8910, 0x8913, 0x8915, 0x8933, 0x8927, 0x8921];
/// PR_{SET_PDEATHSIG, GET_DUMPABLE, SET_DUMPABLE, GET_KEEPCAPS, SET_NAME, GET_NAME, CAPBSET_READ,
/// CAPBSET_DROP, GET_SECUREBITS, SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS, CAP_AMBIENT, SET_VMA,
/// GET_AUXV}: asking, and giving up.
const HARMLESS_PRCTLS: [u64; 14] = [
    1,
    3,
    4,
    7,
    15,
    16,
    23,
    24,
    27,
    38,
    39,
    47,
    0x5356_4d41,
    0x4155_5856,
];

/// The filter of a service with these grants.
pub(crate) fn compile(groups: &[SyscallGroup], access: NetAccess) -> Filter {
    let mut rules = Rules::default();
    for name in BASE
        .iter()
        .chain(groups.iter().flat_map(|group| calls(*group)))
    {
        rules.always(name);
    }
    // Memory is writable or executable, never both.
    rules.when("mmap", [masked(2, PROT_EXEC, 0)]);
    rules.when("mmap", [masked(2, PROT_WRITE_EXEC, PROT_EXEC)]);
    rules.when("mprotect", [masked(2, PROT_EXEC, 0)]);
    // No program comes from memory: with vm.memfd_noexec only this flag makes a memfd executable.
    rules.when("memfd_create", [masked(1, MFD_EXEC, 0)]);
    rules.when("clone", [masked(0, CLONE_THREAD | CLONE_NEW, CLONE_THREAD)]);
    if groups.contains(&SyscallGroup::Processes) {
        rules.restrict("clone", [masked(0, CLONE_NEW, 0)]);
    }
    // Its own limits only: the first argument is a process, 0 the caller.
    rules.when("prlimit64", [equal(0, 0)]);
    for request in HARMLESS_PRCTLS {
        rules.when("prctl", [equal(0, request)]);
    }
    let terminal = TERMINAL_IOCTLS
        .iter()
        .filter(|_| groups.contains(&SyscallGroup::Terminal));
    let interface = (INTERFACE_IOCTLS.iter()).filter(|_| {
        groups.contains(&SyscallGroup::NetworkIo) || groups.contains(&SyscallGroup::Netlink)
    });
    for request in HARMLESS_IOCTLS.iter().chain(terminal).chain(interface) {
        rules.when("ioctl", [equal(1, *request)]);
    }
    rules.when("socketpair", [equal(0, AF_UNIX)]);
    // Whoever has no Unix sockets still tells PID 1 how it is: sd_notify(3) sends datagrams.
    match access {
        NetAccess::None => rules.when("socket", [equal(0, AF_UNIX), kind(SOCK_DGRAM)]),
        NetAccess::Unix | NetAccess::Host => rules.when("socket", [equal(0, AF_UNIX)]),
    }
    for group in groups {
        match group {
            SyscallGroup::NetworkIo => {
                for family in [AF_INET, AF_INET6] {
                    rules.when("socket", [equal(0, family), kind(SOCK_STREAM)]);
                    rules.when("socket", [equal(0, family), kind(SOCK_DGRAM)]);
                }
            }
            SyscallGroup::Netlink => rules.when("socket", [equal(0, AF_NETLINK)]),
            SyscallGroup::PacketSockets => {
                rules.when("socket", [equal(0, AF_PACKET)]);
                rules.when("socket", [equal(0, AF_INET), kind(SOCK_RAW)]);
                rules.when("socket", [equal(0, AF_INET6), kind(SOCK_RAW)]);
            }
            _ => {}
        }
    }
    Filter(bytes(rules.0))
}

/// An empty list means: always.
#[derive(Default)]
struct Rules(BTreeMap<i64, Vec<SeccompRule>>);

impl Rules {
    fn always(&mut self, name: &str) {
        self.0.insert(number(name), Vec::new());
    }

    /// Adds a rule, unless the call is allowed without one.
    fn when<const N: usize>(&mut self, name: &str, conditions: [SeccompCondition; N]) {
        let rules = self.0.entry(number(name));
        match rules {
            std::collections::btree_map::Entry::Occupied(known) if known.get().is_empty() => {}
            rules => rules.or_default().push(rule(conditions)),
        }
    }

    /// Replaces whatever was allowed.
    fn restrict<const N: usize>(&mut self, name: &str, conditions: [SeccompCondition; N]) {
        self.0.insert(number(name), vec![rule(conditions)]);
    }
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> SeccompRule {
    SeccompRule::new(conditions.into()).expect("a rule with a condition is valid")
}

fn equal(argument: u8, value: u64) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> SeccompCondition {
    condition(argument, SeccompCmpOp::MaskedEq(mask), value)
}

fn kind(kind: u64) -> SeccompCondition {
    masked(1, TYPE_MASK, kind)
}

/// All arguments that are looked at are 32 bits wide for the kernel; what a caller leaves in the
/// upper half does not matter to it, and must not here.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> SeccompCondition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .expect("system calls have six arguments")
}

fn number(name: &str) -> i64 {
    syscall_number(name)
        .expect("the lists hold names of the kernel's table only")
        .into()
}

/// What needs a look at arguments is compiled by `seccompiler`, which spends five instructions on
/// each call; in front of that go those that are allowed always, as ranges of numbers.
fn bytes(rules: BTreeMap<i64, Vec<SeccompRule>>) -> Vec<u8> {
    let (always, rules): (BTreeMap<_, _>, BTreeMap<_, _>) =
        rules.into_iter().partition(|(_, rules)| rules.is_empty());
    let mut bytes = Vec::new();
    let mut push = |code: u16, jt: u8, jf: u8, k: u32| {
        bytes.extend(code.to_le_bytes());
        bytes.extend([jt, jf]);
        bytes.extend(k.to_le_bytes());
    };
    push(LOAD_WORD, 0, 0, ARCHITECTURE_AT);
    push(JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH_X86_64);
    push(RETURN, 0, 0, RET_KILL_PROCESS);
    push(LOAD_WORD, 0, 0, NUMBER_AT);
    for name in ABSENT {
        let number = syscall_number(name).expect("the list holds names of the kernel's table");
        push(JUMP_IF_EQUAL, 0, 1, number);
        push(RETURN, 0, 0, RET_ERRNO | ENOSYS);
    }
    for (first, last) in ranges(always.into_keys()) {
        push(JUMP_IF_AT_LEAST, 0, 2, first);
        push(JUMP_IF_ABOVE, 1, 0, last);
        push(RETURN, 0, 0, RET_ALLOW);
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Trace(0),
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .expect("the two actions differ");
    for instruction in BpfProgram::try_from(filter).expect("far below 4096 instructions") {
        let notify = instruction.code == RETURN && instruction.k == RET_TRACE;
        let k = if notify {
            RET_USER_NOTIF
        } else {
            instruction.k
        };
        push(instruction.code, instruction.jt, instruction.jf, k);
    }
    bytes
}

/// Numbers in ascending order, with neighbours put together.
fn ranges(numbers: impl Iterator<Item = i64>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers.filter_map(|number| u32::try_from(number).ok()) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_compiles_to_something_else() {
        let nothing = compile(&[], NetAccess::None);
        for group in SyscallGroup::ALL {
            let more = compile(&[group], NetAccess::None);
            assert!(more != nothing, "{}", group.name());
        }
        let all = compile(&SyscallGroup::ALL, NetAccess::Host);
        assert_eq!(all.0.len() % Filter::INSTRUCTION_BYTES, 0);
        assert!(all.0.len() / Filter::INSTRUCTION_BYTES < 1000);
    }

    #[test]
    fn neighbours_are_put_together() {
        let ranges = ranges([0, 1, 2, 5, 7, 8].into_iter());
        assert_eq!(ranges, [(0, 2), (5, 5), (7, 8)]);
    }

    #[test]
    fn what_is_not_named_goes_to_pid_1() {
        let filter = compile(&[], NetAccess::Unix);
        let ends = filter
            .0
            .chunks_exact(8)
            .filter(|i| i[0] == 6)
            .map(|i| u32::from_le_bytes([i[4], i[5], i[6], i[7]]));
        let ends: std::collections::BTreeSet<u32> = ends.collect();
        // ENOSYS, notification, permission, and death on another architecture.
        let expected = [RET_ERRNO | ENOSYS, RET_USER_NOTIF, 0x7fff_0000, 0x8000_0000];
        assert_eq!(ends, expected.into());
    }
}
