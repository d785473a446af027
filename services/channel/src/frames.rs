//! Where one D-Bus message ends and the next begins: D-Bus specification, "Message Format".
//!
//! Messages are not read. Their ends are needed at the ends of sessions only: a new host is told
//! from the old one, and a message that was cut short can be completed.

/// Bytes that tell a message's length.
const HEAD: usize = 16;
/// No message is longer, header and body together.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// Follows a stream of messages.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: Vec<u8>,
    /// Bytes of the current message that are still to come, once its head is known.
    missing: u64,
    is_broken: bool,
}

impl Frames {
    /// Whether the next byte begins a message.
    pub(crate) fn at_start(&self) -> bool {
        !self.is_broken && self.head.is_empty() && self.missing == 0
    }

    /// How many more bytes complete the current message, as far as one can tell.
    pub(crate) fn missing(&self) -> u64 {
        if self.head.is_empty() {
            self.missing
        } else {
            u64::try_from(HEAD - self.head.len()).unwrap_or(0)
        }
    }

    /// Takes bytes up to the end of the current message, and returns how many that were.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        if self.is_broken {
            return bytes.len();
        }
        let mut taken = 0;
        if self.missing == 0 {
            taken = bytes.len().min(HEAD - self.head.len());
            self.head.extend_from_slice(&bytes[..taken]);
            let Ok(head) = <[u8; HEAD]>::try_from(&self.head[..]) else {
                return taken;
            };
            self.head.clear();
            match beyond_head(&head) {
                Some(length) => self.missing = length,
                None => {
                    self.is_broken = true;
                    return bytes.len();
                }
            }
        }
        let rest = u64::try_from(bytes.len() - taken).unwrap_or(u64::MAX);
        let of_message = rest.min(self.missing);
        self.missing -= of_message;
        taken + usize::try_from(of_message).unwrap_or(usize::MAX)
    }
}

/// The length of a message beyond its first 16 bytes; nothing when it is none.
fn beyond_head(head: &[u8; HEAD]) -> Option<u64> {
    let number = |at: usize| {
        let bytes: [u8; 4] = head[at..at + 4].try_into().ok()?;
        match head[0] {
            b'l' => Some(u64::from(u32::from_le_bytes(bytes))),
            b'B' => Some(u64::from(u32::from_be_bytes(bytes))),
            _ => None,
        }
    };
    let (body, fields) = (number(4)?, number(12)?);
    Some(fields.next_multiple_of(8) + body).filter(|length| *length <= MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(endian: u8, fields: u32, body: u32) -> Vec<u8> {
        let number = |n: u32| match endian {
            b'l' => n.to_le_bytes(),
            _ => n.to_be_bytes(),
        };
        let mut bytes = vec![endian, 1, 0, 1];
        for n in [body, 7, fields] {
            bytes.extend(number(n));
        }
        let length = 16 + fields.next_multiple_of(8) + body;
        bytes.resize(usize::try_from(length).unwrap(), b'x');
        bytes
    }

    #[test]
    fn what_is_no_message_breaks_the_stream_for_good() {
        for garbage in [[0; 16], [0xff; 16], [b'l'; 16]] {
            let mut frames = Frames::default();
            assert_eq!(frames.take(&garbage), 16);
            assert!(!frames.at_start());
            assert_eq!(frames.take(&message(b'l', 8, 8)), 32);
            assert!(!frames.at_start());
        }
    }

    proptest! {
        #[test]
        fn messages_end_where_they_end(
            messages in prop::collection::vec((prop::bool::ANY, 0..99_u32, 0..99_u32), 1..9),
            piece in 1..50_usize,
        ) {
            let messages: Vec<_> = messages
                .into_iter()
                .map(|(little, fields, body)| message(if little { b'l' } else { b'B' }, fields, body))
                .collect();
            let stream = messages.concat();
            let mut ends = Vec::new();
            let (mut frames, mut at) = (Frames::default(), 0);
            while at < stream.len() {
                let end = stream.len().min(at + piece);
                let taken = frames.take(&stream[at..end]);
                prop_assert!(taken > 0 && at + taken <= end);
                at += taken;
                if frames.at_start() {
                    ends.push(at);
                } else {
                    prop_assert!(frames.missing() > 0);
                }
            }
            let mut expected = Vec::new();
            for message in &messages {
                expected.push(expected.last().copied().unwrap_or(0) + message.len());
            }
            prop_assert_eq!(ends, expected);
        }
    }
}
