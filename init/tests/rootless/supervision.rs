//! Services under the real PID 1: start, readiness, restart, watchdog, shutdown.

use std::time::Duration;

use crate::machine::{DEADLINE, Machine, puppet};
use api::{HealthState, Power, ServiceState};
use rustix::process::Signal;

const PATIENT: &str = "[restart]\nburst = 1000\ndelay_max_ms = 0";

#[test]
fn services_start_in_order_and_stop_in_reverse() {
    let service = |name: &str, keys: &str| {
        let record = format!("record={name}:FOLDER/record");
        puppet(&[&record, "notify=READY=1"], keys)
    };
    let mut machine = Machine::boot(&[
        ("network", service("network", "needs = [\"data\"]")),
        ("data", service("data", "")),
        ("tunnel", service("tunnel", "needs = [\"network\"]")),
    ]);
    machine.until("tunnel", ServiceState::Ready);
    assert!(machine.status().userspace_ready_ms.is_some());
    machine.client().power(Power::Poweroff).unwrap();
    assert!(machine.end().success());
    let record = std::fs::read_to_string(machine.folder.path().join("record")).unwrap();
    let expected = "data up\nnetwork up\ntunnel up\ntunnel down\nnetwork down\ndata down\n";
    assert_eq!(record, expected);
}

#[test]
fn a_oneshot_is_ready_when_it_has_ended() {
    let machine = Machine::boot(&[
        (
            "data",
            puppet(
                &["sleep=50", "notify=STATUS=mounted", "exit=0"],
                "kind = \"oneshot\"",
            ),
        ),
        ("network", puppet(&["notify=READY=1"], "needs = [\"data\"]")),
    ]);
    machine.until("network", ServiceState::Ready);
    let data = machine.service("data");
    assert_eq!(data.state, ServiceState::Done);
    assert_eq!(data.status_text, "mounted");
    assert_eq!(data.last_exit.unwrap(), "exited with status 0");
}

#[test]
fn a_killed_service_comes_back() {
    let machine = Machine::boot(&[("network", puppet(&["notify=READY=1"], PATIENT))]);
    let endings = [
        (Signal::KILL, "killed by SIGKILL"),
        (Signal::SEGV, "killed by SIGSEGV"),
        (Signal::TERM, "killed by SIGTERM"),
    ];
    for (restarts, (signal, how)) in (1..).zip(endings) {
        let before = machine.until("network", ServiceState::Ready);
        machine.signal(before.pid.unwrap(), signal);
        let after = machine.until_restarted("network", restarts);
        assert_ne!(after.pid, before.pid);
        assert_eq!(after.last_exit.unwrap(), how);
    }
}

#[test]
fn a_hundred_kills_in_a_row() {
    let machine = Machine::boot(&[("network", puppet(&["notify=READY=1"], PATIENT))]);
    for restarts in 1..=100 {
        let pid = machine
            .until_restarted("network", restarts - 1)
            .pid
            .unwrap();
        machine.signal(pid, Signal::KILL);
    }
    machine.until_restarted("network", 100);
    assert_eq!(machine.zombies(), 0);
}

/// A sample of what `ci/bench init` does ten thousand times.
#[test]
fn a_thousand_restarts_do_not_grow_pid_1() {
    let keys = "binary = \"/bin/true\"\nreadiness = \"exec\"\n\
                [restart]\nburst = 1000\nburst_window_s = 1\ndelay_max_ms = 0";
    let machine = Machine::boot(&[("quick", keys.into())]);
    let until = |restarts| {
        machine.eventually("it was restarted often enough", || {
            (machine.service("quick").restarts >= restarts).then_some(())
        });
    };
    // Until its log is full.
    until(600);
    let before = machine.rss_kib();
    until(1600);
    let growth = machine.rss_kib().saturating_sub(before);
    assert!(growth < 64, "{growth} KiB");
}

#[test]
fn a_stopped_service_is_noticed_by_its_watchdog() {
    let keys = format!("watchdog_s = 1\n{PATIENT}");
    let machine = Machine::boot(&[("network", puppet(&["notify=READY=1", "pet=100"], &keys))]);
    let before = machine.until("network", ServiceState::Ready);
    machine.signal(before.pid.unwrap(), Signal::STOP);
    let after = machine.until_restarted("network", 1);
    assert_eq!(
        after.last_exit.unwrap(),
        "silent for 1 s, killed by SIGKILL"
    );
}

