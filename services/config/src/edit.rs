//! Changes a key in a document's text, and leaves all else as a person wrote it: comments, order and
//! blanks. The result may still have mistakes: [`crate::Document::parse`] tells.

use thiserror::Error;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TableLike, Value};

use crate::path::{Path, PathError, Segment};
use crate::problem::{Problem, Problems, sanitise};
use crate::text;

/// Why a key cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditError {
    /// The key is none.
    #[error("`{}` is no key", sanitise(.key))]
    Path {
        /// As it was given.
        key: String,
        /// What is wrong with it.
        #[source]
        cause: PathError,
    },
    /// The text is no TOML.
    #[error("the document has mistakes")]
    Text(#[source] Problems),
    /// Something on the way to the key is a value.
    #[error("`{0}` is a value, and holds no keys")]
    NotATable(Path),
    /// Something on the way to an element is no array.
    #[error("`{0}` is no array")]
    NotAnArray(Path),
    /// There is nothing to remove, or an element is beyond the end of its array.
    #[error("there is no `{0}`")]
    Missing(Path),
    /// TOML cannot say it at this place, such as a table in an array of numbers.
    #[error("`{0}` cannot be written there; edit the document as a whole")]
    Place(Path),
}

/// Sets a key to a value, written as in TOML; a value that is not TOML is taken as a text without
/// its quotes. An element one beyond the end of an array is added to it.
///
/// # Errors
/// When the text, the key or the place is wrong.
pub fn set(text: &str, key: &str, value: &str) -> Result<String, EditError> {
    let (mut document, path) = open(text, key)?;
    let value = value
        .trim()
        .parse::<Value>()
        .unwrap_or_else(|_| Value::from(value));
    put(document.as_item_mut(), &path, path.segments(), value)?;
    close(&document, &path)
}

/// Removes a key, or an element of an array.
///
/// # Errors
/// When the text or the key is wrong, or there is no such key.
pub fn unset(text: &str, key: &str) -> Result<String, EditError> {
    let (mut document, path) = open(text, key)?;
    take(document.as_item_mut(), &path, path.segments())?;
    close(&document, &path)
}

/// What a key is set to, as in TOML; `None` where it is not set.
///
/// # Errors
/// When the text or the key is wrong.
pub fn get(text: &str, key: &str) -> Result<Option<String>, EditError> {
    let (document, path) = open(text, key)?;
    let mut item = document.as_item();
    for segment in path.segments() {
        let child = match segment {
            Segment::Key(key) => item.get(key.as_str()),
            Segment::Index(index) => item.get(*index),
        };
        match child {
            Some(child) => item = child,
            None => {
                return Ok(match (item.as_array(), path.segments().last()) {
                    (Some(array), Some(Segment::Index(index))) => array
                        .get(*index)
                        .map(|value| value.to_string().trim().to_owned()),
                    _ => None,
                });
            }
        }
    }
    Ok(Some(item.to_string().trim().to_owned()))
}

fn open(text: &str, key: &str) -> Result<(DocumentMut, Path), EditError> {
    let path = key.parse().map_err(|cause| EditError::Path {
        key: key.to_owned(),
        cause,
    })?;
    let mistakes = |problems| EditError::Text(Problems(problems));
    // Bounds size and depth before the other parser reads it.
    text::parse(text).map_err(mistakes)?;
    let document = text.parse::<DocumentMut>().map_err(|error| {
        let problem = Problem {
            line: 1,
            column: 1,
            path: String::new(),
            message: sanitise(error.message()),
            suggestion: None,
        };
        mistakes(vec![problem])
    })?;
    Ok((document, path))
}

fn close(document: &DocumentMut, path: &Path) -> Result<String, EditError> {
    let text = document.to_string();
    match text::parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(EditError::Place(path.clone())),
    }
}

/// Where `rest` of `path` begins.
fn here(path: &Path, rest: &[Segment]) -> Path {
    let length = path.segments().len() - rest.len();
    Path::from(path.segments()[..length].to_vec())
}

