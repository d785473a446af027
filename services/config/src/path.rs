use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The way to a key of the document: `network.link."eth0.5".ipv4.addresses[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Segment>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of a table.
    Key(String),
    /// An element of an array, counted from 0.
    Index(usize),
}

/// Why a text is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// Longer or deeper than any key.
    #[error("a key has at most {TEXT_MAX_BYTES} characters and {SEGMENTS_MAX} parts")]
    TooLong,
    /// There is nothing before, between or behind the dots.
    #[error("a part of the key is empty; write it as network.link.eth0.mtu")]
    Empty,
    /// A quoted part does not end, or something follows it.
    #[error("a quoted part of a key looks like \"eth0.5\"")]
    Quotes,
    /// Something else than a number in brackets.
    #[error("an element of an array looks like route[0]")]
    Index,
    /// A character that needs quotes.
    #[error("a part with other characters than letters, digits, '-' and '_' needs quotes")]
    Character,
}

impl Path {
    /// A key below this one.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    /// An element of this array.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The steps from the document to the key.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }
}

impl From<Vec<Segment>> for Path {
    fn from(segments: Vec<Segment>) -> Self {
        Self(segments)
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > TEXT_MAX_BYTES {
            return Err(PathError::TooLong);
        }
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let (segment, after) = key_of(rest)?;
            segments.push(Segment::Key(segment));
            rest = after;
            while let Some(bracket) = rest.strip_prefix('[') {
                let (number, after) = bracket.split_once(']').ok_or(PathError::Index)?;
                let digits = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
                let index = number.parse().ok().filter(|_| digits);
                segments.push(Segment::Index(index.ok_or(PathError::Index)?));
                rest = after;
            }
            if segments.len() > SEGMENTS_MAX {
                return Err(PathError::TooLong);
            }
            if rest.is_empty() {
                return Ok(Self(segments));
            }
            rest = rest.strip_prefix('.').ok_or(PathError::Character)?;
        }
    }
}

/// The key that a path begins with, and what follows it.
fn key_of(text: &str) -> Result<(String, &str), PathError> {
    if text.starts_with('"') {
        let mut quoted = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let key = quoted
            .next()
            .and_then(Result::ok)
            .ok_or(PathError::Quotes)?;
        let after = &text[quoted.byte_offset()..];
        return Ok((key, after));
    }
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (key, after) = text.split_at(end);
    if key.is_empty() {
        Err(PathError::Empty)
    } else if key.chars().all(is_bare) {
        Ok((key.to_owned(), after))
    } else {
        Err(PathError::Character)
    }
}

/// Whether TOML takes the character in a key without quotes.
fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) => {
                    if index > 0 {
                        f.write_str(".")?;
                    }
                    if !key.is_empty() && key.chars().all(is_bare) {
                        f.write_str(key)?;
                    } else {
                        // JSON's strings are TOML's basic strings, but for DEL.
                        let quoted = serde_json::Value::from(key.as_str()).to_string();
                        f.write_str(&quoted.replace('\u{7f}', "\\u007f"))?;
                    }
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

const TEXT_MAX_BYTES: usize = 512;
const SEGMENTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_type() {
        let path: Path = r#"network.link."eth0.5".ipv4.addresses[12]"#.parse().unwrap();
        let expected = Path::default().key("network").key("link").key("eth0.5");
        assert_eq!(path, expected.key("ipv4").key("addresses").index(12));
        for (bad, error) in [
            ("", PathError::Empty),
            ("a..b", PathError::Empty),
            ("a.", PathError::Empty),
            ("a b", PathError::Character),
            ("\"a", PathError::Quotes),
            ("\"a\"b", PathError::Character),
            ("a[", PathError::Index),
            ("a[+1]", PathError::Index),
            ("a[0]b", PathError::Character),
        ] {
            assert_eq!(bad.parse::<Path>(), Err(error), "{bad}");
        }
        assert_eq!("a.".repeat(10_000).parse::<Path>(), Err(PathError::TooLong));
        assert_eq!("a.".repeat(30).parse::<Path>(), Err(PathError::TooLong));
    }

    fn segments() -> impl Strategy<Value = Vec<Segment>> {
        let segment = prop_oneof![
            "\\PC{1,8}".prop_map(Segment::Key),
            ".{0,3}".prop_map(Segment::Key),
            any::<usize>().prop_map(Segment::Index),
        ];
        ("[a-z]{1,3}", prop::collection::vec(segment, 0..6)).prop_map(|(first, mut rest)| {
            rest.insert(0, Segment::Key(first));
            rest
        })
    }

    proptest! {
        #[test]
        fn what_prints_parses(segments in segments()) {
            let path = Path(segments);
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }
    }
}
