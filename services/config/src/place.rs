//! Where a key stands in the text.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::path::{Path, Segment};
use crate::problem::{At, Fault, Problem};

/// The faults as problems with their place, in the order of the text.
pub(crate) fn problems(text: &str, tree: &DeTable<'_>, faults: Vec<Fault>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = faults
        .into_iter()
        .map(|fault| {
            let span = span(text, tree, &fault.path, fault.at);
            fault.at(line_and_column(text, span.start))
        })
        .collect();
    problems.sort();
    problems.dedup();
    problems
}

/// The line and the column of a byte of the text, each counted from 1.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (u32, u32) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
    (
        count(before.matches('\n').count()),
        count(before[line_start..].chars().count()),
    )
}

/// The place of a key, or of the nearest one above it that the text has.
pub(crate) fn span(text: &str, tree: &DeTable<'_>, path: &Path, at: At) -> Range<usize> {
    enum Node<'a> {
        Table(&'a DeTable<'a>),
        Value(&'a Spanned<DeValue<'a>>),
    }
    let mut node = Node::Table(tree);
    let mut found = 0..0;
    for segment in path.segments() {
        let table = match &node {
            Node::Table(table) => Some(*table),
            Node::Value(value) => value.get_ref().as_table(),
        };
        let child = match (segment, &node) {
            (Segment::Key(key), _) => table.and_then(|table| {
                table.get_key_value(key.as_str()).map(|(key, value)| {
                    let is_key = at == At::Key || is_spread(text, value);
                    (if is_key { key.span() } else { value.span() }, value)
                })
            }),
            (Segment::Index(index), Node::Value(value)) => value
                .get_ref()
                .get(*index)
                .map(|element| (element.span(), element)),
            (Segment::Index(_), Node::Table(_)) => None,
        };
        let Some((span, value)) = child else {
            break;
        };
        found = span;
        node = Node::Value(value);
    }
    found
}

/// A table with a header, or made by dotted keys: its key is what a person looks for.
fn is_spread(text: &str, value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().is_table() && !text.get(value.span()).is_some_and(|t| t.starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters() {
        assert_eq!(
            line_and_column("a = 1\nä = é x", "a = 1\nä = é ".len()),
            (2, 7)
        );
        assert_eq!(line_and_column("ab", 99), (1, 3));
        assert_eq!(line_and_column("ä", 1), (1, 1));
    }

    #[test]
    fn finds_keys_and_values() {
        let text = "a.b = 1\n[c.\"d e\"]\nf = [1, { g = 2 }]\n[[h]]\n[[h]]\ni = 1\n";
        let tree = DeTable::parse(text).unwrap();
        let place = |path: &str, at| {
            let path = path.parse().unwrap();
            line_and_column(text, span(text, tree.get_ref(), &path, at).start)
        };
        assert_eq!(place("a.b", At::Value), (1, 7));
        assert_eq!(place("a.b", At::Key), (1, 3));
        assert_eq!(place("a", At::Value), (1, 1));
        assert_eq!(place("c.\"d e\"", At::Value), (2, 4));
        assert_eq!(place("c.\"d e\".f[1].g", At::Value), (3, 15));
        assert_eq!(place("c.\"d e\".f[9].g", At::Value), (3, 5));
        assert_eq!(place("h[1]", At::Value), (5, 1));
        assert_eq!(place("h[1].i", At::Key), (6, 1));
        assert_eq!(place("x", At::Key), (1, 1));
    }
}
