//! What PID 1 does with input from those who mean it harm, or do not know better.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::machine::{DEADLINE, Machine, puppet};
use api::{CallError, INTERFACE, ServiceState};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn ready() -> Machine {
    let machine = Machine::boot(&[("network", puppet(&["notify=READY=1"], ""))]);
    machine.until("network", ServiceState::Ready);
    machine
}

fn raw(machine: &Machine) -> UnixStream {
    let stream = UnixStream::connect(machine.socket()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// What PID 1 said before it hung up.
fn last_word(mut stream: UnixStream) -> String {
    // A reset is an end as well: PID 1 closed with bytes of ours unread.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok();
    assert!(matches!(stream.read(&mut [0]), Ok(0)), "still open");
    String::from_utf8(rest).unwrap()
}

#[test]
fn notify_messages_from_strangers_are_dropped_and_counted() {
    let machine = Machine::boot(&[
        ("network", puppet(&["sleep=60000"], "")),
        ("helped", puppet(&["helper=READY=1"], "")),
    ]);
    // This process is of no service, and of another PID namespace at that.
    let socket = UnixDatagram::unbound().unwrap();
    let path = machine.folder.path().join("run/notify");
    for message in [b"READY=1".as_slice(), b"STATUS=owned", b"", &[0xff; 9000]] {
        socket.send_to(message, &path).unwrap();
    }
    machine.eventually("all were counted", || {
        (machine.status().notify_rejected == 4).then_some(())
    });
    assert_eq!(machine.service("network").state, ServiceState::Starting);
    // A process that the service made itself may speak for it.
    machine.until("helped", ServiceState::Ready);
}

#[test]
fn descriptors_from_strangers_are_closed() {
    let machine = ready();
    let open = || {
        std::fs::read_dir(machine.path("/proc/1/fd"))
            .unwrap()
            .count()
    };
    let socket = UnixDatagram::unbound().unwrap();
    socket
        .connect(machine.folder.path().join("run/notify"))
        .unwrap();
    let before = open();
    // As many as PID 1 takes, and more.
    for count in [1, 32, 33, 200] {
        let fds = vec![socket.as_fd(); count];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let slices = [IoSlice::new(b"FDSTORE=1\nFDNAME=mine")];
        sendmsg(&socket, &slices, &mut ancillary, SendFlags::empty()).unwrap();
    }
    machine.eventually("all were counted", || {
        (machine.status().notify_rejected == 4).then_some(())
    });
    machine.eventually("all are closed", || (open() <= before).then_some(()));
    assert_eq!(machine.service("network").stored_fds, 0);
}

#[test]
fn nonsense_is_named_and_ends_the_connection() {
    let machine = ready();
    for nonsense in [
        b"nonsense\0".as_slice(),
        b"\0",
        b"[]\0",
        b"{}\0",
        b"\xff\xfe\0",
        &[vec![b'['; 4000], vec![0]].concat(),
    ] {
        let mut stream = raw(&machine);
        stream.write_all(nonsense).unwrap();
        let answer = last_word(stream);
        let expected = r#"{"parameters":{"parameter":"the message is no call: "#;
        assert!(answer.starts_with(expected), "{nonsense:?}: {answer}");
        assert!(answer.contains("org.varlink.service.InvalidParameter"));
    }
    let mut stream = raw(&machine);
    stream.write_all(&[b'x'; 5000]).unwrap();
    let answer = last_word(stream);
    assert!(answer.contains("longer than 4096 bytes"), "{answer}");
    assert_eq!(machine.service("network").state, ServiceState::Ready);
}

#[test]
fn mistakes_are_answered_by_name() {
    let machine = ready();
    let mut client = machine.client();
    let mut refused = |method: &str, parameters: serde_json::Value| match client
        .call::<serde_json::Value>(method, parameters)
        .unwrap_err()
    {
        CallError::Refused { error, .. } => error,
        error => panic!("{error}"),
    };
    let none = serde_json::json!({});
    let unknown = serde_json::json!({ "service": "nobody" });
    let start = format!("{INTERFACE}.StartService");
    assert_eq!(
        refused(&format!("{INTERFACE}.Explode"), none.clone()),
        "org.varlink.service.MethodNotFound"
    );
    assert_eq!(
        refused("io.systemd.Manager.Describe", none.clone()),
        "org.varlink.service.InterfaceNotFound"
    );
    assert_eq!(
        refused(&start, none.clone()),
        "org.varlink.service.InvalidParameter"
    );
    assert_eq!(
        refused(&start, unknown),
        format!("{INTERFACE}.ServiceNotFound")
    );
    assert_eq!(client.description(INTERFACE).unwrap(), api::DESCRIPTION);
    assert!(
        client
            .description("org.varlink.service")
            .unwrap()
            .contains("GetInfo")
    );
}

#[test]
fn a_flood_of_calls_is_served_at_the_callers_pace() {
    let machine = ready();
    let mut flood = raw(&machine);
    flood
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let call = format!("{{\"method\":\"{INTERFACE}.Status\"}}\0").repeat(100);
    // Nothing is read, so at some point PID 1 takes no more.
    let sent = (0..10_000)
        .take_while(|_| flood.write_all(call.as_bytes()).is_ok())
        .count();
    assert!(sent < 10_000, "PID 1 buffered a million calls");
    assert_eq!(machine.service("network").state, ServiceState::Ready);
}

#[test]
fn a_flood_of_calls_delays_only_its_maker() {
    let machine = ready();
    let stop = AtomicBool::new(false);
    let call = format!("{{\"method\":\"{INTERFACE}.Status\"}}\0").repeat(80);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut flood = raw(&machine);
                let mut answers = flood.try_clone().unwrap();
                flood.set_nonblocking(true).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    flood.write_all(call.as_bytes()).ok();
                    std::io::copy(&mut answers, &mut std::io::sink()).ok();
                }
            });
        }
        let mut client = machine.client();
        let slowest = (0..100).map(|_| {
            let begun = Instant::now();
            client.status().unwrap();
            begun.elapsed()
        });
        let slowest = slowest.max().unwrap();
        stop.store(true, Ordering::Relaxed);
        // Before its call comes one of each flooder at most, and a busy host.
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    });
}

