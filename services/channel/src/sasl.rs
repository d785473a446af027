//! The server's side of the D-Bus handshake: D-Bus specification, "Authentication Protocol".
//!
//! Whoever is at the other end of the port holds the machine, so there is nothing to prove: any
//! claimed user will do. What the host may do on the bus is what this service may.

/// Longer lines are no handshake. `EXTERNAL` with a user id has under 50 bytes.
const MAX_LINE: usize = 512;

/// How far a host is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    WaitingForAuth,
    WaitingForData,
    WaitingForBegin,
    Done,
}

/// The handshake with one host.
#[derive(Debug, Default)]
pub(crate) struct Server {
    state: State,
    input: Vec<u8>,
}

/// What a line is answered with.
enum Answer {
    Ok,
    Text(&'static str),
    Begin,
}

impl Server {
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes it can take.
    pub(crate) fn room(&self) -> usize {
        2 * MAX_LINE - self.input.len().min(2 * MAX_LINE)
    }

    /// Takes `bytes` from the host, no more than there is room for.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Answers what it can. Without the server's `guid` it cannot say OK, and keeps what would
    /// need it. What follows the handshake is left in [`Server::rest`].
    pub(crate) fn answer(&mut self, guid: Option<&str>, output: &mut Vec<u8>) {
        while self.state != State::Done {
            let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
                if self.input.len() > MAX_LINE {
                    self.input.clear();
                    output.extend_from_slice(b"ERROR the line is too long\r\n");
                }
                return;
            };
            // A client's first byte is NUL. Wherever one comes, a new client has begun.
            let mut parts = self.input[..end].rsplit(|byte| *byte == 0);
            let line = parts.next().unwrap_or_default().trim_ascii_end();
            let state = match parts.next() {
                Some(_) => State::WaitingForAuth,
                None => self.state,
            };
            let (state, answer) = state.after(line);
            match (answer, guid) {
                (Answer::Ok, None) => return,
                (Answer::Ok, Some(guid)) => output.extend(format!("OK {guid}\r\n").into_bytes()),
                (Answer::Text(text), _) => output.extend(format!("{text}\r\n").into_bytes()),
                (Answer::Begin, _) => {}
            }
            self.state = state;
            self.input.drain(..=end);
        }
    }

    /// What came behind the handshake.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// There is no bus to be had: the handshake starts over, and the host is told why.
    pub(crate) fn refuse(&mut self, reason: &str, output: &mut Vec<u8>) {
        let line: String = reason
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_LINE)
            .collect();
        output.extend(format!("ERROR {line}\r\n").into_bytes());
        *self = Self::default();
    }
}

const REJECTED: Answer = Answer::Text("REJECTED EXTERNAL");

impl State {
    /// The specification's "server states", without those of mechanisms that do not exist here.
    fn after(self, line: &[u8]) -> (Self, Answer) {
        let (command, argument) = match line.iter().position(|byte| *byte == b' ') {
            Some(space) => (&line[..space], line[space..].trim_ascii()),
            None => (line, &line[line.len()..]),
        };
        match (self, command) {
            (Self::WaitingForAuth, b"AUTH") => match argument.split(|byte| *byte == b' ').next() {
                Some(b"EXTERNAL") if argument == b"EXTERNAL" => {
                    (Self::WaitingForData, Answer::Text("DATA"))
                }
                Some(b"EXTERNAL") => (Self::WaitingForBegin, Answer::Ok),
                _ => (Self::WaitingForAuth, REJECTED),
            },
            (Self::WaitingForData, b"DATA") => (Self::WaitingForBegin, Answer::Ok),
            (Self::WaitingForData | Self::WaitingForBegin, b"CANCEL") => {
                (Self::WaitingForAuth, REJECTED)
            }
            (_, b"ERROR") => (Self::WaitingForAuth, REJECTED),
            (Self::WaitingForBegin, b"BEGIN") => (Self::Done, Answer::Begin),
            (_, b"NEGOTIATE_UNIX_FD") => (
                self,
                Answer::Text("ERROR descriptors do not pass a virtio port"),
            ),
            _ => (self, Answer::Text("ERROR not understood in this place")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "0123456789abcdef0123456789abcdef";

    fn converse(input: &[u8]) -> (String, Server) {
        let (mut server, mut output) = (Server::default(), Vec::new());
        for byte in input {
            server.feed(&[*byte]);
            server.answer(Some(GUID), &mut output);
        }
        (String::from_utf8(output).unwrap(), server)
    }

    #[test]
    fn clients_of_all_kinds_get_in() {
        // sd-bus, GDBus, libdbus and zbus, in this order.
        let inputs: [&[u8]; 4] = [
            b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nrest",
            b"\0AUTH\r\nAUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nrest",
            b"\0AUTH EXTERNAL 31303030\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nrest",
            b"\0AUTH EXTERNAL 30\r\nBEGIN\r\nrest",
        ];
        for input in inputs {
            let (output, mut server) = converse(input);
            assert!(server.is_done(), "{output}");
            assert!(output.contains(&format!("OK {GUID}\r\n")), "{output}");
            assert_eq!(server.rest(), b"rest");
            assert!(!output.contains("AGREE"), "{output}");
        }
    }

    #[test]
    fn each_line_gets_the_answer_of_the_specification() {
        let cases = [
            ("\0AUTH\r\n", "REJECTED EXTERNAL\r\n"),
            ("\0AUTH ANONYMOUS 61\r\n", "REJECTED EXTERNAL\r\n"),
            ("\0AUTH EXTERNAL\r\n", "DATA\r\n"),
            (
                "\0AUTH EXTERNAL\r\nCANCEL\r\n",
                "DATA\r\nREJECTED EXTERNAL\r\n",
            ),
            ("\0ERROR what\r\n", "REJECTED EXTERNAL\r\n"),
            ("\0BEGIN\r\n", "ERROR not understood in this place\r\n"),
            ("\0\r\n", "ERROR not understood in this place\r\n"),
            (
                "\0AUTH EXTERNAL\r\nDA\0AUTH EXTERNAL\r\n",
                "DATA\r\nDATA\r\n",
            ),
        ];
        for (input, expected) in cases {
            let (output, server) = converse(input.as_bytes());
            assert_eq!(output, expected, "{input:?}");
            assert!(!server.is_done());
        }
    }

    #[test]
    fn without_a_bus_it_waits_and_then_refuses() {
        let (mut server, mut output) = (Server::default(), Vec::new());
        server.feed(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n");
        server.answer(None, &mut output);
        assert_eq!(output, b"");
        server.refuse("no\nbus", &mut output);
        assert_eq!(output, b"ERROR no bus\r\n");
        server.feed(b"AUTH EXTERNAL 30\r\nBEGIN\r\n");
        server.answer(Some(GUID), &mut output);
        assert!(server.is_done());
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory() {
        let (output, server) = converse(&vec![b'A'; 100_000]);
        assert!(output.starts_with("ERROR the line is too long\r\n"));
        assert!(server.input.len() <= MAX_LINE + 1);
    }
}
