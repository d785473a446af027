use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::form;
use crate::path::Path;
use crate::problem::{Faults, Problems};

/// A section of the document: `[NAME]`.
pub trait Section: Default {
    /// Its name.
    const NAME: &'static str;

    /// As it is written: what serde and the JSON Schema check.
    type Form: DeserializeOwned + JsonSchema;

    /// Reads the section from what the store hands out: sections by name. What is not there has its
    /// defaults.
    ///
    /// # Errors
    /// When it is not what [`crate::Document::parse`] takes.
    fn read(sections: &Map<String, Value>) -> Result<Self, Problems> {
        let mut faults = Faults::default();
        let read = read::<Self>(sections, &mut faults);
        match read {
            Some(section) if faults.is_empty() => Ok(section),
            _ => Err(Problems(form::problems(faults))),
        }
    }

    /// From the form to the meaning: what serde cannot check.
    #[doc(hidden)]
    fn check(form: Self::Form, checks: &mut Checks) -> Self;
}

/// Where [`Section::check`] tells what is wrong.
#[derive(Debug)]
pub struct Checks<'a> {
    faults: &'a mut Faults,
    base: Path,
}

impl Checks<'_> {
    /// The path of a key of this section.
    pub(crate) fn path(&self, key: &str) -> Path {
        self.base.key(key)
    }

    pub(crate) fn value(&mut self, path: Path, message: impl Into<String>) {
        self.faults.value(path, message);
    }

    pub(crate) fn key(&mut self, path: Path, message: impl Into<String>) {
        self.faults.key(path, message, None);
    }

    pub(crate) fn hint(&mut self, path: Path, message: impl Into<String>, hint: impl Into<String>) {
        self.faults.hint(path, message, hint);
    }
}

/// `None` where its form is wrong, or it says nothing and so there is nothing to check.
pub(crate) fn read<S: Section>(sections: &Map<String, Value>, faults: &mut Faults) -> Option<S> {
    let Some(value) = sections.get(S::NAME) else {
        return Some(S::default());
    };
    let base = Path::default().key(S::NAME);
    let form: S::Form = form::read(value.clone(), &base, faults)?;
    Some(S::check(form, &mut Checks { faults, base }))
}
