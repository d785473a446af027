//! PID 1 replaces itself, on purpose or after a crash, and nothing is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::machine::{Machine, puppet};
use api::{CallError, Power, ServiceState};
use rustix::process::Signal;

const PATIENT: &str = "[restart]\nburst = 1000\ndelay_max_ms = 0";

/// A machine with whatever a re-execution could lose.
fn busy() -> Vec<(&'static str, String)> {
    let door = "sockets = [{ name = \"door\", path = \"/run/door/socket\" }]";
    vec![
        ("chatty", puppet(&["notify=READY=1", "chat=200"], PATIENT)),
        (
            "door",
            puppet(
                &["notify=READY=1", "serve=0"],
                &format!("{door}\n{PATIENT}"),
            ),
        ),
        (
            "keeper",
            puppet(
                &["store=memory:hello", "notify=READY=1"],
                &format!("fd_store = 1\n{PATIENT}"),
            ),
        ),
        (
            "pets",
            puppet(
                &["notify=READY=1", "pet=100"],
                &format!("watchdog_s = 1\n{PATIENT}"),
            ),
        ),
    ]
}

fn pids(machine: &Machine) -> Vec<Option<u32>> {
    let services = machine.status().services;
    services.iter().map(|service| service.pid).collect()
}

fn all_ready(machine: &Machine) {
    machine.eventually("all are ready", || {
        let status = machine.status();
        let ready = |service: &api::ServiceStatus| service.state == ServiceState::Ready;
        (status.services.iter().all(ready) && status.services[2].stored_fds == 1).then_some(())
    });
}

/// The lines of the chatty service as far as they are kept have no gap.
fn assert_no_gap(lines: &[String]) {
    let numbers: Vec<u64> = (lines.iter())
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    assert!(numbers.len() > 1);
    for pair in numbers.windows(2) {
        assert_eq!(pair[0] + 1, pair[1]);
    }
}

#[test]
fn a_hundred_re_executions_lose_nothing() {
    let machine = Machine::boot(&busy());
    all_ready(&machine);
    let before = pids(&machine);
    let mut follow = machine.client().follow("chatty", 0).unwrap();
    let mut idle = machine.client();
    let mut client = machine.client();
    let mut lines = Vec::new();
    for number in 1..=100 {
        client.reexec().unwrap();
        assert_eq!(client.status().unwrap().reexecs, number);
        let new = follow.next_lines(Duration::from_millis(1)).unwrap();
        lines.extend(new.into_iter().map(|line| line.text));
    }
    assert_eq!(pids(&machine), before);
    let status = idle.status().unwrap();
    assert!(status.services.iter().all(|service| service.restarts == 0));
    assert_eq!(status.services[2].stored_fds, 1);
    assert_no_gap(&lines);
    assert_no_gap(&machine.log("chatty"));
    // The socket, the store and the supervision itself still work.
    std::os::unix::net::UnixStream::connect(machine.path("/run/door/socket")).unwrap();
    machine.signal(before[2].unwrap(), Signal::KILL);
    machine.until_restarted("keeper", 1);
    assert_eq!(machine.service("keeper").stored_fds, 1);
    assert_eq!(machine.zombies(), 0);
}

#[test]
fn deadlines_and_a_death_in_between_are_kept() {
    let machine = Machine::boot(&[
        (
            "slow",
            puppet(
                &["sleep=60000"],
                "start_timeout_s = 2\n[restart]\npolicy = \"never\"",
            ),
        ),
        ("network", puppet(&["notify=READY=1"], PATIENT)),
    ]);
    let pid = machine.until("network", ServiceState::Ready).pid.unwrap();
    let mut client = machine.client();
    for _ in 0..20 {
        client.reexec().unwrap();
    }
    // Dies while PID 1 is stopped, and is buried by the next program.
    machine.signal(1, Signal::HUP);
    machine.signal(pid, Signal::KILL);
    let after = machine.until_restarted("network", 1);
    assert_eq!(after.last_exit.unwrap(), "killed by SIGKILL");
    let slow = machine.until("slow", ServiceState::Failed);
    assert_eq!(
        slow.last_exit.unwrap(),
        "not ready within 2 s, killed by SIGKILL"
    );
}

