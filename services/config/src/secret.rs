//! What only administrators may read.

use serde_json::{Map, Value};

use crate::path::{Path, Segment};
use crate::problem::At;
use crate::{place, text};

/// Keys whose values are never shown.
pub const SECRETS: &[&str] = &["login.password_hash"];

/// Stands for a secret.
pub(crate) const HIDDEN: &str = "(hidden)";

/// The text of a document with its secrets replaced. A text that is no document is not shown at
/// all: nobody knows where in it a secret is.
pub(crate) fn hide_in_text(document: &str, replacement: &str) -> String {
    let Ok(tree) = text::parse(document) else {
        return String::new();
    };
    let mut hidden = document.to_owned();
    for path in paths() {
        let (section, key) = match path.segments() {
            [Segment::Key(section), Segment::Key(key)] => (section, key),
            _ => continue,
        };
        let table = tree.get_ref().get(section.as_str());
        let table = table.and_then(|value| value.get_ref().as_table());
        if table.is_some_and(|table| table.contains_key(key.as_str())) {
            let span = place::span(document, tree.get_ref(), &path, At::Value);
            let replacement = Value::from(replacement).to_string();
            hidden.replace_range(span, &replacement);
        }
    }
    hidden
}

/// The sections with their secrets replaced.
#[must_use]
pub fn public_sections(sections: &Map<String, Value>) -> Map<String, Value> {
    let mut hidden = sections.clone();
    for path in paths() {
        if let [Segment::Key(section), Segment::Key(key)] = path.segments()
            && let Some(value) = hidden.get_mut(section).and_then(|table| table.get_mut(key))
        {
            *value = HIDDEN.into();
        }
    }
    hidden
}

/// Whether the value of a key is a secret.
pub(crate) fn is_secret(path: &Path) -> bool {
    paths().any(|secret| secret == *path)
}

fn paths() -> impl Iterator<Item = Path> {
    SECRETS
        .iter()
        .map(|path| path.parse().expect("the list above holds paths"))
}
