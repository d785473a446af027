//! What is relayed where, without any input or output.
//!
//! Varlink messages end in a NUL byte. The relay counts them and knows whether it is inside one,
//! but does not read them: what a message means is PID 1's business.

/// Bytes held per direction. A reader waits while its direction is full.
pub const CAPACITY: usize = 64 * 1024;

/// The state of the one session that the host has with PID 1.
#[derive(Debug, Default)]
pub struct Relay {
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

impl Relay {
    /// How many bytes may be read from the host now.
    #[must_use]
    pub fn room_from_host(&self) -> usize {
        CAPACITY - self.to_init.len().min(CAPACITY)
    }

    /// How many bytes may be read from PID 1 now.
    #[must_use]
    pub fn room_from_init(&self) -> usize {
        CAPACITY - self.to_host.len().min(CAPACITY)
    }

    /// The host sent `bytes`.
    pub fn from_host(&mut self, bytes: &[u8]) {
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

    /// PID 1 sent `bytes`.
    pub fn from_init(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.init_inside = *last != 0;
            self.unanswered = self.unanswered.saturating_sub(messages(bytes));
            self.to_host.extend_from_slice(bytes);
        }
    }

    /// What waits for PID 1; [`Relay::sent_to_init`] takes it away.
    #[must_use]
    pub fn to_init(&self) -> &[u8] {
        &self.to_init
    }

    pub fn sent_to_init(&mut self, count: usize) {
        self.to_init.drain(..count);
    }

    /// What waits for the host; [`Relay::sent_to_host`] takes it away.
    #[must_use]
    pub fn to_host(&self) -> &[u8] {
        &self.to_host
    }

    pub fn sent_to_host(&mut self, count: usize) {
        self.to_host.drain(..count);
    }

    /// The host has left. Nothing of its session stays: half a message is forgotten, and answers
    /// that it did not fetch do not reach the next one. The connection to PID 1 has to be closed.
    pub fn host_left(&mut self) {
        *self = Self::default();
    }

    /// PID 1 closed the connection, or could not be reached. The host gets an error for every
    /// message that is without an answer, and can go on with the next one.
    pub fn init_lost(&mut self, reason: &str) {
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
            if self.room_from_init() < message.len() {
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

    fn errors(relay: &Relay) -> usize {
        String::from_utf8_lossy(relay.to_host())
            .matches("InitUnreachable")
            .count()
    }

    #[test]
    fn relays_both_ways() {
        let mut relay = Relay::default();
        relay.from_host(b"call\0");
        assert_eq!(relay.to_init(), b"call\0");
        relay.sent_to_init(2);
        assert_eq!(relay.to_init(), b"ll\0");
        relay.from_init(b"answer\0");
        assert_eq!(relay.to_host(), b"answer\0");
    }

    #[test]
    fn a_lost_init_becomes_an_error_for_every_open_call() {
        let mut relay = Relay::default();
        relay.from_host(b"one\0two\0");
        relay.from_init(b"answer\0");
        relay.init_lost("it said \"no\"\n");
        assert_eq!(errors(&relay), 1);
        assert!(relay.to_host().ends_with(b"it said 'no' \"}}\0"));
    }

    #[test]
    fn the_rest_of_a_lost_message_is_left_out() {
        let mut relay = Relay::default();
        relay.from_host(b"first ha");
        relay.sent_to_init(8);
        relay.init_lost("gone");
        assert_eq!(errors(&relay), 1);
        relay.from_host(b"lf");
        relay.from_host(b" of it\0second\0");
        assert_eq!(relay.to_init(), b"second\0");
    }

    #[test]
    fn an_answer_that_was_cut_short_is_ended_and_not_answered_twice() {
        let mut relay = Relay::default();
        relay.from_host(b"call\0");
        relay.from_init(b"{\"para");
        relay.init_lost("gone");
        assert_eq!(relay.to_host(), b"{\"para\0");
    }

    #[test]
    fn an_idle_host_is_not_told() {
        let mut relay = Relay::default();
        relay.from_host(b"call\0");
        relay.from_init(b"answer\0");
        relay.sent_to_host(7);
        relay.init_lost("gone");
        assert_eq!(relay.to_host(), b"");
    }

    #[test]
    fn the_next_host_finds_a_clean_session() {
        let mut relay = Relay::default();
        relay.from_host(b"half a mess");
        relay.from_init(b"late answer\0");
        relay.host_left();
        relay.from_host(b"call\0");
        assert_eq!(relay.to_init(), b"call\0");
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
            let mut relay = Relay::default();
            // What the host has sent since its session began, and what PID 1 has got since its.
            let (mut host_inside, mut connection_begins_inside) = (false, false);
            for event in events {
                match event {
                    Event::Host(bytes) => {
                        let before = relay.to_init().len();
                        relay.from_host(&bytes);
                        let passed = &relay.to_init()[before..];
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
                    Event::Init(bytes) => relay.from_init(&bytes),
                    Event::HostLeft => {
                        relay.host_left();
                        (host_inside, connection_begins_inside) = (false, false);
                    }
                    Event::InitLost => {
                        relay.init_lost("gone");
                        prop_assert_eq!(relay.to_init(), b"");
                        connection_begins_inside = host_inside;
                    }
                    Event::Drain => {
                        relay.sent_to_init(relay.to_init().len());
                        relay.sent_to_host(relay.to_host().len());
                    }
                }
                prop_assert!(relay.room_from_host() <= CAPACITY);
            }
        }
    }
}