#[test]
fn a_crash_is_survived_once_with_all_services() {
    let machine = Machine::boot(&busy());
    all_ready(&machine);
    let before = pids(&machine);
    machine.signal(1, Signal::SEGV);
    let reason = machine.eventually("it is back", || machine.client().status().ok()?.crash);
    assert_eq!(reason, "PID 1 got fatal signal 11");
    assert_eq!(pids(&machine), before);
    let events = machine.client().events(0).unwrap();
    let crash = events.iter().find(|event| event.kind == "crash").unwrap();
    assert_eq!(crash.reason, reason);
    assert_eq!(machine.service("keeper").stored_fds, 1);
    machine.signal(before[0].unwrap(), Signal::KILL);
    machine.until_restarted("chatty", 1);
    assert_eq!(machine.zombies(), 0);
}

#[test]
fn a_program_that_cannot_take_over_is_refused() {
    let machine = Machine::boot_replaceable(&busy());
    all_ready(&machine);
    let before = pids(&machine);
    let program = machine.folder.path().join("init");
    replace(&program, "#!/bin/sh\necho 'I read another format'\n");
    let mut client = machine.client();
    let CallError::Refused { error, parameters } = client.reexec().unwrap_err() else {
        panic!("not refused");
    };
    assert_eq!(error, "org.x0tta6bl4.Init.ReexecFailed");
    assert!(
        parameters.to_string().contains("I read another format"),
        "{parameters}"
    );
    fs::remove_file(&program).unwrap();
    assert!(matches!(client.reexec(), Err(CallError::Refused { .. })));
    // A good one is taken, also when it is another file.
    fs::copy(env!("CARGO_BIN_EXE_init"), &program).unwrap();
    client.reexec().unwrap();
    assert_eq!(client.status().unwrap().reexecs, 1);
    assert_eq!(pids(&machine), before);
}

#[test]
fn a_state_that_cannot_be_read_costs_no_service() {
    let machine = Machine::boot_replaceable(&busy());
    all_ready(&machine);
    let before = pids(&machine);
    let program = machine.folder.path().join("init");
    // Says that it can read the state, and then finds it destroyed.
    let real = env!("CARGO_BIN_EXE_init");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --check-state ]; then exec {real} \"$@\"; fi\n\
         for last; do :; done\n: > /proc/self/fd/$last\nexec {real} \"$@\"\n"
    );
    replace(&program, &script);
    // Its caller is hung up on.
    assert!(machine.client().reexec().is_err());
    machine.eventually("it is back", || {
        machine
            .client()
            .status()
            .ok()
            .filter(|status| status.reexecs == 0)
    });
    let events = machine.client().events(0).unwrap();
    assert_eq!(events[0].kind, "state_lost");
    assert_eq!(pids(&machine), before);
    // What they write is still read, and their deaths are noticed.
    machine.eventually("new lines come", || {
        (machine.log("chatty").len() > 10).then_some(())
    });
    machine.signal(before[0].unwrap(), Signal::KILL);
    machine.until_restarted("chatty", 1);
}

#[test]
fn a_soft_reboot_starts_every_service_anew() {
    let mut services = busy();
    services.push((
        "data",
        puppet(&["record=data:FOLDER/record", "notify=READY=1"], ""),
    ));
    services.push((
        "network",
        puppet(
            &["record=network:FOLDER/record", "notify=READY=1"],
            "needs = [\"data\"]",
        ),
    ));
    let machine = Machine::boot(&services);
    machine.eventually("all are ready", || machine.status().userspace_ready_ms);
    let before = pids(&machine);
    let log = machine.log("network");
    machine.client().power(Power::SoftReboot).unwrap();
    machine.eventually("all are ready again", || {
        let status = machine.client().status().ok()?;
        (status.soft_reboots == 1 && status.userspace_ready_ms.is_some()).then_some(())
    });
    let after = pids(&machine);
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(old, new)| new.is_some() && old != new)
    );
    let record = fs::read_to_string(machine.folder.path().join("record")).unwrap();
    assert_eq!(
        record,
        "data up\nnetwork up\nnetwork down\ndata down\ndata up\nnetwork up\n"
    );
    assert!(machine.log("network").starts_with(&log));
    std::os::unix::net::UnixStream::connect(machine.path("/run/door/socket")).unwrap();
}

fn replace(program: &std::path::Path, text: &str) {
    fs::remove_file(program).unwrap();
    fs::write(program, text).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
}
