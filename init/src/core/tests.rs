use std::collections::HashSet;

use api::{HealthState, Power, ServiceState};
use manifest::Table;
use proptest::prelude::*;

use super::Core;
use super::health::{DEADLINE_MS, RETRY_MS, SOAK_MS};
use crate::event::{Action, Event, Exit, Moment, Notification, ServiceId};

/// A core with a shell that makes processes at once and keeps count of them.
struct Machine {
    core: Core,
    now: Moment,
    alive: HashSet<usize>,
    terminated: Vec<String>,
    killed: Vec<String>,
    spawned: Vec<String>,
    commits: usize,
    escalations: Vec<String>,
    finished: Vec<Power>,
    next_pid: u32,
}

impl Machine {
    fn new(services: &[(&str, &str)]) -> Self {
        let manifests = services.iter().map(|(name, keys)| {
            let head = "description = \"x\"\nuser = { name = \"root\", id = 0 }\n";
            manifest::parse(&name.parse().unwrap(), name, &format!("{head}{keys}\n")).unwrap()
        });
        Self::over(manifest::compile_sources(manifests.collect()).unwrap())
    }

    fn over(table: Table) -> Self {
        let now = Moment(1_000);
        Self {
            core: Core::new(now, table),
            now,
            alive: HashSet::new(),
            terminated: Vec::new(),
            killed: Vec::new(),
            spawned: Vec::new(),
            commits: 0,
            escalations: Vec::new(),
            finished: Vec::new(),
            next_pid: 100,
        }
    }

    fn booted(services: &[(&str, &str)]) -> Self {
        let mut machine = Self::new(services);
        machine.send(Event::Boot);
        machine
    }

    fn send(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            if let Event::Exited(id, _) | Event::SpawnFailed(id, _) = &event {
                self.alive.remove(&id.0);
            }
            for action in self.core.handle(self.now, event) {
                self.act(action, &mut events);
            }
        }
    }

    fn act(&mut self, action: Action, events: &mut Vec<Event>) {
        let name = |id: ServiceId| self.core.units()[id.0].service.name.to_string();
        match action {
            Action::Commit => self.commits += 1,
            Action::Escalate(reason) => self.escalations.push(reason),
            Action::Finish(power) => self.finished.push(power),
            Action::Kill(id) => {
                assert!(
                    self.alive.contains(&id.0),
                    "killed {} without a process",
                    name(id)
                );
                self.killed.push(name(id));
            }
            Action::Spawn(id) => {
                self.spawned.push(name(id));
                assert!(self.alive.insert(id.0), "a second process for {}", name(id));
                assert!(self.finished.is_empty(), "spawned after the end");
                self.next_pid += 1;
                events.push(Event::Spawned(id, self.next_pid));
            }
            Action::Note(..) | Action::Tell(..) => {}
            Action::Terminate(id) => {
                assert!(
                    self.alive.contains(&id.0),
                    "stopped {} without a process",
                    name(id)
                );
                self.terminated.push(name(id));
            }
        }
    }

    fn id(&self, name: &str) -> ServiceId {
        self.core.find(name).unwrap()
    }

    fn ready(&mut self, name: &str) {
        let id = self.id(name);
        self.send(Event::Notified(id, Notification::Ready));
    }

    fn exit(&mut self, name: &str, exit: Exit) {
        let id = self.id(name);
        assert!(self.alive.contains(&id.0), "{name} has no process");
        self.send(Event::Exited(id, exit));
    }

    fn crash(&mut self, name: &str) {
        self.exit(name, Exit::Signal(11));
    }

    /// Lets a service that is always started again at once use up its restarts.
    fn exhaust(&mut self, name: &str) {
        let id = self.id(name);
        while self.core.units()[id.0].alive() {
            self.crash(name);
        }
    }

    /// Lets time pass, with a tick at each deadline.
    fn pass(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while let Some(deadline) = self
            .core
            .next_deadline()
            .filter(|deadline| *deadline <= end)
        {
            self.now = self.now.max(deadline);
            self.send(Event::Tick);
        }
        self.now = end;
    }

    fn state(&self, name: &str) -> ServiceState {
        self.core.units()[self.id(name).0].public_state()
    }

    fn take_spawned(&mut self) -> Vec<String> {
        std::mem::take(&mut self.spawned)
    }
}

