use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A key of the calling service, and what it holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Any JSON value.
    pub value: Value,
    /// Never used twice in a store, for any key.
    pub version: u64,
}

impl Entry {
    /// The value as a type of the caller's.
    ///
    /// # Errors
    /// When it is of another shape.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        serde_json::from_value(self.value)
    }
}

/// A key that changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// None: it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Its version after the change.
    pub version: u64,
}

/// A record of the event log.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// Counted without gaps since the store was made.
    pub sequence: u64,
    /// Milliseconds since 1970, as the clock was then.
    pub time_ms: i64,
    /// Milliseconds since the boot `boot`.
    pub boottime_ms: u64,
    /// The kernel's boot id.
    pub boot: String,
    /// Who recorded it.
    pub service: String,
    /// What kind of event, e.g. `config.applied`.
    pub kind: String,
    /// What belongs to it.
    pub payload: Map<String, Value>,
    /// SHA-256 over this record and the hash of the one before it, in hexadecimal.
    pub hash: String,
}

/// What a check of the event log found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// The first record that was checked.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// The hash of the last good one: kept elsewhere, it proves later that nothing was rewritten.
    pub head: String,
    /// The first record that is not as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_sequence: Option<u64>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The configuration as a service gets it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Configuration {
    /// Which generation applies.
    pub generation: u64,
    /// The sections that the service's manifest asks for.
    pub sections: Map<String, Value>,
}

/// Where a generation is in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationState {
    /// Valid for ever.
    Confirmed,
    /// Applies until its deadline.
    Pending,
    /// Taken back by a person.
    Cancelled,
    /// A service could not apply it.
    Failed,
    /// Its deadline passed.
    Expired,
    /// The machine restarted before it was confirmed.
    Unconfirmed,
}

/// One generation of the configuration, without its text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Generation {
    /// Counted from 1.
    pub number: u64,
    /// Where it is in its life.
    pub state: GenerationState,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Milliseconds since 1970, as the clock was then.
    pub created_ms: i64,
    /// Whose text it has, when it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<u64>,
    /// Who confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Something wrong in a document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
    /// The key, e.g. `network.link.lan0.address`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// A generation that waits for its confirmation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pending {
    /// Which one.
    pub generation: u64,
    /// What applies again when it is not confirmed.
    pub fallback: u64,
    /// Until then.
    pub remaining_ms: u64,
    /// `CLOCK_BOOTTIME` of the application: whoever confirms has to have connected later.
    pub applied_at_ms: u64,
}

/// Who edits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Editor {
    /// Who.
    pub author: String,
    /// Milliseconds since 1970, as the clock was then.
    pub since_ms: i64,
}

/// What a service said of the generation that applies now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Application {
    /// Who.
    pub service: String,
    /// Of which generation.
    pub generation: u64,
    /// Whether it does its work with it.
    pub ok: bool,
    /// Why not, or what is worth knowing.
    pub message: String,
}

/// Where the configuration stands.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConfigurationStatus {
    /// Applies now, confirmed or not.
    pub generation: u64,
    /// The last confirmed one.
    pub confirmed: u64,
    /// What waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Who edits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub editor: Option<Editor>,
    /// What the services said of `generation`.
    pub applications: Vec<Application>,
}

/// The store in figures.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Statistics {
    /// False: the file could not be used, and nothing outlives the store's process.
    pub durable: bool,
    /// Why it is not durable, or what was repaired at the start.
    pub note: String,
    /// Of the database.
    pub file_bytes: u64,
    /// Durable transactions since the start.
    pub commits: u64,
    /// Acknowledged writes since the start; many share one commit.
    pub writes: u64,
    /// Half of the commits were faster.
    pub commit_p50_us: u64,
    /// One in a hundred was slower.
    pub commit_p99_us: u64,
    /// The slowest.
    pub commit_max_us: u64,
    /// Keys of all services.
    pub state_keys: u64,
    /// Keys and values of all services.
    pub state_bytes: u64,
    /// Records that are kept.
    pub events: u64,
    /// Their bytes.
    pub events_bytes: u64,
    /// The oldest that is kept.
    pub first_event: u64,
    /// The newest.
    pub last_event: u64,
    /// Applies now.
    pub generation: u64,
    /// Open now.
    pub connections: u64,
    /// Closed since the start, because there were too many.
    pub refused_connections: u64,
    /// Automatic copies on DATA.
    pub snapshots: u64,
    /// When the newest was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_snapshot_ms: Option<i64>,
}

/// What is inside a backup.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BackupSummary {
    /// Milliseconds since 1970, as the clock was then.
    pub created_ms: i64,
    /// Of which machine.
    pub hostname: String,
    /// The generation that was confirmed then.
    pub generation: u64,
    /// How many there are.
    pub generations: u64,
    /// Keys of all services.
    pub state_keys: u64,
    /// Records of the event log.
    pub events: u64,
    /// Without encryption.
    pub bytes: u64,
}
