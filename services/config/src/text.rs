//! From TOML's text to a value.

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::path::Path;
use crate::place::line_and_column;
use crate::problem::{Faults, PROBLEMS_MAX, Problem, sanitise};

/// A document longer than this is refused unread.
pub const SIZE_MAX_BYTES: usize = 1024 * 1024;

/// TOML's own tree of a text, with the places of keys and values.
pub(crate) fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Vec<Problem>> {
    let refused = |offset, message: &str| {
        let (line, column) = line_and_column(text, offset);
        Problem {
            line,
            column,
            path: String::new(),
            message: sanitise(message),
            suggestion: None,
        }
    };
    if text.len() > SIZE_MAX_BYTES {
        let message = format!(
            "the document has {} bytes; at most {SIZE_MAX_BYTES} are read",
            text.len()
        );
        return Err(vec![refused(0, &message)]);
    }
    if let Some(offset) = too_deep(text) {
        let message = format!("a key has more than {KEY_PARTS_MAX} parts");
        return Err(vec![refused(offset, &message)]);
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(tree);
    }
    // One mistake often makes several of the parser's: the first of each line is the one.
    let mut problems: Vec<Problem> = Vec::new();
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        let problem = refused(offset, error.message());
        if problems.iter().all(|known| known.line != problem.line) {
            problems.push(problem);
        }
        if problems.len() >= PROBLEMS_MAX {
            break;
        }
    }
    problems.sort();
    Err(problems)
}

/// The table as a value. What JSON does not have is a fault.
pub(crate) fn table(tree: &DeTable<'_>, path: &Path, faults: &mut Faults) -> Map<String, Value> {
    tree.iter()
        .filter_map(|(key, value)| {
            let path = path.key(key.get_ref().as_ref());
            Some((key.get_ref().to_string(), one(value, path, faults)?))
        })
        .collect()
}

fn one(value: &Spanned<DeValue<'_>>, path: Path, faults: &mut Faults) -> Option<Value> {
    Some(match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(is) => Value::from(*is),
        DeValue::Array(array) => array
            .iter()
            .enumerate()
            .filter_map(|(index, value)| one(value, path.index(index), faults))
            .collect(),
        DeValue::Table(inner) => Value::Object(table(inner, &path, faults)),
        DeValue::Integer(digits) => {
            let Ok(number) = i64::from_str_radix(digits.as_str(), digits.radix()) else {
                faults.value(path, "the number is too large");
                return None;
            };
            Value::from(number)
        }
        DeValue::Float(digits) => {
            let number: Option<f64> = digits.as_str().parse().ok();
            let Some(number) = number.and_then(Number::from_f64) else {
                faults.value(path, "this is no finite number");
                return None;
            };
            Value::Number(number)
        }
        DeValue::Datetime(_) => {
            faults.hint(
                path,
                "dates and times are not used here",
                "put it in quotes",
            );
            return None;
        }
    })
}

/// Where a key has more parts than any of ours: `a.a.a…` makes a table for each, and who walks or
/// drops a tree that is half a million tables deep runs out of stack. The parser itself bounds only
/// brackets.
fn too_deep(text: &str) -> Option<usize> {
    let mut dots = 0;
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Whitespace
            | TokenKind::Atom
            | TokenKind::BasicString
            | TokenKind::LiteralString => {}
            _ => dots = 0,
        }
        if dots >= KEY_PARTS_MAX {
            return Some(token.span().start());
        }
    }
    None
}

/// Four more than the deepest key of ours; times the 80 brackets of the parser a stack can stand it.
const KEY_PARTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).unwrap_err()[0].to_string()
    }

    #[test]
    fn depth_is_bounded_whatever_makes_it() {
        let many = SIZE_MAX_BYTES / 2 - 10;
        for key in ["a.", "a .", "\"a\".", "'a' ."] {
            let keys = key.repeat(many / key.len());
            for text in [
                format!("{keys}a = 1"),
                format!("[{keys}a]"),
                format!("x = {{ {keys}a = 1 }}"),
            ] {
                let told = refused(&text);
                assert!(told.ends_with("more than 16 parts"), "{told}");
            }
        }
        for (open, close) in [("[", "]"), ("{ a = ", "}")] {
            let times = many / 10;
            let text = format!("x = {}1{}", open.repeat(times), close.repeat(times));
            assert!(refused(&text).contains("recursion"), "{}", refused(&text));
        }
        assert!(
            parse("# ..................................................................").is_ok()
        );
    }

    #[test]
    fn every_line_that_is_no_toml_is_told() {
        let lines = |text: &str| -> Vec<u32> {
            let problems = parse(text).unwrap_err();
            problems.iter().map(|problem| problem.line).collect()
        };
        assert_eq!(lines("a = \nb = 01\nc = 1\nd = @\n"), [1, 2, 4]);
        assert_eq!(lines("a b = 1\nc = 1\nd 1\n[e\n"), [1, 3, 4]);
        let many = "= 1\n".repeat(10_000);
        assert_eq!(parse(&many).unwrap_err().len(), PROBLEMS_MAX);
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        let text = "a = inf\nb = 1979-05-27\nc = 99999999999999999999\nd = 0x10\ne = 1.5\n";
        let tree = parse(text).unwrap();
        let mut faults = Faults::default();
        let table = table(tree.get_ref(), &Path::default(), &mut faults);
        assert_eq!(Value::Object(table), serde_json::json!({"d": 16, "e": 1.5}));
        assert_eq!(faults.into_vec().len(), 3);
    }
}
