//! Each rule of a sandbox, and that the same attempts work without one.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::machine::{Machine, manifest};

/// What no service may do that has not asked for it.
const FORBIDDEN: [&str; 26] = [
    "create=/,/etc,/usr,/run,/data,/dev,/tmp,/var",
    "list=/home,/root,/proc,/sys,/usr,/etc",
    "read=/etc/passwd,/proc/1/environ,/proc/version",
    "open-to-write=/dev/kmsg,/dev/mem,/dev/console,/dev/tty,/dev/full",
    "chown=/dev/null",
    "mount",
    "ptrace",
    "bpf",
    "bind-tcp=6660",
    "connect-tcp=1",
    "packet-socket",
    "netlink-socket",
    "stream-socket",
    "abstract-socket=x0-nobody",
    "listen=/run,/tmp",
    "signal=1",
    "userns",
    "netns",
    "setuid",
    "hostname",
    "clock",
    "kernel-log",
    "write-exec",
    "exec-memory",
    "exec=/bin/true,/usr/bin/env",
    "fork",
];
const ROOT: &str = "user = { name = \"root\", id = 0 }";

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
    let caps = format!(
        "{ROOT}\ncapabilities = [\"sys_admin\", \"sys_ptrace\", \"chown\", \"setuid\", \"sys_time\"]"
    );
    let services = vec![
        manifest("plain", "", &FORBIDDEN),
        manifest("root", ROOT, &FORBIDDEN),
        manifest("mighty", &caps, &FORBIDDEN),
    ];
    let machine = Machine::boot(true, services);
    for name in ["plain", "root", "mighty"] {
        all(&machine.result(name), &FORBIDDEN, "denied");
    }
    // Each is named in the log once, and counted.
    let log = machine.result("plain");
    let named = |call: &str| log.iter().filter(|line| line.contains(call)).count();
    assert_eq!(
        named("denied: system call ptrace(0x4206, 0x1) of process"),
        1,
        "{log:#?}"
    );
    assert_eq!(named("(in the group debug)"), 1, "{log:#?}");
    let explanation = machine.client().explain("plain").unwrap();
    let count = |call: &str| {
        let denial = explanation
            .denials
            .iter()
            .find(|denial| denial.what == call);
        denial.map_or(0, |denial| denial.count)
    };
    assert_eq!(
        (count("ptrace"), count("mount"), count("unshare")),
        (1, 1, 2)
    );
    assert!(
        explanation
            .denials
            .iter()
            .all(|denial| denial.last_ms.is_some())
    );
}

/// Without this the tests here would also pass on a host that forbids everything to everybody.
#[test]
fn the_same_attempts_work_without_a_sandbox() {
    let all_capabilities = "capabilities = [\"sys_admin\", \"sys_ptrace\", \"chown\", \"setuid\", \
        \"sys_time\", \"kill\", \"net_raw\", \"bpf\", \"syslog\", \"dac_override\"]";
    let works = [
        "create=/tmp",
        "list=/root",
        "read=/proc/1/environ",
        "open-to-write=/dev/full",
        "chown=/dev/null",
        "mount",
        "bpf",
        "bind-tcp=6660",
        "packet-socket",
        "netlink-socket",
        "stream-socket",
        "signal=1",
        "netns",
        "hostname",
        "clock",
        "kernel-log",
        "write-exec",
        "setuid",
    ];
    let keys = format!("{ROOT}\n{all_capabilities}");
    let machine = Machine::boot(false, vec![manifest("free", &keys, &works)]);
    all(&machine.result("free"), &works, "allowed");
    // It changed the host's node.
    std::os::unix::fs::chown("/dev/null", Some(0), Some(0)).unwrap();
    std::fs::remove_file("/tmp/x0-probe").ok();
    let machine = Machine::boot(false, vec![manifest("run", "", &["exec=/bin/true"])]);
    let log = machine.result("run");
    assert!(!log.iter().any(|line| line == "end"), "{log:#?}");
}