#[test]
fn a_service_that_pets_its_watchdog_is_left_alone() {
    let keys = format!("watchdog_s = 1\n{PATIENT}");
    let machine = Machine::boot(&[
        ("network", puppet(&["notify=READY=1", "pet=100"], &keys)),
        ("timer", puppet(&["sleep=2500", "notify=READY=1"], "")),
    ]);
    machine.until("timer", ServiceState::Ready);
    assert_eq!(machine.service("network").restarts, 0);
}

#[test]
fn orphans_are_buried() {
    let machine = Machine::boot(&[(
        "parent",
        puppet(&["orphan=0.1", "orphan=0.2", "notify=READY=1"], ""),
    )]);
    machine.until("parent", ServiceState::Ready);
    machine.eventually("orphans have come and gone", || {
        let pid = machine.service("parent").pid.unwrap();
        let alone = machine.outer_pid(pid + 2).is_none() && machine.outer_pid(pid + 4).is_none();
        (alone && machine.zombies() == 0).then_some(())
    });
}

#[test]
fn a_service_that_ignores_sigterm_is_killed() {
    let keys = "stop_timeout_s = 1";
    let machine = Machine::boot(&[(
        "network",
        puppet(&["ignore-sigterm", "notify=READY=1"], keys),
    )]);
    machine.until("network", ServiceState::Ready);
    machine.client().stop("network").unwrap();
    let stopped = machine.until("network", ServiceState::Stopped);
    assert_eq!(stopped.last_exit.unwrap(), "killed by SIGKILL");
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let machine = Machine::boot(&[(
        "ghost",
        "binary = \"/nonexistent/ghost\"\n[restart]\npolicy = \"never\"".into(),
    )]);
    let ghost = machine.until("ghost", ServiceState::Failed);
    let exit = ghost.last_exit.unwrap();
    assert!(
        exit.starts_with("could not start: running its program: No such file"),
        "{exit}"
    );
    assert!(
        machine
            .log("ghost")
            .iter()
            .any(|line| line.contains("No such file"))
    );
}

#[test]
fn a_service_that_always_fails_is_given_up_and_can_still_be_started() {
    let keys = "critical = true\n[restart]\nburst = 3\ndelay_max_ms = 1";
    let machine = Machine::boot(&[("network", puppet(&["say=trying", "exit=3"], keys))]);
    let network = machine.until("network", ServiceState::Failed);
    assert_eq!(network.restarts, 3);
    assert_eq!(
        network.last_exit.unwrap(),
        "exited with status 3 before it was ready"
    );
    let health = machine.status().health;
    assert_eq!(health.state, HealthState::Failed);
    assert!(
        health.reasons[0].starts_with("network was given up"),
        "{health:?}"
    );
    machine.client().start("network").unwrap();
    machine.eventually("it was tried again", || {
        let tries = machine
            .log("network")
            .iter()
            .filter(|line| *line == "trying")
            .count();
        (tries == 8).then_some(())
    });
}

#[test]
fn a_critical_service_that_stays_ready_makes_the_machine_healthy() {
    let machine = Machine::boot(&[("network", puppet(&["notify=READY=1"], "critical = true"))]);
    machine.eventually("it is healthy", || {
        (machine.status().health.state == HealthState::Healthy).then_some(())
    });
    machine.eventually("it says so", || {
        machine
            .said()
            .contains("x0: healthy slot=none")
            .then_some(())
    });
}

#[test]
fn failures_are_noted_with_their_reason_and_can_be_followed() {
    let keys = "[restart]\nburst = 1\ndelay_max_ms = 1";
    let machine = Machine::boot(&[
        ("broken", puppet(&["exit=3"], keys)),
        ("network", puppet(&["notify=READY=1"], PATIENT)),
    ]);
    machine.until("broken", ServiceState::Failed);
    let events = machine.client().events(0).unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["failed", "given_up"]);
    assert_eq!(events[1].service.as_deref(), Some("broken"));
    assert!(events[1].reason.contains("exited with status 3"));

    let mut follow = machine.client().follow_events(1).unwrap();
    let first = follow.next_events(DEADLINE).unwrap();
    assert_eq!(first, events[1..]);
    let pid = machine.until("network", ServiceState::Ready).pid.unwrap();
    machine.signal(pid, Signal::KILL);
    let next = follow.next_events(DEADLINE).unwrap();
    assert_eq!(next[0].number, 2);
    assert_eq!(next[0].service.as_deref(), Some("network"));
    assert_eq!(next[0].reason, "killed by SIGKILL; starting again");
}

