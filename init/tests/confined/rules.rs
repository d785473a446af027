//! Each rule of a sandbox, and that the same attempts work without one.

use crate::machine::{Machine, manifest};

/// What no service may do that has not asked for it.
const FORBIDDEN: [&str; 27] = [
    "create=/,/etc,/usr,/run,/data,/dev,/tmp,/var",
    "list=/home,/root,/proc,/sys,/usr,/etc",
    "read=/etc/passwd,/proc/1/environ,/proc/version",
    "open-to-write=/dev/kmsg,/dev/mem,/dev/console,/dev/tty",
    "chown=/dev/null",
    "mount",
    "ptrace",
    "bpf",
    "bind-tcp=6660",
    "packet-socket",
    "netlink-socket",
    "stream-socket",
    "signal=1",
    "userns",
    "netns",
    "setuid",
    "reboot-not",
    "hostname",
    "clock",
    "kernel-log",
    "write-exec",
    "exec-memory",
    "exec=/bin/true,/usr/bin/env",
    "fork",
    "connect=/run/probe.sock",
    "listen=/run,/tmp",
    "connect-tcp=1",
];

fn forbidden() -> Vec<&'static str> {
    FORBIDDEN
        .iter()
        .copied()
        .filter(|name| *name != "reboot-not")
        .collect()
}

#[track_caller]
fn all(lines: &[String], attempts: &[&str], verdict: &str) {
    for attempt in attempts {
        let expected = format!("{attempt} {verdict}");
        assert!(
            lines.iter().any(|line| line.starts_with(&expected)),
            "expected `{expected}` in {lines:#?}"
        );
    }
    assert!(lines.iter().any(|line| line == "end"), "{lines:#?}");
}

#[test]
fn nothing_is_allowed_that_is_not_granted() {
    let attempts = forbidden();
    let root = "user = { name = \"root\", id = 0 }";
    let caps =
        format!("{root}\ncapabilities = [\"sys_admin\", \"sys_ptrace\", \"chown\", \"setuid\"]");
    let machine = Machine::boot(
        true,
        vec![
            manifest("plain", "", &attempts),
            manifest("root", root, &attempts),
            manifest("mighty", &caps, &attempts),
        ],
    );
    for name in ["plain", "root", "mighty"] {
        all(&machine.result(name), &attempts, "denied");
    }
    let log = machine.result("plain");
    eprintln!("{log:#?} {:#?}", machine.result("mighty"));
    let denied = "denied: system call ptrace of process";
    assert!(log.iter().any(|line| line.contains(denied)), "{log:#?}");
}