#[test]
fn each_grant_opens_just_its_own_door() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["read", "write"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("file"), "x").unwrap();
    }
    let keys = format!(
        "{ROOT}\nsyscalls = [\"processes\", \"hostname\"]\ncapabilities = [\"sys_admin\"]\n\
         [files]\nread = [{:?}, \"/dev/full\"]\nwrite = [{:?}, \"/tmp\"]\nexec = [\"/bin/true\"]\n",
        path("read"),
        path("write")
    );
    let own = format!("write={}/file", path("write"));
    let (read, list) = (
        format!("read={}/file", path("read")),
        format!("list={}", path("read")),
    );
    let allowed = [own.as_str(), &read, &list, "hostname", "create=/tmp"];
    let (write, create) = (
        format!("write={}/file", path("read")),
        format!("create={}", path("read")),
    );
    let run = format!("exec={}/file", path("write"));
    let denied = [
        write.as_str(),
        &create,
        "open-to-write=/dev/full",
        "exec=/bin/cat",
        &run,
        "signal=1",
        "userns",
        "exec-memory",
    ];
    let attempts: Vec<&str> = allowed.iter().chain(&denied).copied().collect();
    let machine = Machine::boot(
        true,
        vec![
            manifest("some", &keys, &attempts),
            manifest("runs", &keys, &["exec=/bin/true"]),
        ],
    );
    let log = machine.result("some");
    all(&log, &allowed, "allowed");
    all(&log, &denied, "denied");
    // It became the other program, and so did not come back.
    let log = machine.result("runs");
    assert!(
        !log.iter()
            .any(|line| line == "end" || line.contains("denied")),
        "{log:#?}"
    );
    let private = !std::path::Path::new("/tmp/x0-probe").exists();
    assert!(private, "its /tmp is not its own");
}

#[test]
fn on_the_routers_network_ports_and_abstract_sockets_are_closed() {
    let keys = "syscalls = [\"network-io\"]\n[net]\naccess = \"host\"\ntcp_bind = [9100]";
    // In the network of this test's PID 1 nobody listens there; the refusal has to come first.
    let attempts = [
        "bind-tcp=9100",
        "bind-tcp=9101",
        "connect-tcp=9100",
        "packet-socket",
    ];
    let free = format!("{keys}\ntcp_connect = \"any\"");
    let machine = Machine::boot(
        true,
        vec![
            manifest("web", keys, &attempts),
            manifest("client", &free, &["connect-tcp=9100"]),
        ],
    );
    let log = machine.result("web");
    all(&log, &attempts[..1], "allowed");
    all(
        &log,
        &["bind-tcp=9101", "connect-tcp=9100"],
        "denied: Permission denied",
    );
    all(&log, &attempts[3..], "denied: Operation not permitted");
    all(
        &machine.result("client"),
        &["connect-tcp=9100"],
        "denied: Connection refused",
    );
}

#[test]
fn abstract_sockets_of_others_are_out_of_reach() {
    let address = SocketAddr::from_abstract_name("x0-confined-test").unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let keys = "[net]\naccess = \"host\"";
    let attempt = ["abstract-socket=x0-confined-test"];
    let free = Machine::boot_on_host_network(false, vec![manifest("talker", keys, &attempt)]);
    all(&free.result("talker"), &attempt, "allowed");
    let confined = Machine::boot_on_host_network(true, vec![manifest("talker", keys, &attempt)]);
    all(
        &confined.result("talker"),
        &attempt,
        "denied: Operation not permitted",
    );
}

#[test]
fn state_and_sockets_of_others_do_not_exist() {
    let attempts = |other: &str| {
        [
            format!("list=DATA/{other},RUN/{other}"),
            format!("read=DATA/{other}/secret"),
            "connect=RUN/init.sock".to_owned(),
            "list=DATA,RUN".to_owned(),
        ]
    };
    let own = ["create=RUN/first", "create=DATA/first"];
    let mut first: Vec<String> = own.iter().map(ToString::to_string).collect();
    first.extend(attempts("second"));
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let keys = "state = true\n[net]\naccess = \"unix\"";
    let machine = Machine::boot(
        true,
        vec![
            manifest("first", keys, &first),
            manifest("second", keys, &["create=DATA/second"]),
        ],
    );
    all(
        &machine.result("second"),
        &[&machine.told("create=DATA/second")],
        "allowed",
    );
    let log = machine.result("first");
    let told: Vec<String> = first.iter().map(|attempt| machine.told(attempt)).collect();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    all(&log, &told[..2], "allowed");
    all(&log, &told[2..], "denied");
}

#[test]
fn a_flood_of_forbidden_calls_ends_the_service_and_nobody_else() {
    let machine = Machine::boot(
        true,
        vec![
            manifest("flooder", "[restart]\npolicy = \"never\"", &["flood"]),
            manifest("calm", "", &["repeat=900"]),
        ],
    );
    let log = machine.result("flooder");
    assert!(!log.iter().any(|line| line == "end"), "{log:#?}");
    let status = machine.client().status().unwrap();
    let exit = status
        .service("flooder")
        .unwrap()
        .last_exit
        .clone()
        .unwrap();
    assert_eq!(exit, "killed: 1000 forbidden system calls within seconds");
    assert!(machine.result("calm").iter().any(|line| line == "end"));
    let explanation = machine.client().explain("calm").unwrap();
    assert_eq!(explanation.denials[0].count, 900);
}
