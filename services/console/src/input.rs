//! Keys out of the bytes that a terminal, line noise or an attacker sends.

/// What a person pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A printable ASCII character.
    Char(u8),
    Enter,
    Escape,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-L.
    Redraw,
}

/// Splits a stream of bytes into keys. Its memory is a few bytes, whatever comes in.
#[derive(Debug, Clone, Default)]
pub struct Parser {
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// ESC came: a key of its own, or the beginning of a sequence.
    Escape,
    /// `ESC O`: one more byte follows.
    Single,
    /// `ESC [`: parameters follow, then a final byte. `number` is the first parameter; those after
    /// it are modifiers (Shift, Ctrl) that do not matter here.
    Sequence { number: u16, later: bool },
}

impl Parser {
    /// Takes one byte and returns the key that it completes. Unknown bytes and sequences vanish.
    pub fn push(&mut self, byte: u8) -> Option<Key> {
        match std::mem::take(&mut self.state) {
            State::Ground => self.ground(byte),
            State::Escape => match byte {
                b'[' => self.wait(State::Sequence {
                    number: 0,
                    later: false,
                }),
                b'O' => self.wait(State::Single),
                // Two in a row: the first was the key.
                0x1b => {
                    self.state = State::Escape;
                    Some(Key::Escape)
                }
                _ => None,
            },
            State::Single => arrow(byte),
            State::Sequence { number, later } => self.sequence(number, later, byte),
        }
    }

    /// No byte has followed for a while: an ESC that waits was the key itself, and a sequence
    /// that was begun will not be finished.
    pub fn pause(&mut self) -> Option<Key> {
        match std::mem::take(&mut self.state) {
            State::Escape => Some(Key::Escape),
            _ => None,
        }
    }

    /// Whether [`Parser::pause`] would change anything.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.state != State::Ground
    }

    fn wait(&mut self, state: State) -> Option<Key> {
        self.state = state;
        None
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        match byte {
            0x1b => self.wait(State::Escape),
            b'\r' | b'\n' => Some(Key::Enter),
            0x0c => Some(Key::Redraw),
            b' '..=b'~' => Some(Key::Char(byte)),
            _ => None,
        }
    }

    fn sequence(&mut self, number: u16, later: bool, byte: u8) -> Option<Key> {
        match byte {
            b'0'..=b'9' if !later => self.wait(State::Sequence {
                number: number
                    .saturating_mul(10)
                    .saturating_add(u16::from(byte - b'0')),
                later,
            }),
            0x20..=0x3f => self.wait(State::Sequence {
                number,
                later: true,
            }),
            0x1b => self.wait(State::Escape),
            b'~' => match number {
                1 | 7 => Some(Key::Home),
                4 | 8 => Some(Key::End),
                5 => Some(Key::PageUp),
                6 => Some(Key::PageDown),
                _ => None,
            },
            _ => arrow(byte),
        }
    }
}

fn arrow(byte: u8) -> Option<Key> {
    match byte {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'C' => Some(Key::Right),
        b'D' => Some(Key::Left),
        b'F' => Some(Key::End),
        b'H' => Some(Key::Home),
        b'M' => Some(Key::Enter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut parser = Parser::default();
        let mut keys: Vec<Key> = bytes.iter().filter_map(|b| parser.push(*b)).collect();
        keys.extend(parser.pause());
        keys
    }

    #[test]
    fn knows_the_keys_of_common_terminals() {
        assert_eq!(keys(b"\x1b[A\x1bOA"), [Key::Up, Key::Up]);
        assert_eq!(keys(b"\x1b[1;5B"), [Key::Down]);
        assert_eq!(keys(b"\x1b[5~\x1b[6~"), [Key::PageUp, Key::PageDown]);
        assert_eq!(keys(b"\x1b[H\x1b[4~"), [Key::Home, Key::End]);
        assert_eq!(keys(b"q\r\x0c"), [Key::Char(b'q'), Key::Enter, Key::Redraw]);
    }

    #[test]
    fn escape_is_a_key_when_nothing_follows() {
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(b"\x1b\x1b[A"), [Key::Escape, Key::Up]);
        let mut parser = Parser::default();
        assert_eq!(parser.push(0x1b), None);
        assert!(parser.waits());
        assert_eq!(parser.pause(), Some(Key::Escape));
        assert_eq!(parser.push(b'['), Some(Key::Char(b'[')));
    }

    #[test]
    fn function_keys_and_answers_to_queries_are_not_taken_for_commands() {
        // F1 to F4 end in P to S, and P means power off.
        assert_eq!(keys(b"\x1bOP\x1bOR\x1b[P\x1b[1;2R\x1bR"), []);
        assert_eq!(keys(b"\x1b[24;80R\x1b[?1;2c"), []);
        assert_eq!(keys(b"\x1b[99999999999999999999~"), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(keys(&bytes).len() <= bytes.len());
        }

        #[test]
        fn after_a_pause_the_parser_starts_anew(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut parser = Parser::default();
            for byte in bytes {
                parser.push(byte);
            }
            parser.pause();
            prop_assert!(!parser.waits());
            prop_assert_eq!(parser.push(b'q'), Some(Key::Char(b'q')));
        }
    }
}