#[test]
fn calls_that_arrive_together_are_all_answered_also_after_the_end() {
    let machine = ready();
    let mut stream = raw(&machine);
    let call = format!("{{\"method\":\"{INTERFACE}.Status\"}}\0").repeat(50);
    stream.write_all(call.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    assert_eq!(answers.iter().filter(|byte| **byte == 0).count(), 50);
}

#[test]
fn too_many_connections_block_only_their_maker() {
    let machine = ready();
    let idle: Vec<UnixStream> = (0..100).map(|_| raw(&machine)).collect();
    let mut refused = 0;
    for stream in &idle {
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut stream = stream;
        refused += usize::from(stream.read(&mut [0]).is_ok_and(|length| length == 0));
    }
    assert!(refused >= 80, "only {refused} of 100 were refused");
    drop(idle);
    machine.eventually("others are served again", || {
        machine
            .client()
            .status()
            .ok()
            .filter(|status| status.services.len() == 1)
    });
}

#[test]
fn a_log_can_be_followed_and_a_slow_reader_is_dropped() {
    let machine = Machine::boot(&[("network", puppet(&["notify=READY=1", "flood=100000"], ""))]);
    machine.until("network", ServiceState::Ready);
    let call = |more| {
        format!(
            "{{\"method\":\"{INTERFACE}.Logs\",\"parameters\":{{\"service\":\"network\"}},\"more\":{more}}}\0"
        )
    };
    let mut slow = raw(&machine);
    slow.write_all(call(true).as_bytes()).unwrap();

    let mut follow = machine.client().follow("network", 0).unwrap();
    machine.eventually("the last line arrives", || {
        let lines = follow
            .next_lines(Duration::from_millis(100))
            .unwrap_or_default();
        let last = lines.iter().any(|line| line.text == "line 99999");
        (last || machine.log("network").contains(&"line 99999".into())).then_some(())
    });
    assert_eq!(machine.service("network").state, ServiceState::Ready);
    machine.client().restart("network").unwrap();
    machine.until_restarted("network", 1);
}
