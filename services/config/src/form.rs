//! From a value to a Rust type, with every mistake told and not only the first.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::path::{Path, Segment};
use crate::problem::{Fault, Faults, did_you_mean};

/// Reads `value`, which stands at `base`. `None` where it has mistakes; they are among the faults.
///
/// serde stops at the first mistake. So what it stopped at is taken out and the rest is read again,
/// until nothing is wrong or the faults are full. A second reader that walked the schema beside
/// serde would not do this work, but might disagree with it.
pub(crate) fn read<T: DeserializeOwned>(
    mut value: Value,
    base: &Path,
    faults: &mut Faults,
) -> Option<T> {
    let mut taken = Taken::default();
    let mut is_whole = true;
    loop {
        let error = match serde_path_to_error::deserialize(value.clone()) {
            Ok(read) => return is_whole.then_some(read),
            Err(error) => error,
        };
        is_whole = false;
        let segments = segments(error.path());
        let original = taken.original(&segments);
        let message = error.inner().to_string();
        if !taken.explains(&original, &message) {
            blame(base, &original, &message, faults);
        }
        if faults.is_full() || !take_out(&mut value, &segments, &mut taken) {
            return None;
        }
    }
}

fn blame(base: &Path, segments: &[Segment], message: &str, faults: &mut Faults) {
    let path = base.segments().iter().chain(segments).cloned();
    let path = Path::from(path.collect::<Vec<_>>());
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    // serde puts every known name into its message; where one is near, it says the same in a word.
    let near = |what: &str| match names.as_slice() {
        [unknown, known @ ..] if message.starts_with(what) => {
            did_you_mean(unknown, known.iter().copied())
        }
        _ => None,
    };
    if let Some(hint) = near("unknown variant") {
        faults.hint(path, message, hint);
    } else if message.starts_with("unknown field") {
        let hint = near("unknown field");
        faults.key(path, message, hint);
    } else {
        faults.value(path, in_words(message));
    }
}

/// serde names what it expected as Rust does.
fn in_words(message: &str) -> String {
    let Some((start, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "a map" => "a table",
        "a sequence" => "an array",
        "u8" => "a number from 0 to 255",
        "u16" => "a number from 0 to 65535",
        "u32" => "a number from 0 to 4294967295",
        "i64" => "a whole number",
        other => other,
    };
    let start = start.replace("invalid type: map", "invalid type: a table");
    let start = start.replace("invalid type: sequence", "invalid type: an array");
    format!("{start}, expected {expected}")
}

/// The steps of serde's path that are steps of the document.
fn segments(path: &serde_path_to_error::Path) -> Vec<Segment> {
    path.iter()
        .filter_map(|segment| match segment {
            serde_path_to_error::Segment::Map { key } => Some(Segment::Key(key.clone())),
            serde_path_to_error::Segment::Seq { index } => Some(Segment::Index(*index)),
            _ => None,
        })
        .collect()
}

/// Takes out what stands at the path. `false` where nothing does, or all would be gone.
fn take_out(value: &mut Value, segments: &[Segment], taken: &mut Taken) -> bool {
    let Some((last, way)) = segments.split_last() else {
        return false;
    };
    let mut parent = value;
    for segment in way {
        let child = match segment {
            Segment::Key(key) => parent.get_mut(key),
            Segment::Index(index) => parent.get_mut(index),
        };
        let Some(child) = child else {
            return false;
        };
        parent = child;
    }
    let way = taken.original(way);
    match (parent, last) {
        (Value::Object(table), Segment::Key(key)) => {
            taken.keys.insert((way, key.clone()));
            table.remove(key).is_some()
        }
        (Value::Array(array), Segment::Index(index)) if *index < array.len() => {
            let original = taken.original_index(&way, *index);
            taken.elements.entry(way).or_default().insert(original);
            array.remove(*index);
            true
        }
        _ => false,
    }
}

/// What was taken out, by its place in the document.
#[derive(Default)]
struct Taken {
    /// By table.
    keys: BTreeSet<(Vec<Segment>, String)>,
    /// By array. The elements behind them have moved up since.
    elements: BTreeMap<Vec<Segment>, BTreeSet<usize>>,
}

impl Taken {
    /// Whether the mistake is only that something was taken out.
    fn explains(&self, table: &[Segment], message: &str) -> bool {
        let missing = message.strip_prefix("missing field `");
        missing.is_some_and(|rest| {
            let key = rest.trim_end_matches('`').to_owned();
            self.keys.contains(&(table.to_vec(), key))
        })
    }

    /// The path that had led to where this one leads now.
    fn original(&self, segments: &[Segment]) -> Vec<Segment> {
        let mut original = Vec::with_capacity(segments.len());
        for segment in segments {
            let segment = match segment {
                Segment::Index(index) => Segment::Index(self.original_index(&original, *index)),
                key @ Segment::Key(_) => key.clone(),
            };
            original.push(segment);
        }
        original
    }

    fn original_index(&self, array: &[Segment], index: usize) -> usize {
        let taken = self.elements.get(array).into_iter().flatten();
        taken.fold(
            index,
            |index, gone| if *gone <= index { index + 1 } else { index },
        )
    }
}

/// The faults as problems without a place.
pub(crate) fn problems(faults: Faults) -> Vec<crate::Problem> {
    let faults = faults.into_vec().into_iter();
    faults.map(|fault: Fault| fault.at((0, 0))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        size: u8,
        #[serde(default)]
        lists: BTreeMap<String, Vec<Part>>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, expecting = "a table")]
    struct Part {
        #[serde(rename = "part")]
        _part: bool,
    }

    #[test]
    fn tells_every_mistake_by_its_own_place() {
        let value = json!({
            "size": 300,
            "sise": 3,
            "lists": { "a": [{"part": 1}, {"part": true}, 7, {"part": true, "pat": 1}, {}] },
        });
        let mut faults = Faults::default();
        let read: Option<Shape> = read(value, &Path::default().key("x"), &mut faults);
        assert_eq!(read, None);
        let mut told: Vec<String> = problems(faults).iter().map(ToString::to_string).collect();
        told.sort();
        assert_eq!(
            told,
            [
                "x.lists.a[0].part: invalid type: integer `1`, expected a boolean",
                "x.lists.a[2]: invalid type: integer `7`, expected a table",
                "x.lists.a[3].pat: unknown field `pat`, expected `part` (did you mean `part`?)",
                "x.lists.a[4]: missing field `part`",
                "x.sise: unknown field `sise`, expected `size` or `lists` (did you mean `size`?)",
                "x.size: invalid value: integer `300`, expected a number from 0 to 255",
            ]
        );
    }
}
