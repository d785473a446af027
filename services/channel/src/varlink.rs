//! What is relayed between a host and PID 1, without any input or output.
//!
//! Varlink messages end in a NUL byte. The relay counts them and knows whether it is inside one,
//! but does not read them: what a message means is PID 1's business.

use crate::relay::{CAPACITY, Refusal, Relay};

/// The state of the one session that the host has with PID 1.
#[derive(Debug, Default)]
pub struct Calls {
    to_init: Vec<u8>,
    to_host: Vec<u8>,
    /// Messages that PID 1 has not answered yet.
    unanswered: usize,
    /// The host is inside a message.
    host_inside: bool,
    /// PID 1 is inside a message.
    init_inside: bool,
    /// The rest of a message whose beginning was lost with PID 1's connection is left out.
    skipping: bool,
}

impl Relay for Calls {
    fn room_from_host(&self) -> usize {
        CAPACITY - self.to_init.len().min(CAPACITY)
    }

    fn room_from_back(&self) -> usize {
        CAPACITY - self.to_host.len().min(CAPACITY)
    }

    fn host_sent(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.skipping {
            let Some(end) = bytes.iter().position(|byte| *byte == 0) else {
                return;
            };
            self.skipping = false;
            bytes = &bytes[end + 1..];
        }
        if let Some(last) = bytes.last() {
            self.host_inside = *last != 0;
            self.unanswered += messages(bytes);
            self.to_init.extend_from_slice(bytes);
        }
    }

