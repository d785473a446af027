use std::collections::HashMap;

use zbus::{OwnedVariant, Variant};

use crate::Error;

/// The `a{sv}` that ends every call. What a method does not know is refused, not ignored: a caller
/// that misspells `confirm-within` must not believe that its change has a deadline.
#[derive(Debug)]
pub struct Options(HashMap<String, OwnedVariant>);

impl Options {
    /// Wraps what came over the bus.
    #[must_use]
    pub fn new(options: HashMap<String, OwnedVariant>) -> Self {
        Self(options)
    }

    /// Takes the option `name` out.
    ///
    /// # Errors
    /// When it is there and of another type.
    pub fn take<T>(&mut self, name: &str) -> Result<Option<T>, Error>
    where
        T: TryFrom<OwnedVariant>,
    {
        let Some(value) = self.0.remove(name) else {
            return Ok(None);
        };
        let signature = value.value_signature().to_string();
        match T::try_from(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::InvalidArgument(format!(
                "option `{name}` must not be of type `{signature}`"
            ))),
        }
    }

    /// Like [`Options::take`], for a text of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is no text, or too long.
    pub fn text(&mut self, name: &str, limit: usize) -> Result<Option<String>, Error> {
        let text: Option<String> = self.take(name)?;
        match text {
            Some(text) if text.len() > limit => Err(Error::InvalidArgument(format!(
                "option `{name}` is longer than {limit} bytes"
            ))),
            text => Ok(text),
        }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// When an option was not taken.
    pub fn end(self) -> Result<(), Error> {
        match self.0.keys().min() {
            None => Ok(()),
            Some(name) => Err(Error::InvalidArgument(format!(
                "there is no option `{}` here",
                name.escape_debug()
            ))),
        }
    }
}

/// Refuses every option.
///
/// # Errors
/// When there is one.
pub fn none(options: HashMap<String, OwnedVariant>) -> Result<(), Error> {
    Options::new(options).end()
}

/// Makes options, e.g. in a test.
#[must_use]
pub fn options<'v>(list: impl IntoIterator<Item = (&'v str, Variant<'v>)>) -> Options {
    let owned =
        |(name, value): (&str, Variant<'_>)| Some((name.to_owned(), value.try_into().ok()?));
    Options(list.into_iter().filter_map(owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_is_refused() {
        let mut some = options([("confirm-within", 120_u32.into()), ("x\u{1b}", true.into())]);
        assert_eq!(some.take::<u32>("confirm-within").unwrap(), Some(120));
        assert_eq!(some.take::<u32>("confirm-within").unwrap(), None);
        let Error::InvalidArgument(text) = some.end().unwrap_err() else {
            panic!();
        };
        assert_eq!(text, "there is no option `x\\u{1b}` here");
    }

    #[test]
    fn a_wrong_type_is_named() {
        let mut some = options([("confirm-within", "soon".into())]);
        let Error::InvalidArgument(text) = some.take::<u32>("confirm-within").unwrap_err() else {
            panic!();
        };
        assert_eq!(text, "option `confirm-within` must not be of type `s`");
        let mut long = options([("reason", "xxxxx".into())]);
        assert!(long.text("reason", 4).is_err());
    }
}
