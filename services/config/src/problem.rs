use std::fmt;

use serde::{Deserialize, Serialize};

use crate::path::Path;

/// One mistake in a document. Its texts hold no control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Counted from 1; 0 where there is no text, but only a section's value.
    pub line: u32,
    /// Counted from 1, in characters; 0 where there is no text.
    pub column: u32,
    /// The key that it is about, as in `network.link.eth0.mtu`; empty for the document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub suggestion: Option<String>,
}

/// Why a document, or a section, was refused: at least one problem. Prints one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        } else if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A mistake by its key, before its place in the text is known.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) path: Path,
    pub(crate) at: At,
    message: String,
    suggestion: Option<String>,
}

/// Which part of `key = value` is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Key,
    Value,
}

impl Fault {
    /// The problem, at a place in the text or (0, 0).
    pub(crate) fn at(self, (line, column): (u32, u32)) -> Problem {
        Problem {
            line,
            column,
            path: sanitise(&self.path.to_string()),
            message: sanitise(&self.message),
            suggestion: self.suggestion.as_deref().map(sanitise),
        }
    }
}

/// The faults found so far: a bounded number.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= PROBLEMS_MAX
    }

    /// The value of this key is wrong.
    pub(crate) fn value(&mut self, path: Path, message: impl Into<String>) {
        self.push(path, At::Value, message.into(), None);
    }

    /// The key itself is wrong.
    pub(crate) fn key(&mut self, path: Path, message: impl Into<String>, hint: Option<String>) {
        self.push(path, At::Key, message.into(), hint);
    }

    /// The value of this key is wrong, and this is what to do.
    pub(crate) fn hint(&mut self, path: Path, message: impl Into<String>, hint: impl Into<String>) {
        self.push(path, At::Value, message.into(), Some(hint.into()));
    }

    fn push(&mut self, path: Path, at: At, message: String, suggestion: Option<String>) {
        if !self.is_full() {
            self.0.push(Fault {
                path,
                at,
                message,
                suggestion,
            });
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}

/// "did you mean …?", where a candidate is near enough.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, candidates).map(|name| format!("did you mean `{name}`?"))
}

/// The candidate that a person most likely meant, if any is near enough.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The distance is quadratic in the lengths, and the word comes from a stranger.
    if word.chars().count() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 2).clamp(1, 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Text from a document goes to consoles: control characters must not, nor those that change the
/// direction of writing.
pub(crate) fn sanitise(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .take(TEXT_MAX_CHARS)
        .map(|c| if harmful(c) { '\u{fffd}' } else { c })
        .collect()
}

/// What a person reads at once. More would say the same again.
pub(crate) const PROBLEMS_MAX: usize = 32;
const TEXT_MAX_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["hostname", "mtu"];
        assert_eq!(nearest("hostnme", known.into_iter()), Some("hostname"));
        assert_eq!(nearest("mut", known.into_iter()), Some("mtu"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(nearest(&"m".repeat(100_000), known.into_iter()), None);
    }
}
