use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Problem;

/// Why the store said no. On the wire each is a Varlink error of the interface, with its fields as
/// the parameters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
pub enum Refusal {
    /// The key has another version than the caller expected.
    #[error("{key} has version {version} by now")]
    #[serde(rename = "org.x0tta6bl4.Store.Conflict")]
    Conflict {
        /// Which key.
        key: String,
        /// Its version; 0: it does not exist.
        version: u64,
    },
    /// No key may look like this.
    #[error("bad key `{key}`: {reason}")]
    #[serde(rename = "org.x0tta6bl4.Store.BadKey")]
    BadKey {
        /// Its beginning.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Larger than the store takes.
    #[error("{what} has {bytes} bytes, at most {limit} are taken")]
    #[serde(rename = "org.x0tta6bl4.Store.TooLarge")]
    TooLarge {
        /// What.
        what: String,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        limit: u64,
    },
    /// This service has used up its share.
    #[error("the service's share of {limit} {what} is used up: delete something")]
    #[serde(rename = "org.x0tta6bl4.Store.QuotaExceeded")]
    QuotaExceeded {
        /// `keys` or `bytes`.
        what: String,
        /// The share.
        limit: u64,
    },
    /// Too many events in a short time.
    #[error("too many events: try again in {retry_ms} ms")]
    #[serde(rename = "org.x0tta6bl4.Store.RateLimited")]
    RateLimited {
        /// When one more will be taken.
        retry_ms: u64,
    },
    /// Not for this caller.
    #[error("{method} is not allowed: {reason}")]
    #[serde(rename = "org.x0tta6bl4.Store.NotAllowed")]
    NotAllowed {
        /// The method.
        method: String,
        /// Which rule says so.
        reason: String,
    },
    /// The document has mistakes.
    #[error("the document has {} mistakes", problems.len())]
    #[serde(rename = "org.x0tta6bl4.Store.Invalid")]
    Invalid {
        /// All of them.
        problems: Vec<Problem>,
    },
    /// A parameter is out of its range.
    #[error("{parameter}: {reason}")]
    #[serde(rename = "org.x0tta6bl4.Store.BadParameter")]
    BadParameter {
        /// Which one.
        parameter: String,
        /// What it has to be.
        reason: String,
    },
    /// Somebody else edits.
    #[error("{author} is editing")]
    #[serde(rename = "org.x0tta6bl4.Store.EditInProgress")]
    EditInProgress {
        /// Who.
        author: String,
        /// Since when (milliseconds since 1970).
        since_ms: i64,
    },
    /// The editing session is over.
    #[error("no such editing session: it ended, or timed out")]
    #[serde(rename = "org.x0tta6bl4.Store.NoSuchSession")]
    NoSuchSession {},
    /// Another generation has to be confirmed or cancelled first.
    #[error("generation {generation} waits for its confirmation: confirm or cancel it first")]
    #[serde(rename = "org.x0tta6bl4.Store.ConfirmationPending")]
    ConfirmationPending {
        /// Which one.
        generation: u64,
        /// Until its deadline.
        remaining_ms: u64,
    },
    /// There is nothing to confirm or cancel under this number.
    #[error("generation {generation} does not wait for a confirmation (any more)")]
    #[serde(rename = "org.x0tta6bl4.Store.NotPending")]
    NotPending {
        /// Which one.
        generation: u64,
    },
    /// No such generation is kept.
    #[error("there is no generation {number}")]
    #[serde(rename = "org.x0tta6bl4.Store.NoSuchGeneration")]
    NoSuchGeneration {
        /// Which one.
        number: u64,
    },
    /// What was uploaded is no usable backup.
    #[error("not a usable backup: {reason}")]
    #[serde(rename = "org.x0tta6bl4.Store.BadBackup")]
    BadBackup {
        /// What is wrong, and where.
        reason: String,
    },
    /// The backup was made with another passphrase.
    #[error("wrong passphrase")]
    #[serde(rename = "org.x0tta6bl4.Store.WrongPassphrase")]
    WrongPassphrase {},
    /// The disk failed or is full; nothing of the call was kept.
    #[error("the disk failed: {reason}")]
    #[serde(rename = "org.x0tta6bl4.Store.StorageFailed")]
    StorageFailed {
        /// How.
        reason: String,
    },
    /// A job of this kind is running already.
    #[error("{what} is running already")]
    #[serde(rename = "org.x0tta6bl4.Store.Busy")]
    Busy {
        /// Which job.
        what: String,
    },
    /// An error of Varlink itself, or one that this client does not know.
    #[error("{name} {parameters}")]
    #[serde(skip)]
    Other {
        /// The error's name.
        name: String,
        /// Its parameters.
        parameters: Value,
    },
}

impl Refusal {
    /// From a reply's error name and parameters.
    #[must_use]
    pub fn from_wire(name: String, parameters: Value) -> Self {
        let tagged = json!({ "error": name, "parameters": parameters });
        serde_json::from_value(tagged).unwrap_or(Self::Other { name, parameters })
    }

    /// The error's name and parameters for a reply.
    #[must_use]
    pub fn to_wire(&self) -> (String, Value) {
        if let Self::Other { name, parameters } = self {
            return (name.clone(), parameters.clone());
        }
        match serde_json::to_value(self) {
            Ok(Value::Object(mut reply)) => {
                let parameters = reply.remove("parameters").unwrap_or_else(|| json!({}));
                match reply.remove("error") {
                    Some(Value::String(name)) => (name, parameters),
                    _ => unreachable!("the tag of the enumeration is a string"),
                }
            }
            _ => unreachable!("an enumeration with a tag is an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_name_and_fields() {
        let refusals = [
            Refusal::Conflict {
                key: "a".into(),
                version: 7,
            },
            Refusal::WrongPassphrase {},
            Refusal::Other {
                name: "org.varlink.service.MethodNotFound".into(),
                parameters: json!({ "method": "x" }),
            },
        ];
        for refusal in refusals {
            let (name, parameters) = refusal.to_wire();
            assert!(parameters.is_object());
            assert_eq!(Refusal::from_wire(name, parameters), refusal);
        }
        let (name, _) = Refusal::NoSuchSession {}.to_wire();
        assert_eq!(name, "org.x0tta6bl4.Store.NoSuchSession");
    }

    #[test]
    fn every_error_is_described() {
        for line in crate::DESCRIPTION.lines() {
            let Some(rest) = line.strip_prefix("error ") else {
                continue;
            };
            let name = rest.split(' ').next().unwrap();
            let source = include_str!("error.rs");
            let renamed = format!("rename = \"{}.{name}\"", crate::INTERFACE);
            assert!(source.contains(&renamed), "{name}");
        }
    }
}
