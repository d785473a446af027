use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use similar::TextDiff;

use crate::document::Document;
use crate::path::Path;
use crate::secret::{self, HIDDEN};

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
    /// Whether the values stand for others that are not shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_secret: bool,
}

/// Compares two documents.
#[must_use]
pub fn diff(old: &Document, new: &Document) -> Diff {
    let mut changes = Vec::new();
    let root = Path::default();
    compare_tables(&root, old.sections(), new.sections(), &mut changes);
    // A secret that changed has to look changed.
    let is_changed = changes.iter().any(|change| change.is_secret);
    let new_secret = if is_changed { CHANGED } else { HIDDEN };
    let old = secret::hide_in_text(old.text(), HIDDEN);
    let new = secret::hide_in_text(new.text(), new_secret);
    let text = TextDiff::configure()
        .timeout(TIME_MAX)
        .diff_lines(&old, &new)
        .unified_diff()
        .header("old", "new")
        .to_string();
    Diff { changes, text }
}

fn compare_tables(
    path: &Path,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        compare(path.key(key), old.get(key), new.get(key), changes);
    }
}

fn compare(path: Path, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    let empty = Map::new();
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            compare_tables(&path, old, new, changes);
        }
        (Some(Value::Object(old)), None) if !old.is_empty() => {
            compare_tables(&path, old, &empty, changes);
        }
        (None, Some(Value::Object(new))) if !new.is_empty() => {
            compare_tables(&path, &empty, new, changes);
        }
        (old, new) if is_array_of_tables(old) || is_array_of_tables(new) => {
            compare_elements(&path, old, new, changes);
        }
        _ => changes.push(Change::of(&path, old, new)),
    }
}

/// Tables in an array have no name: one that is in both arrays did not change, wherever it is.
fn compare_elements(
    path: &Path,
    old: Option<&Value>,
    new: Option<&Value>,
    changes: &mut Vec<Change>,
) {
    let elements = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
    let (old, new) = (elements(old), elements(new));
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    // By their text, so that a thousand routes need no million comparisons.
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for element in &new {
        *counts.entry(element.to_string()).or_default() += 1;
    }
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    for (index, element) in old.iter().enumerate() {
        let text = element.to_string();
        match counts.get_mut(&text) {
            Some(count) if *count > 0 => {
                *count -= 1;
                *kept.entry(text).or_default() += 1;
            }
            _ => changes.push(Change::of(&path.index(index), Some(element), None)),
        }
    }
    for (index, element) in new.iter().enumerate() {
        match kept.get_mut(&element.to_string()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => changes.push(Change::of(&path.index(index), None, Some(element))),
        }
    }
}

fn is_array_of_tables(value: Option<&Value>) -> bool {
    let elements = value.and_then(Value::as_array);
    elements.is_some_and(|elements| elements.first().is_some_and(Value::is_object))
}

impl Change {
    fn of(path: &Path, old: Option<&Value>, new: Option<&Value>) -> Self {
        let is_secret = secret::is_secret(path);
        let shown = |value: Option<&Value>, hidden: &str| match value {
            Some(_) if is_secret => Some(hidden.into()),
            value => value.cloned(),
        };
        let hidden = if old.is_some() { CHANGED } else { HIDDEN };
        Self {
            path: path.to_string(),
            old: shown(old, HIDDEN),
            new: shown(new, hidden),
            is_secret,
        }
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
        for Change { path, old, new, .. } in &self.changes {
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
const CHANGED: &str = "(hidden, changed)";

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

    #[test]
    fn a_secret_looks_changed_but_does_not_show() {
        let document = |password_hash: &str| {
            let text = format!("[login]\npassword_hash = \"{password_hash}\"\n");
            Document::parse(&text).unwrap()
        };
        let old = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
        let new = old.replace("saltstring", "otherstring");
        let diff = diff(&document(old), &document(&new));
        assert_eq!(
            diff.to_string(),
            "~ login.password_hash: \"(hidden)\" -> \"(hidden, changed)\"\n"
        );
        assert!(
            diff.text
                .contains("+password_hash = \"(hidden, changed)\"\n"),
            "{}",
            diff.text
        );
        assert!(!serde_json::to_string(&diff).unwrap().contains("svn8Uo"));
    }

    #[test]
    fn a_route_that_moves_in_the_array_did_not_change() {
        let route =
            |n: u8| format!("[[network.route]]\nto = \"10.{n}.0.0/16\"\nkind = \"blackhole\"\n");
        let document = |numbers: &[u8]| {
            let text: String = numbers.iter().map(|n| route(*n)).collect();
            Document::parse(&text).unwrap()
        };
        let diff = diff(&document(&[1, 2, 3]), &document(&[4, 3, 1]));
        assert_eq!(
            diff.to_string(),
            "- network.route[1]: {\"kind\":\"blackhole\",\"to\":\"10.2.0.0/16\"}\n\
             + network.route[0]: {\"kind\":\"blackhole\",\"to\":\"10.4.0.0/16\"}\n"
        );
    }
}
