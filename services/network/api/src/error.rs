use std::fmt;

use thiserror::Error;

/// Why a document was refused. Prints one line per problem.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ParseError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            message,
            hint,
        } = self;
        write!(f, "line {line}, column {column}: {message}")?;
        match hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl Problem {
    /// A problem at a byte offset of the text.
    pub(crate) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        // serde puts every known key into its message; the nearest one says the same in one word.
        let first_line = error.message().lines().next().unwrap_or_default();
        let mut problem = Self::at(text, offset, sanitise(first_line));
        let names: Vec<&str> = error.message().split('`').skip(1).step_by(2).collect();
        if let [unknown, known @ ..] = names.as_slice()
            && (error.message().starts_with("unknown field")
                || error.message().starts_with("unknown variant"))
        {
            problem.hint = nearest(unknown, known.iter().copied())
                .map(|name| format!("did you mean `{name}`?"));
        }
        problem
    }
}

/// The candidate that a person most likely meant, if any is near enough.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
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

/// Text from a document goes to consoles: control characters must not.
fn sanitise(message: &str) -> String {
    message
        .chars()
        .take(500)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters() {
        let problem = Problem::at("a = 1\nä = é x", "a = 1\nä = é ".len(), "x");
        assert_eq!((problem.line, problem.column), (2, 7));
        assert_eq!(Problem::at("ab", 99, "x").column, 3);
        assert_eq!(Problem::at("ä", 1, "x").column, 1);
    }

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["hostname", "mtu"];
        assert_eq!(nearest("hostnme", known.into_iter()), Some("hostname"));
        assert_eq!(nearest("mut", known.into_iter()), Some("mtu"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(nearest(&"m".repeat(100_000), known.into_iter()), None);
    }
}