#[test]
fn the_boots_critical_path_is_found() {
    let machine = Machine::boot(&[
        ("data", puppet(&["sleep=150", "notify=READY=1"], "")),
        ("quick", puppet(&["notify=READY=1"], "")),
        (
            "network",
            puppet(&["notify=READY=1"], "needs = [\"data\", \"quick\"]"),
        ),
    ]);
    machine.until("network", ServiceState::Ready);
    let blame = machine.client().blame().unwrap();
    assert_eq!(blame.critical_path, ["data", "network"]);
    let entry = |name: &str| {
        let mut entries = blame.services.iter();
        entries.find(|entry| entry.service == name).unwrap()
    };
    assert!(entry("data").took_ms.unwrap() >= 150, "{blame:?}");
    assert_eq!(entry("network").waited_for.as_deref(), Some("data"));
    assert!(blame.userspace_ms.unwrap() >= 150, "{blame:?}");
}

#[test]
fn the_log_survives_its_service() {
    let keys = "[restart]\npolicy = \"never\"";
    let orders = ["flood=5000", "say=last words", "exit=1"];
    let machine = Machine::boot(&[("network", puppet(&orders, keys))]);
    machine.until("network", ServiceState::Failed);
    let log = machine.log("network");
    assert!(log.len() > 100 && log.len() < 5000, "{} lines", log.len());
    let words = log.iter().position(|line| line == "last words").unwrap();
    assert_eq!(log[words - 1], "line 4999");
    assert!(
        log[words + 1].starts_with("-- exited with status 1"),
        "{:?}",
        log[words + 1]
    );
}

#[test]
fn a_service_inherits_nothing_but_its_streams() {
    let machine = Machine::boot(&[
        ("other", puppet(&["notify=READY=1"], "")),
        (
            "network",
            puppet(&["descriptors", "notify=READY=1"], "needs = [\"other\"]"),
        ),
    ]);
    machine.until("network", ServiceState::Ready);
    assert_eq!(machine.log("network")[0], "3 descriptors");
}

#[test]
fn sigterm_to_pid_1_is_an_ordered_end() {
    let mut machine = Machine::boot(&[(
        "network",
        puppet(&["record=network:FOLDER/record", "notify=READY=1"], ""),
    )]);
    machine.until("network", ServiceState::Ready);
    machine.signal(1, Signal::TERM);
    assert!(machine.end().success());
    let record = std::fs::read_to_string(machine.folder.path().join("record")).unwrap();
    assert_eq!(record, "network up\nnetwork down\n");
}

#[test]
fn a_pid_1_that_crashes_twice_says_so_and_ends() {
    let mut machine = Machine::boot(&[("network", puppet(&["notify=READY=1"], ""))]);
    machine.until("network", ServiceState::Ready);
    machine.signal(1, Signal::SEGV);
    machine.eventually("it is back", || machine.status().crash);
    machine.signal(1, Signal::ABORT);
    assert!(!machine.end().success());
    let said = machine.said();
    assert!(
        said.contains("PID 1 got fatal signal 6; it ends now"),
        "{said}"
    );
}

#[test]
fn a_hanging_service_does_not_hold_up_others() {
    let machine = Machine::boot(&[
        (
            "hangs",
            puppet(
                &["ignore-sigterm"],
                "start_timeout_s = 1\n[restart]\npolicy = \"never\"",
            ),
        ),
        ("works", puppet(&["notify=READY=1"], "")),
    ]);
    machine.until("works", ServiceState::Ready);
    let hangs = machine.until("hangs", ServiceState::Failed);
    assert_eq!(
        hangs.last_exit.unwrap(),
        "not ready within 1 s, killed by SIGKILL"
    );
    assert!(machine.status().userspace_ready_ms.is_none());
    assert!(Duration::from_millis(machine.status().uptime_ms) > Duration::ZERO);
}
