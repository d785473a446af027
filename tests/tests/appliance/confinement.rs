//! From inside the sandbox of each service of the image, what its manifest does not grant is tried.
//!
//! A probe image has beside each service `try-<service>` with the same user, rights and limits, whose
//! program waits for a signal and then tries to get out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{Explanation, HealthState, ServiceState};
use appliance::{Vm, case};

use crate::{BOOT, build, machine_of, start};
use image::Profile;

const SIGUSR1: i32 = 10;
/// Thousands of threads that fail to start, and memory until there is no more.
const TRIES: Duration = Duration::from_secs(60);

#[test]
fn no_service_leaves_its_sandbox() {
    case("confinement", |case| {
        let mut vm = start(&machine_of(&build(Profile::Probe)?, case)?, case)?;
        let before = vm.wait_healthy("a", BOOT)?;
        let real = |name: &str| name != "agent" && !name.starts_with("try-");
        let names: Vec<&str> = before.services.iter().map(|s| s.name.as_str()).collect();
        let names = names.into_iter().filter(|name| real(name));
        let mut tried = 0;
        for name in names {
            let explanation = vm.session()?.explain(name)?;
            tries(&mut vm, name, &explanation).with_context(|| format!("sandbox of {name}"))?;
            tried += 1;
        }
        ensure!(tried >= 5, "only {tried} services were tried");
        let after = vm.wait_status("health after all that", BOOT, |status| {
            let real = status.services.iter().filter(|service| real(&service.name));
            let mut running = real.filter(|service| service.pid.is_some());
            running.all(|service| service.state == ServiceState::Ready)
        })?;
        for service in after.services.iter().filter(|service| real(&service.name)) {
            let was = before.service(&service.name).context("it was there")?;
            ensure!(service.pid == was.pid, "{} was disturbed", service.name);
        }
        ensure!(
            after.health.state != HealthState::Failed,
            "{:?}",
            after.health
        );
        Ok(())
    });
}

fn tries(vm: &mut Vm, name: &str, explanation: &Explanation) -> Result<()> {
    let probe = format!("try-{name}");
    let status = vm.wait_status("the probe waits", BOOT, |status| {
        let service = status.service(&probe);
        service.is_some_and(|service| service.state == ServiceState::Ready)
    })?;
    let pid = status.service(&probe).and_then(|service| service.pid);
    vm.agent()?
        .signal(pid.context("the probe runs")?, SIGUSR1)?;
    let status = vm.wait_status("the end of the probe", TRIES, |status| {
        let service = status.service(&probe);
        service.is_some_and(|service| service.pid.is_none())
    })?;
    let lines = vm.session()?.logs(&probe, 10_000)?;
    let lines: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    let attempts = lines.iter().filter_map(|line| {
        let (attempt, result) = line.split_once(' ')?;
        matches!(result.split(':').next()?, "allowed" | "denied").then_some((attempt, result))
    });
    let mut count = 0;
    for (attempt, result) in attempts.filter(|(attempt, _)| *attempt != "wait") {
        count += 1;
        ensure!(
            result.starts_with("denied") || granted(explanation, attempt),
            "`{attempt}` worked, and the manifest does not grant it: {lines:#?}"
        );
    }
    // All but those that wait and that end it.
    ensure!(count >= 26, "only {count} attempts: {lines:#?}");
    let exit = status
        .service(&probe)
        .and_then(|service| service.last_exit.clone());
    ensure!(
        exit.as_deref() == Some("killed by SIGKILL"),
        "memory.max: {exit:?}, {lines:#?}"
    );
    let probe = vm.session()?.explain(&probe)?;
    for counted in ["unshare", "memory.oom_kill", "pids.max"] {
        let denied = probe.denials.iter().any(|denial| denial.what == counted);
        ensure!(denied, "{counted} is not counted: {:?}", probe.denials);
    }
    Ok(())
}

/// Whether the manifest grants what an attempt tries. Where it only might, it counts as granted.
fn granted(explanation: &Explanation, attempt: &str) -> bool {
    let (name, value) = attempt.split_once('=').unwrap_or((attempt, ""));
    let group = |name: &str| explanation.syscalls.iter().any(|group| group == name);
    let capable = |name: &str| explanation.capabilities.iter().any(|c| c == name);
    let below = |path: &str, list: &[String]| {
        let starts = |granted: &&String| {
            granted
                .strip_suffix('*')
                .is_some_and(|start| path.starts_with(start))
                || path
                    .strip_prefix(granted.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        list.iter().any(|granted| starts(&granted))
    };
    let changed = |path: &str| below(path, &explanation.write) || below(path, &explanation.mount);
    let seen = |path: &str| below(path, &explanation.read) || changed(path);
    fn any(paths: &str, test: impl Fn(&str) -> bool) -> bool {
        paths.split(',').any(test)
    }
    match name {
        "create" | "open-to-write" => any(value, changed),
        "list" | "read" | "connect" => any(value, seen),
        "chown" => group("ownership") && capable("chown"),
        "mount" => group("mount"),
        "ptrace" => group("debug"),
        "bpf" => group("bpf"),
        "bind-tcp" => group("network-io") && explanation.tcp_bind == ["any"],
        "packet-socket" => group("packet-sockets") && capable("net_raw"),
        "netlink-socket" => group("netlink"),
        "setuid" => group("credentials") && capable("setuid"),
        "clock" => group("clock"),
        "hostname" => group("hostname") && capable("sys_admin"),
        "kernel-log" => group("kernel-log"),
        "exec" => any(value, |path| below(path, &explanation.exec)),
        _ => false,
    }
}
