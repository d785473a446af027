//! What is relayed between a host and the bus, without any input or output.
//!
//! The handshakes on both sides are separate: the bus knows this service by the credentials of its
//! socket and would refuse what a host claims to be. After them, bytes pass as they are. No
//! descriptor passes a port.

use crate::frames::Frames;
use crate::relay::{CAPACITY, Refusal, Relay};
use crate::sasl::Server;

/// The whole handshake with the bus, which takes the user from the socket.
const HELLO: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
/// What the bus may say before it agrees.
const MAX_ANSWER: usize = 512;
/// No message begins like this, and a client reads so many bytes before it looks.
const END: [u8; 16] = [0; 16];

/// The session of one host.
#[derive(Debug, Default)]
pub struct Conversation {
    host: Server,
    bus: Bus,
    host_frames: Frames,
    bus_frames: Frames,
    to_bus: Vec<u8>,
    to_host: Vec<u8>,
    /// Bytes that complete a message that the bus did not.
    filler: u64,
    begins_anew: bool,
}

/// How far the bus is.
#[derive(Debug, Default)]
enum Bus {
    #[default]
    Unasked,
    Asked(Vec<u8>),
    /// The id with which it agreed.
    Agreed(String),
    Gone,
}

impl Relay for Conversation {
    fn room_from_host(&self) -> usize {
        if self.host.is_done() {
            CAPACITY - self.to_bus.len().min(CAPACITY)
        } else if self.to_host.len() < CAPACITY {
            self.host.room()
        } else {
            0
        }
    }

    fn room_from_back(&self) -> usize {
        CAPACITY - self.to_host.len().min(CAPACITY)
    }

    fn host_sent(&mut self, bytes: &[u8]) {
        if self.host.is_done() {
            self.pass(bytes);
            return;
        }
        if matches!(self.bus, Bus::Unasked) && !bytes.is_empty() {
            self.bus = Bus::Asked(Vec::new());
            self.to_bus.extend_from_slice(HELLO);
        }
        self.host.feed(bytes);
        self.shake_hands();
    }

    fn back_sent(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Bus::Asked(answer) = &mut self.bus else {
            self.deliver(bytes);
            return Ok(());
        };
        answer.extend_from_slice(bytes);
        while let Some(end) = answer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = answer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some(guid) = line.strip_prefix("OK ").filter(|guid| is_guid(guid)) {
                let rest = std::mem::take(answer);
                self.bus = Bus::Agreed(guid.to_owned());
                self.shake_hands();
                self.deliver(&rest);
                return Ok(());
            }
            if line != "DATA" {
                return Err(Refusal(line));
            }
        }
        if answer.len() > MAX_ANSWER {
            return Err(Refusal("too long an answer".to_owned()));
        }
        Ok(())
    }

    fn to_back(&self) -> &[u8] {
        &self.to_bus
    }

    fn sent_to_back(&mut self, count: usize) {
        self.to_bus.drain(..count);
    }

    fn to_host(&self) -> &[u8] {
        &self.to_host
    }

    fn sent_to_host(&mut self, count: usize) {
        self.to_host.drain(..count);
        self.fill();
    }

    /// A host that shakes hands is told. One beyond that can be told nothing by which it would not
    /// be waiting for ever: there is no way to close a port's other end. So the message that is
    /// under way is completed, and followed by bytes that are none, on which every client closes.
    fn back_lost(&mut self, reason: &str) {
        self.to_bus.clear();
        if self.host.is_done() {
            if !matches!(self.bus, Bus::Gone) {
                self.bus = Bus::Gone;
                self.filler = self.bus_frames.missing() + END.len() as u64;
                self.fill();
            }
        } else {
            self.bus = Bus::Unasked;
            self.host.refuse(reason, &mut self.to_host);
        }
    }

    fn begins_anew(&mut self) -> bool {
        std::mem::take(&mut self.begins_anew)
    }
}

impl Conversation {
    fn shake_hands(&mut self) {
        let guid = match &self.bus {
            Bus::Agreed(guid) => Some(guid.as_str()),
            _ => None,
        };
        self.host.answer(guid, &mut self.to_host);
        if self.host.is_done() {
            let rest = self.host.rest();
            self.pass(&rest);
        }
    }