fn put(item: &mut Item, path: &Path, rest: &[Segment], value: Value) -> Result<(), EditError> {
    let Some((first, after)) = rest.split_first() else {
        replace(item, value);
        return Ok(());
    };
    match first {
        Segment::Key(key) => {
            let is_inline = item.is_inline_table();
            let table = item
                .as_table_like_mut()
                .ok_or_else(|| EditError::NotATable(here(path, rest)))?;
            if !table.contains_key(key) {
                table.insert(key, fresh(after, is_inline));
            }
            let child = table
                .get_mut(key)
                .ok_or_else(|| EditError::Place(path.clone()))?;
            put(child, path, after, value)
        }
        Segment::Index(index) => {
            if let Some(tables) = item.as_array_of_tables_mut() {
                return put_in_tables(tables, *index, path, rest, value);
            }
            let array = item
                .as_array_mut()
                .ok_or_else(|| EditError::NotAnArray(here(path, rest)))?;
            if after.is_empty() && *index == array.len() {
                array.push(value);
                return Ok(());
            }
            let element = array
                .get_mut(*index)
                .ok_or_else(|| EditError::Missing(here(path, after)))?;
            let mut child = Item::Value(element.clone());
            put(&mut child, path, after, value)?;
            *element = child
                .into_value()
                .map_err(|_| EditError::Place(path.clone()))?;
            Ok(())
        }
    }
}

fn put_in_tables(
    tables: &mut ArrayOfTables,
    index: usize,
    path: &Path,
    rest: &[Segment],
    value: Value,
) -> Result<(), EditError> {
    let after = &rest[1..];
    if index == tables.len() {
        tables.push(Table::new());
    }
    let table = tables
        .get_mut(index)
        .ok_or_else(|| EditError::Missing(here(path, after)))?;
    if after.is_empty() {
        let Value::InlineTable(inline) = value else {
            return Err(EditError::Place(path.clone()));
        };
        *table = inline.into_table();
        return Ok(());
    }
    let mut child = Item::Table(std::mem::take(table));
    let result = put(&mut child, path, after, value);
    *table = child.into_table().unwrap_or_default();
    result
}

/// What a key begins as, on the way to what is below it.
fn fresh(after: &[Segment], is_inline: bool) -> Item {
    match after.first() {
        None => Item::Value(Value::from(false)),
        Some(Segment::Index(_)) if after.len() > 1 && !is_inline => {
            Item::ArrayOfTables(ArrayOfTables::new())
        }
        Some(Segment::Index(_)) => Item::Value(Value::Array(toml_edit::Array::new())),
        Some(Segment::Key(_)) if is_inline => {
            Item::Value(Value::InlineTable(toml_edit::InlineTable::new()))
        }
        Some(Segment::Key(_)) => {
            let mut table = Table::new();
            // No header for a table that holds nothing but tables.
            table.set_implicit(after.len() > 1);
            Item::Table(table)
        }
    }
}

/// Keeps the blanks and the comment behind a value.
fn replace(item: &mut Item, mut value: Value) {
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    } else {
        value.decor_mut().clear();
    }
    *item = Item::Value(value);
}

