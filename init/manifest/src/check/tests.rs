use super::*;
use crate::grants::SocketKind;
use crate::{Manifest, SyscallGroup, parse};

const REMOTE: &str = r#"
description = "Remote shell"
user = { name = "remote", id = 210, groups = ["control", "view"] }
capabilities = ["net_bind_service"]
needs = ["store", "bus"]
config = ["remote"]
syscalls = ["network-io", "processes"]
restart_with = ["bus"]
fd_store = 4
[reasons]
"net.tcp_bind.22" = "off until it is provisioned"
[files]
read = ["/run/x0/store", "/run/dbus"]
write = ["/dev/pts"]
exec = ["/usr/bin/nano"]
[net]
access = "host"
tcp_bind = [22]
tcp_connect = "any"
[[sockets]]
name = "shell"
path = "/run/x0/remote/shell.sock"
kind = "seqpacket"
mode = "0600"
group = "control"
[bus]
own = ["org.x0tta6bl4.Remote1"]
call = ["org.x0tta6bl4.Admin1", "org.x0tta6bl4.*"]
[limits]
memory_high_mb = 32
memory_max_mb = 64
io_weight = 50
open_files = 256
"#;

fn parse_remote(text: &str) -> Result<Manifest, ManifestError> {
    parse(&"remote".parse().unwrap(), "remote.toml", text)
}

#[test]
fn everything_that_can_be_granted() {
    let manifest = parse_remote(REMOTE).unwrap();
    let service = manifest.service();
    let groups = [SyscallGroup::NetworkIo, SyscallGroup::Processes];
    assert_eq!(service.syscalls, groups);
    assert_eq!(service.sockets[0].kind, SocketKind::Seqpacket);
    assert_eq!(service.sockets[0].mode.bits(), 0o600);
    assert_eq!(service.limits.open_files, Some(256));
    let grants = [
        "capabilities.net_bind_service",
        "syscalls.network-io",
        "syscalls.processes",
        "files.read./run/x0/store",
        "files.read./run/dbus",
        "files.write./dev/pts",
        "files.exec./usr/bin/nano",
        "net.access.host",
        "net.tcp_bind.22",
        "net.tcp_connect.any",
    ];
    assert_eq!(service.grants(), grants);
}

#[test]
fn nothing_is_granted_by_default() {
    let text = "description = \"x\"\nuser = { name = \"remote\", id = 210 }\n";
    let manifest = parse_remote(text).unwrap();
    assert!(manifest.service().grants().is_empty());
    assert_eq!(manifest.service().net, Net::default());
    assert!(manifest.service().bus.is_empty());
    assert_eq!(manifest.service().fd_store, 0);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let twice = "[[sockets]]\nname = \"shell\"\npath = \"/run/x\"\n[bus]";
    let cases = [
        ("\"processes\"", "\"all\"", "7:27: unknown variant `all`"),
        (
            "\"processes\"",
            "\"network-io\"",
            "7:27: `network-io` is asked for twice",
        ),
        (
            "[\"remote\"]",
            "[\"a\", \"a\"]",
            "6:16: `a` is asked for twice",
        ),
        (
            "restart_with = [\"bus\"]",
            "restart_with = [\"x\"]",
            "8:17: `x` is not in `needs`",
        ),
        (
            "fd_store = 4",
            "fd_store = 65",
            "9:12: `fd_store` is at most 64",
        ),
        (
            "\"net.tcp_bind.22\"",
            "\"net.tcp_bind.23\"",
            "11:1: a reason for `net.tcp_bind.23`",
        ),
        (
            "\"off until it is provisioned\"",
            "\"\"",
            "11:21: a reason must be",
        ),
        (
            "\"/run/dbus\"",
            "\"/\"",
            "13:26: `/`: must be an absolute path",
        ),
        (
            "\"/run/dbus\"",
            "\"run\"",
            "13:26: `run`: must be an absolute path",
        ),
        (
            "\"/run/dbus\"",
            "\"/run/../etc\"",
            "13:26: `/run/../etc`: must be",
        ),
        (
            "\"/run/dbus\"",
            "\"/run/x0/store\"",
            "13:26: `/run/x0/store` is named twice",
        ),
        ("write = ", "wirte = ", "14:1: unknown field `wirte`"),
        ("\"host\"", "\"all\"", "17:10: unknown variant `all`"),
        ("\"host\"", "\"unix\"", "18:12: ports are for"),
        ("[22]", "[70000]", "18:12: expected a list of port numbers"),
        (
            "\"any\"",
            "\"some\"",
            "19:15: expected a list of port numbers",
        ),
        (
            "/run/x0/remote/shell.sock",
            "/tmp/x",
            "20:1: a socket's path must be under /run/",
        ),
        ("\"seqpacket\"", "\"raw\"", "23:8: unknown variant `raw`"),
        ("\"0600\"", "\"600\"", "24:8: bad mode `600`"),
        ("\"0600\"", "\"4755\"", "24:8: bad mode `4755`"),
        (
            "group = \"control\"\n",
            "group = \"wheel\"\n",
            "unknown group `wheel`",
        ),
        ("[bus]", twice, "the socket `shell` is there twice"),
        (
            "Remote1\"]",
            "Remote1.*\"]",
            "27:8: `org.x0tta6bl4.Remote1.*` is no bus name",
        ),
        (
            "x0tta6bl4.Admin1",
            "0tta6bl4.Admin1",
            "28:9: `org.0tta6bl4.Admin1` is no bus name",
        ),
        (
            "high_mb = 32",
            "high_mb = 65",
            "29:1: `memory_high_mb` is larger",
        ),
        (
            "io_weight = 50",
            "io_weight = 0",
            "`io_weight` must be 1 to 10000",
        ),
        (
            "open_files = 256",
            "open_files = 1",
            "`open_files` must be 16 to",
        ),
    ];
    for (good, bad, expected) in cases {
        assert!(REMOTE.contains(good), "{good}");
        let error = parse_remote(&REMOTE.replacen(good, bad, 1)).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("remote.toml:") && error.contains(expected),
            "{bad}: {error}"
        );
    }
}

#[test]
fn names_on_the_bus() {
    for good in ["org.x0tta6bl4.Admin1", "a.b", "a_b.c-d", "_a._b"] {
        assert!(is_bus_name(good), "{good}");
    }
    for bad in ["", "org", ".a.b", "a..b", "a.1b", "a.b.", "a b.c", ":1.5"] {
        assert!(!is_bus_name(bad), "{bad}");
    }
    assert!(!is_bus_name(&format!("a.{}", "b".repeat(254))));
}