    /// Passes on what the host sent, up to where another host begins: hosts may come and go faster
    /// than their port tells.
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            let is_new = match self.bus {
                Bus::Gone => bytes.starts_with(b"\0AUTH"),
                _ => *first == 0 && self.host_frames.at_start(),
            };
            if is_new {
                *self = Self {
                    begins_anew: true,
                    ..Self::default()
                };
                self.host_sent(bytes);
                return;
            }
            if matches!(self.bus, Bus::Gone) {
                return;
            }
            let length = self.host_frames.take(bytes);
            self.to_bus.extend_from_slice(&bytes[..length]);
            bytes = &bytes[length..];
        }
    }

    fn deliver(&mut self, mut bytes: &[u8]) {
        self.to_host.extend_from_slice(bytes);
        while !bytes.is_empty() {
            bytes = &bytes[self.bus_frames.take(bytes)..];
        }
    }

    fn fill(&mut self) {
        let room = u64::try_from(self.room_from_back()).unwrap_or(0);
        let count = self.filler.min(room);
        self.filler -= count;
        let length = self.to_host.len() + usize::try_from(count).unwrap_or(0);
        self.to_host.resize(length, 0);
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AUTH: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
    const OK: &[u8] = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n";

    fn message(body: u8) -> Vec<u8> {
        let mut bytes = vec![b'l', 1, 0, 1, body, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0];
        bytes.resize(16 + 8 + usize::from(body), b'x');
        bytes
    }

    fn fetch(relay: &mut Conversation) -> (Vec<u8>, Vec<u8>) {
        let (bus, host) = (relay.to_back().to_vec(), relay.to_host().to_vec());
        relay.sent_to_back(bus.len());
        relay.sent_to_host(host.len());
        (bus, host)
    }

    fn established() -> Conversation {
        let mut relay = Conversation::default();
        relay.host_sent(AUTH);
        relay.back_sent(OK).unwrap();
        fetch(&mut relay);
        assert!(relay.host.is_done());
        relay
    }

    #[test]
    fn both_handshakes_are_separate_and_messages_pass() {
        let mut relay = Conversation::default();
        let call = message(40);
        relay.host_sent(&[AUTH, &call[..]].concat());
        assert_eq!(fetch(&mut relay), (HELLO.to_vec(), b"DATA\r\n".to_vec()));
        relay.back_sent(OK).unwrap();
        let (bus, host) = fetch(&mut relay);
        assert_eq!(bus, call);
        let host = String::from_utf8(host).unwrap();
        assert!(host.starts_with("OK 0123456789abcdef0123456789abcdef\r\nERROR"));
        relay.back_sent(&message(3)).unwrap();
        assert_eq!(fetch(&mut relay), (vec![], message(3)));
    }

    #[test]
    fn a_host_without_a_bus_is_told_and_may_try_again() {
        let mut relay = Conversation::default();
        relay.host_sent(AUTH);
        relay.back_lost("no such file");
        let (bus, host) = fetch(&mut relay);
        assert_eq!(bus, b"");
        assert_eq!(host, b"DATA\r\nERROR no such file\r\n");
        relay.host_sent(AUTH);
        relay.back_sent(OK).unwrap();
        assert!(relay.host.is_done());
    }

    #[test]
    fn a_bus_that_refuses_is_no_bus() {
        for answer in ["REJECTED EXTERNAL\r\n", "OK short\r\n", &"x".repeat(600)] {
            let mut relay = Conversation::default();
            relay.host_sent(AUTH);
            relay.back_sent(answer.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn a_lost_bus_completes_its_message_and_ends_the_stream() {
        let mut relay = established();
        let answer = message(200);
        relay.back_sent(&answer[..50]).unwrap();
        relay.back_lost("gone");
        let (_, host) = fetch(&mut relay);
        assert_eq!(host.len(), answer.len() + END.len());
        assert_eq!(host[..50], answer[..50]);
        assert!(host.ends_with(&END));
        // What the host says now is lost, until it begins anew.
        relay.host_sent(&message(9));
        assert_eq!(fetch(&mut relay), (vec![], vec![]));
        relay.host_sent(AUTH);
        assert!(relay.begins_anew());
        assert_eq!(fetch(&mut relay).0, HELLO);
    }

    #[test]
    fn a_new_host_is_told_from_the_old_one() {
        let mut relay = established();
        relay.host_sent(&[&message(9), AUTH].concat());
        assert!(relay.begins_anew());
        assert!(!relay.begins_anew());
        // The old connection goes, and with it what was meant for it.
        assert_eq!(fetch(&mut relay).0, HELLO);
        relay.back_sent(OK).unwrap();
        assert!(relay.host.is_done());
    }

    #[derive(Clone, Debug)]
    enum Event {
        Host(Vec<u8>),
        Bus(Vec<u8>),
        Lost,
        Fetch,
    }

    fn event() -> impl Strategy<Value = Event> {
        let piece = || {
            prop_oneof![
                Just(AUTH.to_vec()),
                Just(OK.to_vec()),
                any::<u8>().prop_map(message),
                prop::collection::vec(any::<u8>(), 0..40),
            ]
        };
        prop_oneof![
            piece().prop_map(Event::Host),
            piece().prop_map(Event::Bus),
            Just(Event::Lost),
            Just(Event::Fetch),
        ]
    }

    proptest! {
        #[test]
        fn memory_is_bounded_whatever_comes(events in prop::collection::vec(event(), 0..200)) {
            let mut relay = Conversation::default();
            for event in events {
                match event {
                    Event::Host(bytes) => {
                        let room = relay.room_from_host().min(bytes.len());
                        relay.host_sent(&bytes[..room]);
                    }
                    Event::Bus(bytes) => {
                        let room = relay.room_from_back().min(bytes.len());
                        if relay.back_sent(&bytes[..room]).is_err() {
                            relay.back_lost("it refuses");
                        }
                    }
                    Event::Lost => relay.back_lost("gone"),
                    Event::Fetch => drop(fetch(&mut relay)),
                }
                prop_assert!(relay.to_back().len() <= CAPACITY + 2048);
                prop_assert!(relay.to_host().len() <= CAPACITY + 64 * 1024);
            }
        }
    }
}
