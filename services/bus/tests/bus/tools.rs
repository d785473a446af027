//! What administrators use.

use std::process::Command;

use crate::support::*;

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{error}"
    );
    text
}

#[test]
fn busctl_lists_and_introspects() {
    let bus = Bus::start();
    let mut admin = bus.peer(ADMIN);
    own(&mut admin, "org.x0tta6bl4.Config1").unwrap();
    let address = format!("--address={}", bus.address());
    let list = output("busctl", &[&address, "list", "--no-pager"]);
    assert!(list.contains("org.x0tta6bl4.Config1"), "{list}");
    let driver = "org.freedesktop.DBus";
    let tree = output(
        "busctl",
        &[&address, "introspect", driver, "/org/freedesktop/DBus"],
    );
    assert!(tree.contains(".RequestName"), "{tree}");
}

#[test]
fn gdbus_calls_and_introspects() {
    let bus = Bus::start();
    let address = bus.address();
    let to = [
        "--address",
        &address,
        "--dest",
        "org.freedesktop.DBus",
        "--object-path",
    ];
    let introspect = [&["introspect"], &to[..], &["/org/freedesktop/DBus"]].concat();
    let tree = output("gdbus", &introspect);
    assert!(tree.contains("NameOwnerChanged"), "{tree}");
    let call = [
        "/org/freedesktop/DBus",
        "--method",
        "org.freedesktop.DBus.ListNames",
    ];
    let names = output("gdbus", &[&["call"], &to[..], &call].concat());
    assert!(names.contains("'org.freedesktop.DBus'"), "{names}");
}
