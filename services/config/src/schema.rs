use serde_json::{Value, json};

/// The JSON Schema of the document.
#[must_use]
pub fn schema() -> Value {
    let properties: serde_json::Map<_, _> = crate::SECTIONS
        .iter()
        .map(|section| ((*section).to_owned(), json!({ "type": "object" })))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}
