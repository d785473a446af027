use serde_json::{Map, Value};

use crate::problem::Problem;

/// A document that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    text: String,
    sections: Map<String, Value>,
}

impl Document {
    /// Parses and checks a document.
    ///
    /// # Errors
    /// With the problems found, in the order of the text; at least one, and a bounded number.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        network_api::Document::parse(text).map_err(|error| {
            error
                .problems
                .into_iter()
                .map(|problem| Problem {
                    line: u32::try_from(problem.line).unwrap_or(u32::MAX),
                    column: u32::try_from(problem.column).unwrap_or(u32::MAX),
                    path: String::new(),
                    message: problem.message,
                    suggestion: problem.hint,
                })
                .collect::<Vec<_>>()
        })?;
        let sections = toml::from_str(text).map_err(|error| {
            vec![Problem {
                line: 1,
                column: 1,
                path: String::new(),
                message: error.message().to_owned(),
                suggestion: None,
            }]
        })?;
        Ok(Self {
            text: text.to_owned(),
            sections,
        })
    }

    /// The document as it was written, comments included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the document says in a section, as it was written and without defaults; `None` where it
    /// says nothing.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<Value> {
        self.sections.get(name).cloned()
    }

    /// Every section that the document has.
    #[must_use]
    pub fn sections(&self) -> &Map<String, Value> {
        &self.sections
    }
}