fn take(item: &mut Item, path: &Path, rest: &[Segment]) -> Result<(), EditError> {
    let Some((first, after)) = rest.split_first() else {
        return Ok(());
    };
    let missing = || EditError::Missing(here(path, after));
    match first {
        Segment::Key(key) => {
            let table: &mut dyn TableLike = item
                .as_table_like_mut()
                .ok_or_else(|| EditError::NotATable(here(path, rest)))?;
            if after.is_empty() {
                return table.remove(key).map(drop).ok_or_else(missing);
            }
            take(table.get_mut(key).ok_or_else(missing)?, path, after)
        }
        Segment::Index(index) => {
            if let Some(tables) = item.as_array_of_tables_mut() {
                if *index >= tables.len() {
                    return Err(missing());
                }
                if after.is_empty() {
                    tables.remove(*index);
                    return Ok(());
                }
                let table = tables.get_mut(*index).ok_or_else(missing)?;
                let mut child = Item::Table(std::mem::take(table));
                let result = take(&mut child, path, after);
                *table = child.into_table().unwrap_or_default();
                return result;
            }
            let array = item
                .as_array_mut()
                .ok_or_else(|| EditError::NotAnArray(here(path, rest)))?;
            if *index >= array.len() {
                return Err(missing());
            }
            if after.is_empty() {
                array.remove(*index);
                return Ok(());
            }
            let element = array.get_mut(*index).ok_or_else(missing)?;
            let mut child = Item::Value(element.clone());
            take(&mut child, path, after)?;
            *element = child
                .into_value()
                .map_err(|_| EditError::Place(path.clone()))?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, diff};
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../example.toml");

    #[test]
    fn changes_one_line_and_keeps_the_rest() {
        for (key, value, old, new) in [
            ("system.hostname", "edge-2", "\"edge-1\"", "\"edge-2\""),
            (
                "network.forwarding",
                "false",
                "= true                   #",
                "= false                   #",
            ),
            ("network.link.wan.mtu", "1400", "mtu = 1500", "mtu = 1400"),
            (
                "network.link.wan.ipv4.metric",
                "7",
                "metric = 100 }",
                "metric = 7 }",
            ),
            (
                "network.route[0].metric",
                "51",
                "metric = 50",
                "metric = 51",
            ),
            ("network.dns[1]", "2620:fe::9", "2620:fe::fe", "2620:fe::9"),
        ] {
            let changed = set(EXAMPLE, key, value).unwrap();
            assert_eq!(changed, EXAMPLE.replacen(old, new, 1), "{key}");
            assert!(Document::parse(&changed).is_ok());
            assert!(get(&changed, key).unwrap().unwrap().contains(value.trim()));
        }
    }

    #[test]
    fn makes_what_is_missing_on_the_way() {
        let text = set(
            "",
            "network.link.\"eth0.5\".ipv4.addresses",
            "[\"10.0.0.1/24\"]",
        )
        .unwrap();
        assert_eq!(
            text,
            "[network.link.\"eth0.5\".ipv4]\naddresses = [\"10.0.0.1/24\"]\n"
        );
        let text = set(&text, "network.route[0].to", "10.0.0.0/8").unwrap();
        let text = set(&text, "network.route[0].via", "10.0.0.2").unwrap();
        let text = set(&text, "network.dns[0]", "9.9.9.9").unwrap();
        let document = Document::parse(&text).unwrap();
        let expected = "[network]\ndns = [\"9.9.9.9\"]\n\
            link.\"eth0.5\".ipv4.addresses = [\"10.0.0.1/24\"]\n\
            route = [{ to = \"10.0.0.0/8\", via = \"10.0.0.2\" }]\n";
        let expected = Document::parse(expected).unwrap();
        assert_eq!(document.sections(), expected.sections(), "{text}");
    }

    #[test]
    fn removes_keys_and_elements() {
        let text = unset(EXAMPLE, "network.link.guests").unwrap();
        let text = unset(&text, "network.route[0]").unwrap();
        let text = unset(&text, "network.dns[0]").unwrap();
        let document = Document::parse(&text).unwrap();
        let changes = diff(&Document::parse(EXAMPLE).unwrap(), &document).changes;
        let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "network.dns",
                "network.link.guests.ipv4.addresses",
                "network.link.guests.vlan.id",
                "network.link.guests.vlan.parent",
                "network.route[0]",
            ]
        );
    }

    #[test]
    fn tells_what_is_wrong() {
        let told = |result: Result<String, EditError>| result.unwrap_err().to_string();
        assert_eq!(
            told(unset(EXAMPLE, "system.nme")),
            "there is no `system.nme`"
        );
        assert_eq!(
            told(set(EXAMPLE, "system.hostname.x", "1")),
            "`system.hostname` is a value, and holds no keys"
        );
        assert_eq!(
            told(set(EXAMPLE, "network[0]", "1")),
            "`network` is no array"
        );
        assert_eq!(
            told(set(EXAMPLE, "network.dns[9]", "1")),
            "there is no `network.dns[9]`"
        );
        assert_eq!(told(set("a = ", "b", "1")), "the document has mistakes");
        assert_eq!(told(set("", "a..b", "1")), "`a..b` is no key");
        assert_eq!(
            get(EXAMPLE, "metrics.listen[0]").unwrap().unwrap(),
            "\"192.168.77.1\""
        );
        assert_eq!(get(EXAMPLE, "metrics.listen[1]").unwrap(), None);
        assert_eq!(get(EXAMPLE, "metrics.nothing").unwrap(), None);
    }

    proptest! {
        #[test]
        fn what_is_set_is_there_and_can_be_unset(
            key in "[a-c]{1,2}(\\.[a-c]{1,2}|\\[[01]\\]){0,3}",
            value in "(\\PC{0,12}|[0-9]{1,4}|\\[1, 2\\]|\\{ a = 1 \\})",
            text in "(\\[?\\[[abc](\\.[abc])?\\]?\\]\n|[abc](\\.[abc])? = (1|\\[\\]|\\{ a = 2 \\}|\\[\\{\\}\\])  # x\n){0,4}",
        ) {
            if let Ok(changed) = set(&text, &key, &value) {
                prop_assert!(get(&changed, &key).unwrap().is_some(), "{changed}");
                let removed = unset(&changed, &key).unwrap();
                prop_assert!(toml::from_str::<toml::Table>(&removed).is_ok());
            }
        }
    }
}
