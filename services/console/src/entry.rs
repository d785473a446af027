//! A password on its way from the keyboard: never shown, never kept longer than needed.

use std::fmt;

use password::PASSWORD_MAX_BYTES;
use zeroize::Zeroizing;

/// A password that somebody typed. It is wiped when it is dropped, and shows itself to nobody.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.as_bytes().to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a byte did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    More,
    GivenUp,
    Whole(Secret),
}

/// The line that is being typed.
#[derive(Debug)]
pub(crate) struct Entry {
    secret: Secret,
    /// What came beyond the longest password: whatever is typed then is wrong, without saying so.
    too_long: bool,
}

impl Entry {
    pub(crate) fn new() -> Self {
        // One byte more than ever needed, so that it never moves and leaves a copy behind.
        let bytes = Vec::with_capacity(PASSWORD_MAX_BYTES + 1);
        Self {
            secret: Secret(Zeroizing::new(bytes)),
            too_long: false,
        }
    }

    /// Takes a byte, with the editing keys that a terminal's driver would know.
    pub(crate) fn push(&mut self, byte: u8) -> Typed {
        match byte {
            b'\r' | b'\n' => return Typed::Whole(std::mem::take(self).secret),
            // Ctrl-C, Ctrl-D, Escape.
            0x03 | 0x04 | 0x1b => return Typed::GivenUp,
            // Backspace takes a whole character of UTF-8.
            0x08 | 0x7f => while matches!(self.secret.0.pop(), Some(0x80..=0xbf)) {},
            // Ctrl-U.
            0x15 => *self = Self::new(),
            0x00..=0x1f => {}
            _ if self.too_long => {}
            _ => {
                self.secret.0.push(byte);
                self.too_long = self.secret.0.len() > PASSWORD_MAX_BYTES;
            }
        }
        Typed::More
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Typed {
        let mut entry = Entry::new();
        for byte in bytes {
            match entry.push(*byte) {
                Typed::More => {}
                end => return end,
            }
        }
        Typed::More
    }

    #[test]
    fn takes_what_is_typed_with_its_corrections() {
        assert_eq!(typed(b"secret\r"), Typed::Whole("secret".into()));
        assert_eq!(typed(b"secrex\x7ft\n"), Typed::Whole("secret".into()));
        assert_eq!(typed("pä\x08ass\r".as_bytes()), Typed::Whole("pass".into()));
        assert_eq!(typed(b"wrong\x15right\r"), Typed::Whole("right".into()));
        assert_eq!(typed(b"\x7f\x7f\r"), Typed::Whole("".into()));
        assert_eq!(typed(b"secret"), Typed::More);
        for end in [3, 4, 0x1b] {
            assert_eq!(typed(&[b'x', end]), Typed::GivenUp);
        }
    }

    #[test]
    fn a_flood_stays_bounded_and_wrong() {
        let mut entry = Entry::new();
        let place = entry.secret.bytes().as_ptr();
        for _ in 0..100_000 {
            entry.push(b'x');
        }
        assert_eq!(entry.secret.bytes().len(), PASSWORD_MAX_BYTES + 1);
        assert_eq!(entry.secret.bytes().as_ptr(), place);
        assert_eq!(format!("{:?}", entry.secret), "Secret");
    }
}