#[test]
fn services_start_in_parallel_after_what_they_need() {
    let mut machine = Machine::booted(&[
        ("console", ""),
        ("data", "kind = \"oneshot\""),
        ("network", "needs = [\"data\"]"),
        ("tunnel", "needs = [\"data\", \"network\"]"),
    ]);
    assert_eq!(machine.take_spawned(), ["console", "data"]);
    machine.exit("data", Exit::Code(0));
    assert_eq!(machine.state("data"), ServiceState::Done);
    assert_eq!(machine.take_spawned(), ["network"]);
    machine.pass(10);
    assert_eq!(machine.state("tunnel"), ServiceState::Waiting);
    machine.ready("network");
    assert_eq!(machine.take_spawned(), ["tunnel"]);
    assert_eq!(machine.core.userspace_ready_ms(), None);
    machine.pass(20);
    machine.ready("tunnel");
    machine.ready("console");
    assert_eq!(machine.core.userspace_ready_ms(), Some(30));
}

#[test]
fn a_oneshot_is_not_ready_by_saying_so() {
    let mut machine = Machine::booted(&[("data", "kind = \"oneshot\"")]);
    machine.ready("data");
    assert_eq!(machine.state("data"), ServiceState::Starting);
}

#[test]
fn exec_readiness_needs_no_message() {
    let mut machine = Machine::booted(&[("sleep", "readiness = \"exec\""), ("other", "")]);
    for name in ["sleep", "other"] {
        let id = machine.id(name);
        machine.send(Event::Executed(id));
    }
    assert_eq!(machine.state("sleep"), ServiceState::Ready);
    assert_eq!(machine.state("other"), ServiceState::Starting);
}

#[test]
fn a_killed_service_is_started_again_at_once_and_then_later_and_later() {
    let mut machine =
        Machine::booted(&[("network", "[restart]\nburst = 100\ndelay_max_ms = 1000")]);
    machine.ready("network");
    machine.take_spawned();
    machine.crash("network");
    assert_eq!(
        machine.take_spawned(),
        ["network"],
        "the first restart is immediate"
    );
    for delay_ms in [100, 200, 400, 800, 1000, 1000] {
        machine.crash("network");
        assert_eq!(machine.state("network"), ServiceState::Backoff);
        machine.pass(delay_ms - 1);
        assert_eq!(machine.take_spawned(), [""; 0]);
        machine.pass(1);
        assert_eq!(machine.take_spawned(), ["network"], "after {delay_ms} ms");
    }
    let unit = &machine.core.units()[0];
    assert_eq!(unit.restarts, 7);
    assert_eq!(unit.last_exit.as_deref(), Some("killed by SIGSEGV"));
}

#[test]
fn a_healthy_spell_resets_the_delay() {
    let mut machine = Machine::booted(&[("network", "[restart]\ndelay_ms = 10")]);
    for _ in 0..3 {
        machine.ready("network");
        machine.crash("network");
        machine.pass(40);
    }
    machine.ready("network");
    machine.pass(60_000);
    machine.take_spawned();
    machine.crash("network");
    machine.pass(10);
    assert_eq!(machine.take_spawned(), ["network"]);
}

#[test]
fn too_many_restarts_are_given_up_and_a_person_may_start_it_still() {
    let keys = "[restart]\nburst = 3\nburst_window_s = 30";
    let mut machine = Machine::booted(&[("network", keys)]);
    for _ in 0..3 {
        machine.crash("network");
        machine.pass(1_000);
    }
    machine.crash("network");
    assert_eq!(machine.state("network"), ServiceState::Failed);
    assert_eq!(machine.core.health().state, HealthState::Starting);
    machine.pass(100_000);
    assert_eq!(machine.state("network"), ServiceState::Failed);

    let id = machine.id("network");
    machine.take_spawned();
    machine.send(Event::Start(id));
    assert_eq!(machine.take_spawned(), ["network"]);
    machine.crash("network");
    assert_eq!(
        machine.take_spawned(),
        ["network"],
        "limits and delay start over"
    );
}

#[test]
fn rare_failures_are_never_given_up() {
    let mut machine = Machine::booted(&[("network", "[restart]\nburst = 2\nburst_window_s = 10")]);
    for _ in 0..50 {
        machine.ready("network");
        machine.pass(6_000);
        machine.crash("network");
        machine.pass(31_000);
    }
    assert_eq!(machine.core.units()[0].restarts, 50);
}

#[test]
fn restart_policies() {
    let keys = |policy| format!("[restart]\npolicy = \"{policy}\"");
    for (policy, exit, expected) in [
        ("always", Exit::Code(0), ServiceState::Starting),
        ("on-failure", Exit::Code(0), ServiceState::Stopped),
        ("on-failure", Exit::Code(1), ServiceState::Starting),
        ("never", Exit::Code(0), ServiceState::Stopped),
        ("never", Exit::Signal(9), ServiceState::Failed),
    ] {
        let mut machine = Machine::booted(&[("network", &keys(policy))]);
        machine.ready("network");
        machine.exit("network", exit.clone());
        assert_eq!(machine.state("network"), expected, "{policy} {exit}");
    }
}

