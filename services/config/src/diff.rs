use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use similar::TextDiff;

use crate::document::Document;

/// What differs between two documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// By key, in the order of the keys.
    pub changes: Vec<Change>,
    /// The two texts as a unified diff, comments included; empty where they are the same.
    pub text: String,
}

/// One key whose value differs. Secrets are hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// As in `network.link.eth0.mtu`.
    pub path: String,
    /// The value before; `None` where the key is new.
    pub old: Option<Value>,
    /// The value after; `None` where the key is gone.
    pub new: Option<Value>,
}

/// Compares two documents.
#[must_use]
pub fn diff(old: &Document, new: &Document) -> Diff {
    let mut changes = Vec::new();
    compare_tables("", old.sections(), new.sections(), &mut changes);
    let text = TextDiff::configure()
        .timeout(TIME_MAX)
        .diff_lines(old.text(), new.text())
        .unified_diff()
        .header("old", "new")
        .to_string();
    Diff { changes, text }
}

fn compare_tables(
    path: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    for (key, old) in old {
        compare(&join(path, key), Some(old), new.get(key), changes);
    }
    for (key, new) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        compare(&join(path, key), None, Some(new), changes);
    }
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    let empty = Map::new();
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            compare_tables(path, old, new, changes);
        }
        (Some(Value::Object(old)), None) if !old.is_empty() => {
            compare_tables(path, old, &empty, changes);
        }
        (None, Some(Value::Object(new))) if !new.is_empty() => {
            compare_tables(path, &empty, new, changes);
        }
        _ => changes.push(Change {
            path: path.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

/// A key below another, quoted where TOML needs it.
fn join(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let key = if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

impl Diff {
    /// Whether the two documents say the same. Their comments may still differ.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// One line per change.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change { path, old, new } in &self.changes {
            match (old, new) {
                (Some(old), Some(new)) => writeln!(f, "~ {path}: {old} -> {new}")?,
                (Some(old), None) => writeln!(f, "- {path}: {old}")?,
                (_, Some(new)) => writeln!(f, "+ {path}: {new}")?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

/// The texts come from strangers, and the work is quadratic at worst: a coarser diff after this.
const TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_each_key() {
        let old = "[system]\nhostname = \"a\"\n[network.link.eth0]\nmtu = 1500\n";
        let new =
            "[system]\nhostname = \"b\"\n[network.link.\"eth0.5\"]\nrole = \"lan\" # guests\n";
        let diff = diff(
            &Document::parse(old).unwrap(),
            &Document::parse(new).unwrap(),
        );
        assert_eq!(
            diff.to_string(),
            "- network.link.eth0.mtu: 1500\n\
             + network.link.\"eth0.5\".role: \"lan\"\n\
             ~ system.hostname: \"a\" -> \"b\"\n"
        );
        assert!(
            diff.text.contains(
                "\n-hostname = \"a\"\n-[network.link.eth0]\n-mtu = 1500\n+hostname = \"b\"\n"
            ),
            "{}",
            diff.text
        );
    }

    #[test]
    fn a_document_does_not_differ_from_itself() {
        let document = Document::parse("[network.link.eth0]\nmtu = 1500").unwrap();
        assert_eq!(diff(&document, &document), Diff::default());
    }
}
