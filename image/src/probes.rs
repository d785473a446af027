//! In probe images: beside each service one that has the same sandbox, and tries to get out of it.

use manifest::{Kind, Policy, Readiness, Restart, Service, Table};

/// What the probes run; it comes with PID 1's package.
pub(crate) const PROGRAM: &str = "/usr/lib/x0/init-probe";

/// What each tries when it is told to by SIGUSR1; `tests/tests/appliance/confinement.rs` knows which
/// of it a manifest grants. The last one ends it.
const ATTEMPTS: &[&str] = &[
    "wait",
    "create=/,/etc,/usr,/run,/data,/dev,/var",
    "list=/home,/root,/var,/usr,/etc,/data",
    "read=/etc/passwd,/proc/1/environ,/usr/share/x0/services.json",
    "list=/data/store,/data/probe-of-nobody",
    "open-to-write=/dev/kmsg,/dev/console,/dev/hwrng,/dev/tty2",
    "chown=/dev/null",
    "mount",
    "ptrace",
    "bpf",
    "bind-tcp=6660",
    "connect-tcp=6661",
    "packet-socket",
    "netlink-socket",
    "abstract-socket=x0",
    "signal=1",
    "userns",
    "netns",
    "setuid",
    "write-exec",
    "exec-memory",
    "exec=/init,/usr/lib/x0/network,/usr/lib/x0/data",
    "connect=/run/x0/init.sock",
    "clock",
    "hostname",
    "kernel-log",
    "threads",
    "memory",
];

/// The table with a probe for each confined service.
pub(crate) fn add(table: Table) -> Table {
    let services = table
        .services()
        .iter()
        .filter(|service| !service.unconfined);
    let probes = services.filter_map(probe).collect();
    table.with(probes)
}

fn probe(service: &Service) -> Option<Service> {
    Some(Service {
        name: format!("try-{}", service.name).parse().ok()?,
        description: format!("Tries to leave the sandbox of {}", service.name),
        kind: Kind::Daemon,
        readiness: Readiness::Exec,
        program: PROGRAM.to_owned(),
        arguments: ATTEMPTS.iter().map(ToString::to_string).collect(),
        needs: vec![service.name.clone()],
        critical: false,
        watchdog_s: 0,
        restart: Restart {
            policy: Policy::Never,
            ..Restart::default()
        },
        config: Vec::new(),
        restart_with: Vec::new(),
        fd_store: 0,
        sockets: Vec::new(),
        ..service.clone()
    })
}
