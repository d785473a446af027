//! `[login]`

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::section::{Checks, Section};

/// Who may administer the machine on its console.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(rename = "login")]
pub struct Login {
    /// What the console asks for. Without one it asks for nothing: who has the serial line has the
    /// machine.
    pub password_hash: Option<PasswordHash>,
}

/// A password's hash that this machine can verify. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: String,
    hash: password::Hash,
}

impl PasswordHash {
    /// The hash as it was written: a secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hash, to verify a password against.
    #[must_use]
    pub fn hash(&self) -> &password::Hash {
        &self.hash
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.fmt(f)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let hash = password::Hash::parse(&text).map_err(serde::de::Error::custom)?;
        Ok(Self { text, hash })
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl JsonSchema for PasswordHash {
    fn schema_name() -> Cow<'static, str> {
        "password-hash".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Argon2id (`argon2 SALT -id -e`) or SHA-512 crypt (`openssl passwd -6`)",
            "pattern": r"^\$(argon2id|6)\$[!-~]{1,500}$",
        })
    }
}

impl Section for Login {
    const NAME: &'static str = "login";

    type Form = Self;

    fn check(form: Self, _: &mut Checks<'_>) -> Self {
        form
    }
}
