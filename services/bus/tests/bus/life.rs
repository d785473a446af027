use std::io::Read as _;
use std::process::Command;

use crate::support::*;

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn last_words(bus: &mut Bus) -> String {
    let mut text = String::new();
    bus.service
        .child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn it_ends_when_the_broker_does_and_serves_again_on_the_same_socket() {
    let mut bus = Bus::start();
    let mut client = bus.peer(CONTROLLER);
    kill("-KILL", bus.broker());
    assert_eq!(bus.service.child.wait().unwrap().code(), Some(1));
    let words = last_words(&mut bus);
    assert!(
        words.contains("the broker is lost (signal: 9 (SIGKILL))"),
        "{words}"
    );
    client.until_closed().unwrap();
    // PID 1 holds the socket: who comes now waits instead of failing.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bus.join(CONTROLLER));
        let again = Bus::activate(&bus.folder, &bus.listener);
        again.wait_for("READY=1", LIMIT).unwrap();
        (waiting.join().unwrap(), again)
    });
    waiting.0.unwrap().driver("GetId", &()).unwrap();
}

#[test]
fn the_broker_ends_when_it_does() {
    let mut bus = Bus::start();
    let (broker, mut client) = (bus.broker(), bus.peer(CONTROLLER));
    bus.service.child.kill().unwrap();
    bus.service.child.wait().unwrap();
    client.until_closed().unwrap();
    let gone = || !std::path::Path::new(&format!("/proc/{broker}/fd/0")).exists();
    let end = std::time::Instant::now() + LIMIT;
    while !gone() {
        assert!(std::time::Instant::now() < end, "the broker lives on");
        std::thread::yield_now();
    }
}

#[test]
fn it_stops_when_it_is_told_to() {
    let mut bus = Bus::start();
    kill("-TERM", bus.service.child.id());
    assert_eq!(bus.service.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_while_the_broker_answers_and_not_longer() {
    let mut bus = Bus::start();
    bus.service.wait_for("WATCHDOG=1", LIMIT).unwrap();
    bus.service.wait_for("WATCHDOG=1", LIMIT).unwrap();
    let broker = bus.broker();
    kill("-STOP", broker);
    assert_eq!(bus.service.child.wait().unwrap().code(), Some(1));
    let words = last_words(&mut bus);
    assert!(words.contains("or not at all"), "{words}");
}

#[test]
fn without_a_socket_it_says_what_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_bus"))
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("LISTEN_PID"), "{text}");
    assert!(text.contains("[[sockets]]"), "{text}");
}
