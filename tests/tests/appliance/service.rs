//! Every service that runs is killed in three ways and comes back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{HealthState, ServiceState};
use appliance::{Request, Vm, case};

use crate::{BOOT, machine, start};

/// Longer than any service's watchdog and its longest delay before a restart.
const BACK: Duration = Duration::from_secs(60);
const SIGSEGV: i32 = 11;
const SIGSTOP: i32 = 19;
const SIGNALS: [(i32, &str); 3] = [(9, "SIGKILL"), (SIGSEGV, "SIGSEGV"), (SIGSTOP, "SIGSTOP")];

#[test]
fn each_service_comes_back_from_sigkill_sigsegv_and_sigstop() {
    case("services", |case| {
        let mut vm = start(&machine(case)?, case)?;
        let status = vm.wait_healthy("a", BOOT)?;
        let running = status
            .services
            .iter()
            .filter(|service| service.pid.is_some());
        let names: Vec<String> = running.map(|service| service.name.clone()).collect();
        for name in ["channel", "console", "network"] {
            ensure!(
                names.iter().any(|running| running == name),
                "{name} does not run"
            );
        }
        for (signal, text) in SIGNALS {
            // The probes of sandboxes are not restarted.
            let ours = |name: &&String| *name != "agent" && !name.starts_with("try-");
            if signal == SIGSTOP {
                let names: Vec<&String> = names.iter().filter(ours).collect();
                all_come_back(&mut vm, &names, signal).with_context(|| text.to_owned())?;
                continue;
            }
            for name in names.iter().filter(ours) {
                comes_back(&mut vm, name, signal)
                    .with_context(|| format!("{name} after {text}"))?;
            }
        }
        vm.wait_status("health after all that", BACK, |status| {
            status.health.state == HealthState::Healthy
        })?;
        vm.wait_screen("network", BACK)?;
        a_stranger_cannot_speak_for_a_service(&mut vm)
    });
}

fn comes_back(vm: &mut Vm, name: &str, signal: i32) -> Result<()> {
    let status = vm.wait_status("an answer", BACK, |_| true)?;
    let before = status.service(name).context("it is in the table")?.clone();
    let Some(pid) = before.pid else { return Ok(()) };
    let mut agent = vm.agent()?;
    agent.signal(pid, signal)?;
    if signal == SIGSEGV {
        // Rust's runtime takes the first for a fault that will come again, and sets its handler
        // back. One more does it, but not while the first is still pending: both count as one then.
        appliance::wait_for("its end", BACK, || {
            Ok(agent.signal(pid, signal).is_err().then_some(()))
        })?;
    }
    drop(agent);
    vm.wait_status("its return", BACK, |status| {
        status.service(name).is_some_and(|now| {
            now.restarts > before.restarts
                && now.pid != Some(pid)
                && now.state == ServiceState::Ready
        })
    })?;
    Ok(())
}

/// All at once: each waits for its own watchdog.
fn all_come_back(vm: &mut Vm, names: &[&String], signal: i32) -> Result<()> {
    let before = vm.wait_status("an answer", BACK, |_| true)?;
    let mut agent = vm.agent()?;
    let mut stopped = Vec::new();
    for name in names {
        let service = before.service(name).context("it is in the table")?;
        let Some(pid) = service.pid else { continue };
        agent.signal(pid, signal)?;
        stopped.push((service.name.clone(), pid));
    }
    drop(agent);
    for (name, pid) in stopped {
        vm.wait_status(&format!("{name}'s return"), BACK, |status| {
            status.service(&name).is_some_and(|now| {
                now.pid.is_some_and(|new| new != pid) && now.state == ServiceState::Ready
            })
        })?;
    }
    Ok(())
}

fn a_stranger_cannot_speak_for_a_service(vm: &mut Vm) -> Result<()> {
    let before = vm.wait_status("an answer", BACK, |_| true)?;
    vm.agent()?.ask(&Request::Datagram {
        group: "/sys/fs/cgroup".into(),
        socket: "/run/x0/notify".into(),
        text: "STATUS=I am the network".into(),
    })?;
    let after = vm.wait_status("the refusal", BACK, |status| {
        status.notify_rejected > before.notify_rejected
    })?;
    let deceived = after
        .services
        .iter()
        .any(|service| service.status_text.contains("I am"));
    ensure!(
        !deceived,
        "PID 1 believed a process outside of every service: {after:#?}"
    );
    Ok(())
}