#[test]
fn a_start_that_takes_too_long_is_a_failure() {
    let mut machine = Machine::booted(&[("network", "start_timeout_s = 3")]);
    machine.pass(2_999);
    assert!(machine.killed.is_empty());
    machine.pass(1);
    assert_eq!(machine.killed, ["network"]);
    machine.exit("network", Exit::Signal(9));
    let unit = &machine.core.units()[0];
    assert_eq!(
        unit.last_exit.as_deref(),
        Some("not ready within 3 s, killed by SIGKILL")
    );
    assert_eq!(machine.spawned, ["network", "network"]);
}

#[test]
fn a_silent_service_is_killed_and_started_again() {
    let mut machine = Machine::booted(&[("network", "watchdog_s = 10")]);
    machine.ready("network");
    let id = machine.id("network");
    for _ in 0..5 {
        machine.pass(9_000);
        machine.send(Event::Notified(id, Notification::Watchdog));
    }
    machine.pass(9_999);
    assert!(machine.killed.is_empty());
    machine.pass(1);
    assert_eq!(machine.killed, ["network"]);
    machine.exit("network", Exit::Signal(9));
    assert_eq!(machine.state("network"), ServiceState::Starting);

    machine.ready("network");
    machine.send(Event::Notified(id, Notification::WatchdogTrigger));
    assert_eq!(machine.killed, ["network", "network"]);
}

#[test]
fn a_stop_is_asked_for_and_then_enforced() {
    let mut machine = Machine::booted(&[("network", "stop_timeout_s = 2")]);
    machine.ready("network");
    let id = machine.id("network");
    machine.send(Event::Stop(id));
    machine.send(Event::Stop(id));
    assert_eq!(machine.terminated, ["network"]);
    machine.pass(2_000);
    assert_eq!(machine.killed, ["network"]);
    machine.exit("network", Exit::Signal(9));
    assert_eq!(machine.state("network"), ServiceState::Stopped);
    machine.pass(100_000);
    assert_eq!(
        machine.state("network"),
        ServiceState::Stopped,
        "it stays stopped"
    );
}

#[test]
fn a_restart_waits_for_the_old_process() {
    let mut machine = Machine::booted(&[("network", "")]);
    machine.ready("network");
    let id = machine.id("network");
    machine.take_spawned();
    machine.send(Event::Restart(id));
    machine.send(Event::Start(id));
    assert_eq!(machine.take_spawned(), [""; 0]);
    machine.exit("network", Exit::Code(0));
    assert_eq!(machine.take_spawned(), ["network"]);
    machine.exit("network", Exit::Code(1));
    machine.send(Event::Stop(id));
    machine.crash("network");
    machine.send(Event::Restart(id));
    assert_eq!(
        machine.state("network"),
        ServiceState::Starting,
        "also when it was stopped"
    );
}

#[test]
fn starting_a_service_starts_what_it_needs() {
    let mut machine = Machine::booted(&[("data", ""), ("network", "needs = [\"data\"]")]);
    machine.ready("data");
    machine.ready("network");
    for name in ["network", "data"] {
        let id = machine.id(name);
        machine.send(Event::Stop(id));
        machine.exit(name, Exit::Code(0));
    }
    machine.take_spawned();
    let id = machine.id("network");
    machine.send(Event::Start(id));
    assert_eq!(machine.take_spawned(), ["data"]);
    machine.ready("data");
    assert_eq!(machine.take_spawned(), ["network"]);
}

#[test]
fn a_boot_is_good_after_every_critical_service_stayed_ready() {
    let mut machine = Machine::booted(&[("console", ""), ("network", "critical = true")]);
    machine.pass(10_000);
    assert_eq!(machine.commits, 0);
    machine.ready("network");
    machine.pass(SOAK_MS - 1);
    machine.crash("network");
    machine.pass(SOAK_MS);
    assert_eq!(machine.commits, 0, "the soak starts over");
    machine.ready("network");
    machine.pass(SOAK_MS);
    assert_eq!(machine.commits, 1);
    assert_eq!(machine.core.health().state, HealthState::Starting);
    machine.send(Event::Committed(Ok(())));
    assert_eq!(machine.core.health().state, HealthState::Healthy);
    machine.crash("network");
    let health = machine.core.health();
    assert_eq!(health.state, HealthState::Degraded);
    assert_eq!(health.reasons, ["network is backoff"]);
}

