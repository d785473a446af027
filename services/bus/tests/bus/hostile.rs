use std::io::Write as _;
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;

use crate::support::*;
use peer::{Outgoing, Peer, run_as};
use std::fs;
use std::io;

const SERIAL: NonZeroU32 = NonZeroU32::MIN;

/// Whether the bus still serves others.
fn is_well(bus: &Bus) -> bool {
    bus.peer(STORE).driver("GetId", &()).is_ok()
}

#[test]
fn garbage_instead_of_a_handshake_ends_the_connection() {
    let bus = Bus::start();
    let too_long = [b"\0AUTH EXTERNAL ".as_slice(), &[b'3'; 64 * 1024]].concat();
    let inputs: [&[u8]; 6] = [
        b"AUTH EXTERNAL\r\n",
        b"\0BEGIN\r\n",
        b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nno message at all, and long enough to be read as one",
        b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n",
        &[&[0xff; 4096], b"\r\n".as_slice()].concat(),
        &too_long,
    ];
    for input in inputs {
        let mut stream = run_as(CONTROLLER, || UnixStream::connect(bus.socket())).unwrap();
        // It may close before everything is written.
        let _ = stream.write_all(input);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut rest = Vec::new();
        match io::Read::read_to_end(&mut stream, &mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        assert!(is_well(&bus));
    }
}

#[test]
fn a_claimed_user_is_not_believed() {
    let bus = Bus::start();
    let mut stream = run_as(CONTROLLER, || UnixStream::connect(bus.socket())).unwrap();
    // `30` is `0` in hexadecimal: root.
    stream.write_all(b"\0AUTH EXTERNAL 30\r\n").unwrap();
    let mut answer = [0; 64];
    let count = io::Read::read(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer[..count], b"REJECTED EXTERNAL\r\n");
}

#[test]
fn malformed_messages_end_the_connection_and_nothing_else() {
    let bus = Bus::start();
    let good = Outgoing::driver("GetNameOwner")
        .encode(SERIAL, &"org.freedesktop.DBus")
        .unwrap();
    let changes: [(&str, usize, &[u8]); 8] = [
        ("byte order", 0, b"x"),
        ("kind", 1, &[0]),
        ("protocol version", 3, &[9]),
        ("body longer than any", 4, &[0xff; 4]),
        ("serial number 0", 8, &[0; 4]),
        ("fields longer than any", 12, &[0xff; 4]),
        ("field with another type", 17, &[1, b'u']),
        ("path that is none", 24, b"org"),
    ];
    for (what, at, bytes) in changes {
        let mut message = good.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        let mut peer = bus.peer(CONTROLLER);
        peer.write(&message).unwrap();
        // The next is there so that the broker has enough to read whatever length it believes in.
        let _ = peer.write(&good.repeat(4));
        peer.until_closed()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(is_well(&bus), "{what}");
    }
}

#[test]
fn half_a_message_harms_nobody() {
    let bus = Bus::start();
    let good = Outgoing::driver("GetId").encode(SERIAL, &()).unwrap();
    let halves: Vec<Peer> = (1..good.len())
        .map(|length| {
            let mut peer = bus.peer(CONTROLLER);
            peer.write(&good[..length]).unwrap();
            peer
        })
        .collect();
    assert!(is_well(&bus));
    drop(halves);
    assert!(is_well(&bus));
}

#[test]
fn a_message_above_the_quota_is_refused_and_one_below_passes() {
    let bus = Bus::start();
    let name = "org.x0tta6bl4.Config1";
    let config = answer(bus.peer(ADMIN), name, 1);
    let mut large = bus.peer(CONTROLLER);
    let words = "x".repeat(512 * 1024);
    assert_eq!(echo(&mut large, name, &words).unwrap(), words);
    config.join().unwrap();
    let mut oversized = bus.peer(CONTROLLER);
    let words = "x".repeat(64 * 1024 * 1024);
    let error = echo(&mut oversized, name, &words).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof
        ),
        "{error:?}"
    );
    assert!(is_well(&bus));
    let peak = fs::read_to_string(format!("/proc/{}/status", bus.broker())).unwrap();
    let peak = peak
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 32 * 1024, "the broker took {peak} KiB for it");
}
