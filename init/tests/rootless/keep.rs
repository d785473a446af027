//! What PID 1 keeps open for services: sockets and stored descriptors.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::machine::{DEADLINE, Machine, puppet};
use api::ServiceState;
use rustix::process::Signal;

const PATIENT: &str = "[restart]\nburst = 1000\ndelay_max_ms = 0";
const DOOR: &str = "sockets = [{ name = \"door\", path = \"/run/door/socket\", mode = \"0600\" }]";

/// Connects, and gives who answered.
fn knock(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_socket_is_there_before_its_service_and_while_it_restarts() {
    let keys = format!("{DOOR}\n{PATIENT}");
    let machine = Machine::boot(&[
        ("early", puppet(&["sleep=200", "notify=READY=1"], "")),
        (
            "door",
            puppet(
                &["notify=READY=1", "serve=1"],
                &format!("needs = [\"early\"]\n{keys}"),
            ),
        ),
    ]);
    let path = machine.path("/run/door/socket");
    assert_eq!(machine.service("door").state, ServiceState::Waiting);
    let first = knock(&path).unwrap();
    let door = machine.until("door", ServiceState::Ready);
    assert_eq!(first, door.pid.unwrap().to_string());
    let mut refused = 0;
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            for restarts in 1..=20 {
                let pid = machine.until_restarted("door", restarts - 1).pid.unwrap();
                machine.signal(pid, Signal::KILL);
                machine.until_restarted("door", restarts);
            }
        });
        while !killer.is_finished() {
            match knock(&path) {
                // It was killed with this client in its hands.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(_) => refused += 1,
            }
        }
    });
    assert_eq!(refused, 0);
}

#[test]
fn a_service_that_is_stopped_for_good_has_no_socket_until_it_is_started() {
    let machine = Machine::boot(&[("door", puppet(&["notify=READY=1", "serve=0"], DOOR))]);
    let path = machine.path("/run/door/socket");
    machine.until("door", ServiceState::Ready);
    machine.client().stop("door").unwrap();
    machine.until("door", ServiceState::Stopped);
    machine.eventually("its socket is gone", || {
        (knock(&path).unwrap_err().kind() == ErrorKind::NotFound).then_some(())
    });
    machine.client().start("door").unwrap();
    let pid = machine.until("door", ServiceState::Ready).pid.unwrap();
    assert_eq!(knock(&path).unwrap(), pid.to_string());
}

#[test]
fn what_a_service_stored_comes_back_until_it_is_stopped() {
    let orders = ["store=memory:hello", "passed", "notify=READY=1"];
    let keys = format!("fd_store = 2\n{PATIENT}");
    let machine = Machine::boot(&[("network", puppet(&orders, &keys))]);
    let pid = machine.until("network", ServiceState::Ready).pid.unwrap();
    machine.eventually("PID 1 has it", || {
        (machine.service("network").stored_fds == 1).then_some(())
    });
    machine.signal(pid, Signal::KILL);
    machine.until_restarted("network", 1);
    machine.client().restart("network").unwrap();
    machine.until_restarted("network", 2);
    let names = |log: Vec<String>| log.into_iter().filter(|line| line.starts_with("passed"));
    let seen: Vec<_> = names(machine.log("network")).collect();
    assert_eq!(seen, ["passed ", "passed memory", "passed memory"]);
    machine.client().stop("network").unwrap();
    machine.until("network", ServiceState::Stopped);
    machine.eventually("it is dropped", || {
        (machine.service("network").stored_fds == 0).then_some(())
    });
}

#[test]
fn the_store_is_bounded_by_the_manifest() {
    let orders = ["store=a:1", "store=b:2", "store=c:3", "notify=READY=1"];
    let machine = Machine::boot(&[("network", puppet(&orders, "fd_store = 2"))]);
    machine.until("network", ServiceState::Ready);
    assert_eq!(machine.service("network").stored_fds, 2);
    let log = machine.log("network");
    let refusal = "-- may keep 2 descriptors with PID 1: `c` is not kept";
    assert!(log.iter().any(|line| line == refusal), "{log:?}");
}