    fn back_sent(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if let Some(last) = bytes.last() {
            self.init_inside = *last != 0;
            self.unanswered = self.unanswered.saturating_sub(messages(bytes));
            self.to_host.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn to_back(&self) -> &[u8] {
        &self.to_init
    }

    fn sent_to_back(&mut self, count: usize) {
        self.to_init.drain(..count);
    }

    fn to_host(&self) -> &[u8] {
        &self.to_host
    }

    fn sent_to_host(&mut self, count: usize) {
        self.to_host.drain(..count);
    }

    /// PID 1 closed the connection, or could not be reached. The host gets an error for every
    /// message that is without an answer, and can go on with the next one.
    fn back_lost(&mut self, reason: &str) {
        self.to_init.clear();
        self.skipping |= self.host_inside;
        // An answer that was cut short ends here. The host sees that it is broken, and needs no
        // second one.
        if std::mem::take(&mut self.init_inside) {
            self.to_host.push(0);
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        // The message that is being skipped will want its answer, too.
        let unanswered = std::mem::take(&mut self.unanswered) + usize::from(self.host_inside);
        self.host_inside = false;
        let message = failure(reason);
        for _ in 0..unanswered {
            if self.room_from_back() < message.len() {
                break;
            }
            self.to_host.extend_from_slice(&message);
        }
    }
}

/// The number of messages that end in `bytes`.
fn messages(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == 0).count()
}

/// A Varlink error that says that PID 1 is out of reach.
fn failure(reason: &str) -> Vec<u8> {
    let reason: String = reason
        .chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    format!(
        r#"{{"error":"org.x0tta6bl4.Channel.InitUnreachable","parameters":{{"reason":"{reason}"}}}}{}"#,
        '\0'
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn errors(relay: &Calls) -> usize {
        String::from_utf8_lossy(relay.to_host())
            .matches("InitUnreachable")
            .count()
    }

    #[test]
    fn relays_both_ways() {
        let mut relay = Calls::default();
        relay.host_sent(b"call\0");
        assert_eq!(relay.to_back(), b"call\0");
        relay.sent_to_back(2);
        assert_eq!(relay.to_back(), b"ll\0");
        relay.back_sent(b"answer\0").unwrap();
        assert_eq!(relay.to_host(), b"answer\0");
    }

    #[test]
    fn a_lost_init_becomes_an_error_for_every_open_call() {
        let mut relay = Calls::default();
        relay.host_sent(b"one\0two\0");
        relay.back_sent(b"answer\0").unwrap();
        relay.back_lost("it said \"no\"\n");
        assert_eq!(errors(&relay), 1);
        assert!(relay.to_host().ends_with(b"it said 'no' \"}}\0"));
    }

    #[test]
    fn the_rest_of_a_lost_message_is_left_out() {
        let mut relay = Calls::default();
        relay.host_sent(b"first ha");
        relay.sent_to_back(8);
        relay.back_lost("gone");
        assert_eq!(errors(&relay), 1);
        relay.host_sent(b"lf");
        relay.host_sent(b" of it\0second\0");
        assert_eq!(relay.to_back(), b"second\0");
    }

    #[test]
    fn an_answer_that_was_cut_short_is_ended_and_not_answered_twice() {
        let mut relay = Calls::default();
        relay.host_sent(b"call\0");
        relay.back_sent(b"{\"para").unwrap();
        relay.back_lost("gone");
        assert_eq!(relay.to_host(), b"{\"para\0");
    }

    #[test]
    fn an_idle_host_is_not_told() {
        let mut relay = Calls::default();
        relay.host_sent(b"call\0");
        relay.back_sent(b"answer\0").unwrap();
        relay.sent_to_host(7);
        relay.back_lost("gone");
        assert_eq!(relay.to_host(), b"");
    }

    #[test]
    fn the_next_host_finds_a_clean_session() {
        let mut relay = Calls::default();
        relay.host_sent(b"half a mess");
        relay.back_sent(b"late answer\0").unwrap();
        relay = Calls::default();
        relay.host_sent(b"call\0");
        assert_eq!(relay.to_back(), b"call\0");
        assert_eq!(relay.to_host(), b"");
    }

    #[derive(Debug, Clone)]
    enum Event {
        Host(Vec<u8>),
        Init(Vec<u8>),
        HostLeft,
        InitLost,
        Drain,
    }

    fn event() -> impl Strategy<Value = Event> {
        let bytes = || prop::collection::vec(prop::sample::select(vec![0_u8, b'a']), 0..9);
        prop_oneof![
            bytes().prop_map(Event::Host),
            bytes().prop_map(Event::Init),
            Just(Event::HostLeft),
            Just(Event::InitLost),
            Just(Event::Drain),
        ]
    }

    proptest! {
        #[test]
        fn after_a_loss_init_gets_whole_messages_only(
            events in prop::collection::vec(event(), 0..60),
        ) {
            let mut relay = Calls::default();
            // What the host has sent since its session began, and what PID 1 has got since its.
            let (mut host_inside, mut connection_begins_inside) = (false, false);
            for event in events {
                match event {
                    Event::Host(bytes) => {
                        let before = relay.to_back().len();
                        relay.host_sent(&bytes);
                        let passed = &relay.to_back()[before..];
                        let lost = match connection_begins_inside {
                            true => bytes.iter().position(|b| *b == 0).map_or(bytes.len(), |at| at + 1),
                            false => 0,
                        };
                        prop_assert_eq!(passed, &bytes[lost..]);
                        if let Some(last) = bytes.last() {
                            host_inside = *last != 0;
                        }
                        if bytes.contains(&0) {
                            connection_begins_inside = false;
                        }
                    }
                    Event::Init(bytes) => relay.back_sent(&bytes).unwrap(),
                    Event::HostLeft => {
                        relay = Calls::default();
                        (host_inside, connection_begins_inside) = (false, false);
                    }
                    Event::InitLost => {
                        relay.back_lost("gone");
                        prop_assert_eq!(relay.to_back(), b"");
                        connection_begins_inside = host_inside;
                    }
                    Event::Drain => {
                        relay.sent_to_back(relay.to_back().len());
                        relay.sent_to_host(relay.to_host().len());
                    }
                }
                prop_assert!(relay.room_from_host() <= CAPACITY);
            }
        }
    }
}
