//! Varlink messages: one JSON object and a NUL byte each (<https://varlink.org/Wire-Format>).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Event, Explanation, LogLine, Power, Status};

/// The longest request that PID 1 reads.
pub const MAX_REQUEST_BYTES: usize = 4096;
/// The longest reply that a client reads.
pub const MAX_REPLY_BYTES: usize = 4 << 20;

/// A method call.
#[derive(Debug, Deserialize, Serialize)]
pub struct Call<P = Value> {
    /// `interface.Method`.
    pub method: String,
    /// Its parameters, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<P>,
    /// The caller takes more than one reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// The caller takes no reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oneway: bool,
}

/// An answer.
#[derive(Debug, Deserialize, Serialize)]
pub struct Reply<P = Value> {
    /// Its parameters, an object.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub parameters: Option<P>,
    /// More replies to the same call will come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// The name of an error; then `parameters` are that error's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A message with its NUL byte.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(message)
        .expect("messages have string keys only and no fallible serialiser");
    bytes.push(0);
    bytes
}

/// Reply of `Status`.
#[derive(Debug, Deserialize, Serialize)]
pub struct StatusReply {
    /// The status.
    pub status: Status,
}

/// Parameters of `Logs`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogsCall {
    /// Whose log.
    pub service: String,
    /// How many lines at most; all that are kept when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
}

/// Reply of `Logs`.
#[derive(Debug, Deserialize, Serialize)]
pub struct LogsReply {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Older output that is not kept any more.
    pub dropped_bytes: u64,
}

/// Parameters of `StartService`, `StopService` and `RestartService`, and of `ServiceNotFound`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceCall {
    /// Which service.
    pub service: String,
}

/// Parameters of `Power`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PowerCall {
    /// What to do.
    pub action: Power,
}

/// Parameters of `Events`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EventsCall {
    /// The first event number that is wanted; all that are kept when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
}

/// Reply of `Events`.
#[derive(Debug, Deserialize, Serialize)]
pub struct EventsReply {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// How many of those asked for are no longer kept.
    pub lost: u64,
}

/// Reply of `Explain`.
#[derive(Debug, Deserialize, Serialize)]
pub struct ExplainReply {
    /// What the service may do.
    pub explanation: Explanation,
}

/// Parameters of `ReexecFailed`.
#[derive(Debug, Deserialize, Serialize)]
pub struct ReexecFailed {
    /// Why, in words.
    pub reason: String,
}

/// Parameters of `org.varlink.service.GetInterfaceDescription`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DescriptionCall {
    /// Which interface.
    pub interface: String,
}

/// Reply of `org.varlink.service.GetInterfaceDescription`.
#[derive(Debug, Deserialize, Serialize)]
pub struct DescriptionReply {
    /// The interface in Varlink's own notation.
    pub description: String,
}

/// Reply of `org.varlink.service.GetInfo`.
#[derive(Debug, Deserialize, Serialize)]
pub struct InfoReply {
    /// Who made it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Of which version.
    pub version: String,
    /// Where to read more.
    pub url: String,
    /// What it serves.
    pub interfaces: Vec<String>,
}