#[test]
fn a_record_that_cannot_be_written_is_tried_again() {
    let mut machine = Machine::booted(&[("network", "critical = true")]);
    machine.ready("network");
    machine.pass(SOAK_MS);
    machine.send(Event::Committed(Err("disk on fire".into())));
    assert_eq!(machine.core.health().state, HealthState::Degraded);
    machine.pass(RETRY_MS);
    assert_eq!(machine.commits, 2);
    machine.send(Event::Committed(Ok(())));
    assert_eq!(machine.core.health().state, HealthState::Healthy);
    machine.pass(DEADLINE_MS * 2);
    assert!(machine.escalations.is_empty());
}

#[test]
fn a_critical_service_that_is_given_up_escalates_and_others_do_not() {
    let keys = "[restart]\npolicy = \"never\"";
    let critical = format!("critical = true\n{keys}");
    let mut machine = Machine::booted(&[("console", keys), ("network", &critical)]);
    machine.crash("console");
    assert!(machine.escalations.is_empty());
    machine.crash("network");
    let reason = "service network given up: killed by SIGSEGV; its manifest forbids a restart";
    assert_eq!(machine.escalations, [reason]);
    assert_eq!(machine.core.health().state, HealthState::Failed);
}

#[test]
fn a_boot_that_never_gets_healthy_escalates_once() {
    let keys = "critical = true\nstart_timeout_s = 3600";
    let mut machine = Machine::booted(&[("network", keys)]);
    machine.pass(DEADLINE_MS - 1);
    assert!(machine.escalations.is_empty());
    machine.pass(DEADLINE_MS);
    assert_eq!(
        machine.escalations,
        ["not healthy within 300 s: network is starting"]
    );
}

#[test]
fn a_service_can_say_that_it_is_degraded() {
    let mut machine = Machine::booted(&[("data", "kind = \"oneshot\"")]);
    let id = machine.id("data");
    let text = "degraded: DATA is not readable, nothing is kept".to_owned();
    machine.send(Event::Notified(id, Notification::Status(text)));
    machine.exit("data", Exit::Code(0));
    machine.pass(SOAK_MS);
    machine.send(Event::Committed(Ok(())));
    let health = machine.core.health();
    assert_eq!(health.state, HealthState::Degraded);
    assert_eq!(
        health.reasons,
        ["data: DATA is not readable, nothing is kept"]
    );
}

#[test]
fn the_way_down_is_the_way_up_reversed() {
    let mut machine = Machine::booted(&[
        ("console", ""),
        ("data", ""),
        ("network", "needs = [\"data\"]"),
        ("tunnel", "needs = [\"network\"]"),
    ]);
    for name in ["console", "data", "network"] {
        machine.ready(name);
    }
    machine.send(Event::Power(Power::Poweroff));
    machine.send(Event::Power(Power::Reboot));
    assert_eq!(machine.terminated, ["console", "tunnel"]);
    machine.exit("tunnel", Exit::Code(0));
    assert_eq!(machine.terminated, ["console", "tunnel", "network"]);
    machine.crash("network");
    machine.exit("console", Exit::Code(0));
    assert!(machine.finished.is_empty());
    machine.exit("data", Exit::Code(0));
    assert_eq!(machine.finished, [Power::Poweroff]);
}

#[test]
fn the_way_down_ends_even_if_nothing_dies() {
    let mut machine = Machine::booted(&[
        ("a", "stop_timeout_s = 20"),
        ("b", "needs = [\"a\"]\nstop_timeout_s = 20"),
        ("c", "needs = [\"b\"]\nstop_timeout_s = 20"),
    ]);
    for name in ["a", "b", "c"] {
        machine.ready(name);
    }
    machine.send(Event::Power(Power::Reboot));
    machine.pass(45_000);
    assert_eq!(machine.finished, [Power::Reboot]);
    assert_eq!(machine.killed.len(), 3);
}

#[test]
fn a_process_that_cannot_be_killed_gets_no_sibling() {
    let mut machine = Machine::booted(&[("network", "watchdog_s = 5")]);
    machine.ready("network");
    machine.pass(100_000);
    assert_eq!(machine.state("network"), ServiceState::Stopping);
    let id = machine.id("network");
    machine.send(Event::Start(id));
    assert_eq!(machine.spawned, ["network"]);
    machine.exit("network", Exit::Signal(9));
    assert_eq!(machine.spawned, ["network", "network"]);
}

