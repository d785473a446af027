//! Splits what somebody gave to `ssh router …` into words, without any shell.
//!
//! Quotation marks and backslashes keep words together, as people are used to; nothing is expanded,
//! no variable, no pattern, no second command.

/// Longer command lines are refused.
const LINE_MAX_BYTES: usize = 16 * 1024;
const WORDS_MAX: usize = 256;

/// Why a command line is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    #[error("the command is longer than {LINE_MAX_BYTES} bytes")]
    TooLong,
    #[error("the command has more than {WORDS_MAX} words")]
    TooMany,
    #[error("the command is no UTF-8 text")]
    NoText,
    #[error("the command contains a control character")]
    Control,
    #[error("a quotation mark is missing in the command")]
    OpenQuote,
    #[error("`{0}` means nothing here, there is no shell: put it in quotation marks")]
    Shell(char),
}

/// The words of a command line.
///
/// # Errors
/// When it is not clear what is meant. What a shell would act upon is refused instead of being taken
/// literally: `config show | less` shall not become three odd arguments.
pub fn split(line: &[u8]) -> Result<Vec<String>, WordsError> {
    if line.len() > LINE_MAX_BYTES {
        return Err(WordsError::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| WordsError::NoText)?;
    if line
        .chars()
        .any(|c| c.is_control() && c != '\t' && c != '\n')
    {
        return Err(WordsError::Control);
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), _) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or(WordsError::OpenQuote)?;
                word.get_or_insert_default().push(next);
            }
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`') => {
                return Err(WordsError::Shell(c));
            }
            _ => word.get_or_insert_default().push(c),
        }
        if words.len() > WORDS_MAX {
            return Err(WordsError::TooMany);
        }
    }
    if quote.is_some() {
        return Err(WordsError::OpenQuote);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits_as_people_expect() {
        let words = |line: &str| split(line.as_bytes()).unwrap();
        assert_eq!(
            words(" service  show network "),
            ["service", "show", "network"]
        );
        assert_eq!(
            words(r#"a 'b "c"' "d\" e" f\ g '' h"i"'j'"#),
            ["a", "b \"c\"", "d\" e", "f g", "", "hij"]
        );
        assert!(words("").is_empty());
        assert_eq!(words("'$(reboot)'"), ["$(reboot)"]);
    }

    #[test]
    fn refuses_what_is_unclear() {
        for (line, error) in [
            ("a | b", WordsError::Shell('|')),
            ("a; b", WordsError::Shell(';')),
            ("a $HOME", WordsError::Shell('$')),
            ("a 'b", WordsError::OpenQuote),
            ("a\\", WordsError::OpenQuote),
            ("a\x1b[2J", WordsError::Control),
            ("a\0b", WordsError::Control),
        ] {
            assert_eq!(split(line.as_bytes()), Err(error), "{line:?}");
        }
        assert_eq!(split(&[0xff]), Err(WordsError::NoText));
        assert_eq!(split(&[b'a'; 20_000]), Err(WordsError::TooLong));
        assert_eq!(split(&b"a ".repeat(300)), Err(WordsError::TooMany));
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(line in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(words) = split(&line) {
                prop_assert!(words.iter().map(String::len).sum::<usize>() <= line.len());
            }
        }

        #[test]
        fn quoted_words_come_back(words in prop::collection::vec("[ -~é]{0,12}", 0..8)) {
            let quoted: Vec<String> = words
                .iter()
                .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
                .collect();
            prop_assert_eq!(split(quoted.join(" ").as_bytes()).unwrap(), words);
        }
    }
}
