//! The system bus, from the host over its virtio port, with the tools of any administrator.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::ServiceState;
use appliance::{Vm, case, tool, wait_for};
use peer::{Outgoing, Peer};

use crate::{BOOT, machine, start};

const DRIVER: &str = "org.freedesktop.DBus";
/// Longer than a restart with its delay, and a session that has to be noticed as gone.
const BACK: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

#[test]
fn busctl_and_gdbus_drive_the_appliance() {
    case("bus", |case| {
        let mut vm = start(&machine(case)?, case)?;
        vm.wait_healthy("a", BOOT)?;
        wait_ready(&mut vm)?;
        let socket = vm.machine().socket("bus");
        everything_is_introspected(&socket)?;
        the_policy_holds(&socket)?;
        a_host_that_leaves_takes_its_session_along(&socket)?;
        the_bus_comes_back(&mut vm, &socket)
    });
}

fn wait_ready(vm: &mut Vm) -> Result<()> {
    vm.wait_status("a bus", BACK, |status| {
        let bus = status.service("bus");
        bus.is_some_and(|bus| bus.state == ServiceState::Ready)
    })?;
    Ok(())
}

fn everything_is_introspected(socket: &Path) -> Result<()> {
    let address = format!("unix:path={}", socket.display());
    let names = busctl(&address, &["list", "--no-pager", "--no-legend"])?;
    let names: Vec<&str> = (names.lines())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !name.starts_with(':'))
        .collect();
    ensure!(names.contains(&DRIVER), "names: {names:?}");
    for name in &names {
        let path = format!("/{}", name.replace('.', "/").trim_end_matches('1'));
        let path = if *name == DRIVER {
            "/org/freedesktop/DBus"
        } else {
            &path
        };
        // Objects of services may lie elsewhere; the tree says where.
        let tree = busctl(&address, &["tree", "--list", "--no-pager", name])?;
        let first = tree
            .lines()
            .find(|line| line.starts_with("/org/"))
            .unwrap_or(path);
        let seen = busctl(&address, &["introspect", "--no-pager", name, first])?;
        ensure!(
            seen.contains("interface"),
            "busctl introspect {name} {first}: {seen}"
        );
        let seen = gdbus(
            &address,
            &["introspect", "--dest", name, "--object-path", first],
        )?;
        ensure!(
            seen.contains("interface"),
            "gdbus introspect {name} {first}: {seen}"
        );
    }
    let id = [
        "call",
        "--dest",
        DRIVER,
        "--object-path",
        "/",
        "--method",
        "org.freedesktop.DBus.Peer.GetMachineId",
    ];
    let id = gdbus(&address, &id)?;
    ensure!(id.trim().len() == "('')".len() + 33, "machine id: {id}");
    Ok(())
}

/// The host is what the channel is: it may call, and own nothing.
fn the_policy_holds(socket: &Path) -> Result<()> {
    let mut host = Peer::on(UnixStream::connect(socket)?)?;
    let owner: u32 = host
        .driver("GetConnectionUnixUser", &host.name().to_owned())?
        .body()?;
    ensure!(owner == 205, "the host is user {owner}");
    for name in [
        "org.x0tta6bl4.Init1",
        "org.x0tta6bl4.Store1",
        "org.example.Own",
    ] {
        let error = host.driver("RequestName", &(name, 4_u32)).err();
        let error = error.with_context(|| format!("the host owns {name}"))?;
        ensure!(
            error.to_string().ends_with("AccessDenied"),
            "{name}: {error}"
        );
    }
    let monitor = Outgoing::call(
        DRIVER,
        "/org/freedesktop/DBus",
        "org.freedesktop.DBus.Monitoring",
        "BecomeMonitor",
    );
    let answer = host.call(&monitor, &(Vec::<String>::new(), 0_u32))?;
    ensure!(answer.error_name.is_some(), "the host reads along");
    Ok(())
}

fn a_host_that_leaves_takes_its_session_along(socket: &Path) -> Result<()> {
    let call = Outgoing::driver("GetId").encode(std::num::NonZeroU32::MIN, &())?;
    let mut names = Vec::new();
    for length in [0, 5, 16, call.len() - 1] {
        let mut host = again(socket)?;
        host.write(&call[..length])?;
        names.push(host.name().to_owned());
    }
    let mut host = again(socket)?;
    ensure!(
        !names.iter().any(|name| name == host.name()),
        "a session was inherited"
    );
    for name in names {
        wait_for("the old session's end", BACK, || {
            let there: bool = host.driver("NameHasOwner", &name)?.body()?;
            Ok((!there).then_some(()))
        })?;
    }
    Ok(())
}

/// The bus is killed under a connected host, which sees its end, and finds a new one.
fn the_bus_comes_back(vm: &mut Vm, socket: &Path) -> Result<()> {
    let mut host = again(socket)?;
    let status = vm.wait_status("an answer", BACK, |_| true)?;
    let before = status.service("bus").context("it is in the table")?.clone();
    let pid = before.pid.context("it runs")?;
    vm.agent()?.signal(pid, SIGKILL)?;
    // Signals that were on their way come first.
    let end = (0..16)
        .find_map(|_| host.receive().err())
        .context("a bus that is gone goes on talking")?;
    ensure!(
        end.kind() == std::io::ErrorKind::InvalidData,
        "the host saw: {end}"
    );
    drop(host);
    vm.wait_status("its return", BACK, |status| {
        let bus = status.service("bus");
        bus.is_some_and(|bus| bus.restarts > before.restarts && bus.state == ServiceState::Ready)
    })?;
    again(socket)?.driver("GetId", &())?;
    Ok(())
}

/// A session, as soon as there is one to be had.
fn again(socket: &Path) -> Result<Peer> {
    wait_for("a session", BACK, || {
        Ok(Peer::on(UnixStream::connect(socket)?).ok())
    })
}

fn busctl(address: &str, arguments: &[&str]) -> Result<String> {
    tool(
        "busctl",
        &[&[&*format!("--address={address}")], arguments].concat(),
    )
}

fn gdbus(address: &str, arguments: &[&str]) -> Result<String> {
    let (verb, rest) = arguments.split_first().context("a verb")?;
    tool("gdbus", &[&[*verb, "--address", address], rest].concat())
}