#[derive(Clone, Debug)]
enum Step {
    Event(usize, u8),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..5usize, 0..11u8).prop_map(|(service, event)| Step::Event(service, event)),
        1 => (0..40_000u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: never two processes for a service, nothing signalled
    /// without a process (both asserted by the machine), a bounded memory of restarts, and a way
    /// down that ends exactly once and in time.
    #[test]
    fn any_history_keeps_the_invariants(steps in steps(), down_at in 0..200usize) {
        let mut machine = Machine::booted(&[
            ("a", "kind = \"oneshot\""),
            ("b", "needs = [\"a\"]\ncritical = true\nwatchdog_s = 5"),
            ("c", "needs = [\"b\"]\n[restart]\npolicy = \"never\""),
            ("d", "readiness = \"exec\"\n[restart]\ndelay_ms = 50\nburst = 2"),
            ("e", "needs = [\"a\", \"d\"]\n[restart]\npolicy = \"on-failure\""),
        ]);
        for (position, step) in steps.into_iter().enumerate() {
            if position == down_at {
                machine.send(Event::Power(Power::Reboot));
            }
            match step {
                Step::Pass(ms) => machine.pass(ms),
                Step::Event(service, event) => {
                    let id = ServiceId(service);
                    let alive = machine.alive.contains(&service);
                    let notify = |notification| Event::Notified(id, notification);
                    machine.send(match event {
                        0 if alive => Event::Exited(id, Exit::Code(0)),
                        1 if alive => Event::Exited(id, Exit::Code(1)),
                        2 if alive => Event::Exited(id, Exit::Signal(9)),
                        3 => Event::Start(id),
                        4 => Event::Stop(id),
                        5 => Event::Restart(id),
                        6 => notify(Notification::Ready),
                        7 => notify(Notification::Watchdog),
                        8 => notify(Notification::WatchdogTrigger),
                        9 if alive => Event::Executed(id),
                        _ => Event::Committed(Ok(())),
                    });
                }
            }
            for unit in machine.core.units() {
                prop_assert!(unit.recent_restarts() <= 5);
                prop_assert_eq!(unit.pid.is_some(), machine.alive.contains(&machine.id(unit.service.name.as_str()).0));
            }
        }
        machine.send(Event::Power(Power::Reboot));
        machine.pass(60_000);
        prop_assert_eq!(machine.finished.len(), 1);
    }
}

const AT_ONCE: &str = "[restart]\nburst = 3\ndelay_max_ms = 0";

#[test]
fn only_declared_dependants_are_restarted_with_a_service() {
    let mut machine = Machine::booted(&[
        ("a", AT_ONCE),
        ("b", "needs = [\"a\"]"),
        ("c", "needs = [\"a\"]\nrestart_with = [\"a\"]"),
        ("d", "needs = [\"c\"]\nrestart_with = [\"c\"]"),
    ]);
    for name in ["a", "b", "c", "d"] {
        machine.ready(name);
    }
    machine.crash("a");
    assert_eq!(machine.terminated, ["c", "d"]);
    machine.exit("c", Exit::Code(0));
    machine.exit("d", Exit::Code(0));
    // They wait for what they need.
    assert_eq!(machine.state("c"), ServiceState::Waiting);
    machine.ready("a");
    assert_eq!(machine.state("c"), ServiceState::Starting);
    assert_eq!(machine.state("d"), ServiceState::Waiting);
    assert_eq!(machine.state("b"), ServiceState::Ready);
}

#[test]
fn dependants_are_tried_before_the_machine_is_given_up() {
    let critical = format!("critical = true\n{AT_ONCE}");
    let mut machine = Machine::booted(&[
        ("a", &critical),
        ("c", "needs = [\"a\"]\nrestart_with = [\"a\"]"),
    ]);
    machine.ready("a");
    machine.ready("c");
    for _ in 0..4 {
        machine.crash("a");
    }
    // All of its restarts are used up; it is started once more, and its dependant with it.
    assert_eq!(machine.escalations, Vec::<String>::new());
    assert_eq!(machine.state("a"), ServiceState::Starting);
    assert_eq!(machine.terminated, ["c"]);
    machine.exit("c", Exit::Code(0));
    machine.exhaust("a");
    assert_eq!(machine.state("a"), ServiceState::Failed);
    let [reason] = machine.escalations.as_slice() else {
        panic!("{:?}", machine.escalations);
    };
    assert!(reason.starts_with("service a given up: "), "{reason}");
    // A person may always try.
    let id = machine.id("a");
    machine.send(Event::Start(id));
    assert_eq!(machine.state("a"), ServiceState::Starting);
}
