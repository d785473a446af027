//! Parameters and replies of the methods; the framing is `init_api::wire`'s.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    BackupSummary, Change, ConfigurationStatus, Entry, Event, Generation, Problem, Statistics,
    Verdict,
};

/// The longest request that the store reads.
pub const MAX_REQUEST_BYTES: usize = 2 << 20;
/// How much of a backup goes into one message, before base64.
pub const CHUNK_BYTES: usize = 256 << 10;

macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[doc = concat!("`", stringify!($field), "` of the interface description.")]
                pub $field: $type,
            )*
        }
    )*};
}

messages! {
    /// Parameters of `Get`.
    GetCall { key: String, }
    /// Reply of `Get`.
    GetReply { #[serde(default, skip_serializing_if = "Option::is_none")] entry: Option<Entry>, }
    /// Parameters of `Put`.
    PutCall {
        key: String,
        value: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")] expected: Option<u64>,
    }
    /// Reply of `Put`.
    PutReply { version: u64, }
    /// Parameters of `Delete`.
    DeleteCall {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")] expected: Option<u64>,
    }
    /// Reply of `Delete`.
    DeleteReply { existed: bool, }
    /// Parameters of `List`.
    ListCall {
        prefix: String,
        #[serde(default, skip_serializing_if = "Option::is_none")] after: Option<String>,
    }
    /// Reply of `List`.
    ListReply {
        entries: Vec<Entry>,
        #[serde(default, skip_serializing_if = "Option::is_none")] next: Option<String>,
    }
    /// Parameters of `Watch`.
    WatchCall { prefix: String, }
    /// Reply of `Watch`.
    WatchReply { changes: Vec<Change>, }
    /// Parameters of `Record`.
    RecordCall { kind: String, payload: Map<String, Value>, }
    /// Reply of `Record`.
    RecordReply { sequence: u64, }
    /// Parameters of `Events`.
    EventsCall {
        #[serde(default, skip_serializing_if = "Option::is_none")] after: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")] limit: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")] service: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")] kind: Option<String>,
    }
    /// Reply of `Events`.
    EventsReply { events: Vec<Event>, }
    /// Reply of `VerifyEvents`.
    VerifyReply { verdict: Verdict, }
    /// Parameters of `Applied`.
    AppliedCall {
        generation: u64,
        ok: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")] message: Option<String>,
    }
    /// Parameters of `BeginEdit`.
    BeginEditCall { author: String, }
    /// Reply of `BeginEdit`.
    BeginEditReply { session: String, generation: u64, text: String, }
    /// Parameters of `EndEdit`.
    SessionCall { session: String, }
    /// Parameters of `Validate`.
    ValidateCall { text: String, }
    /// Reply of `Validate`.
    ValidateReply { problems: Vec<Problem>, }
    /// Parameters of `Apply`.
    ApplyCall {
        text: String,
        author: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")] session: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")] confirm_within_s: Option<u32>,
    }
    /// Reply of `Apply` and `Rollback`.
    NumberReply { generation: u64, }
    /// Parameters of `Confirm`.
    ConfirmCall { generation: u64, author: String, }
    /// Parameters of `Cancel`.
    CancelCall { generation: u64, author: String, reason: String, }
    /// Parameters of `Rollback`.
    RollbackCall {
        to: u64,
        author: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")] confirm_within_s: Option<u32>,
    }
    /// Parameters of `History`.
    HistoryCall {
        #[serde(default, skip_serializing_if = "Option::is_none")] before: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")] limit: Option<u32>,
    }
    /// Reply of `History`.
    HistoryReply { generations: Vec<Generation>, }
    /// Parameters of `Generation`.
    GenerationCall { number: u64, }
    /// Reply of `Generation`.
    GenerationReply { generation: Generation, text: String, }
    /// Reply of `ConfigurationStatus`.
    ConfigurationStatusReply { status: ConfigurationStatus, }
    /// Parameters of `Import`.
    ImportCall { text: String, source: String, }
    /// Reply of `Import`.
    ImportReply {
        #[serde(default, skip_serializing_if = "Option::is_none")] generation: Option<u64>,
    }
    /// Reply of `Statistics`.
    StatisticsReply { statistics: Statistics, }
    /// Parameters of `Backup`.
    BackupCall { passphrase: String, }
    /// Reply of `Backup`.
    BackupReply { chunk: String, }
    /// Parameters of `Upload`.
    UploadCall { offset: u64, chunk: String, }
    /// Reply of `Upload`.
    UploadReply { length: u64, }
    /// Parameters of `Restore`.
    RestoreCall {
        passphrase: String,
        author: String,
        dry_run: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")] confirm_within_s: Option<u32>,
    }
    /// Reply of `Restore`.
    RestoreReply {
        summary: BackupSummary,
        #[serde(default, skip_serializing_if = "Option::is_none")] generation: Option<u64>,
    }
    /// Parameters of methods that take none.
    Nothing {}
}
