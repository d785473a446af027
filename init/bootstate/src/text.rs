//! UTF-8 text of bounded length, without allocation.

use core::fmt::{self, Write};

/// At most `N` bytes of UTF-8. Longer input is cut at a character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    length: u8,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    pub const EMPTY: Self = Self {
        length: 0,
        bytes: [0; N],
    };

    /// Keeps what fits.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut new = Self::EMPTY;
        // Infallible: `write_str` below keeps what fits.
        let _ = new.write_str(text);
        new
    }

    /// Formats, keeping what fits.
    #[must_use]
    pub fn format(arguments: fmt::Arguments<'_>) -> Self {
        let mut new = Self::EMPTY;
        let _ = new.write_fmt(arguments);
        new
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).expect("constructors only keep whole characters")
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// `None`: too long or not UTF-8.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > N {
            return None;
        }
        core::str::from_utf8(bytes).ok().map(Self::new)
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const { assert!(N <= u8::MAX as usize) }
        for character in text.chars() {
            let mut buffer = [0; 4];
            let encoded = character.encode_utf8(&mut buffer).as_bytes();
            let start = usize::from(self.length);
            let Some(target) = self.bytes.get_mut(start..start + encoded.len()) else {
                break;
            };
            target.copy_from_slice(encoded);
            self.length = u8::try_from(start + encoded.len()).expect("N is at most 255");
        }
        Ok(())
    }
}

/// Control characters come out as `?`: a text from a hostile disk must not drive
/// the terminal that shows it.
impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.as_str().chars() {
            f.write_char(if character.is_control() {
                '?'
            } else {
                character
            })?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn cut_at_a_character() {
        assert_eq!(Text::<4>::new("aäöü").as_str(), "aä");
        assert_eq!(Text::<5>::new("aäöü").as_str(), "aäö");
        assert_eq!(Text::<0>::new("a").as_str(), "");
    }

    #[test]
    fn shows_no_control_characters() {
        assert_eq!(Text::<16>::new("a\x1b[2J\r\u{9b}b").to_string(), "a?[2J??b");
    }

    #[test]
    fn refuses_what_is_no_text() {
        assert_eq!(Text::<4>::from_bytes(&[0xff]), None);
        assert_eq!(Text::<4>::from_bytes(b"12345"), None);
    }
}
