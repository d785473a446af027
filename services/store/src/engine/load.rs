//! The whole store as a sequence of items, and back: for backups and snapshots.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use store_api::{Generation, Refusal};

use super::batch::{Batch, Fail};
use super::configuration::Proposal;
use super::state::{VALUE_MAX_BYTES, check_key, size};
use crate::core::Machine;
use crate::event::{Hash, Record, RecordError, hex, unhex};

/// One thing that a store holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Item {
    /// The last version that was given.
    Revision(u64),
    /// A key.
    State {
        service: String,
        key: String,
        version: u64,
        value: Value,
    },
    /// Where the event log begins.
    Checkpoint { sequence: u64, hash: String },
    /// An event. Its payload is JSON text, as the hash was computed over it.
    Event {
        sequence: u64,
        time_ms: i64,
        boottime_ms: u64,
        boot: String,
        service: String,
        kind: String,
        payload: String,
        hash: String,
    },
    /// A generation with its document.
    Generation {
        generation: Generation,
        text: String,
    },
    /// Which generation applies.
    Machine(Machine),
    /// A document that provisioning brought.
    Import { sha256: String, generation: u64 },
}

/// What is wrong with an item.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A key or value that the store would not have taken.
    #[error("a key that no store holds")]
    State(#[source] Refusal),
    /// A hash is none.
    #[error("`{0}` is no hash")]
    Hash(String),
    /// The chain is broken.
    #[error("event {sequence}")]
    Event { sequence: u64, source: RecordError },
}

impl Item {
    pub(super) fn event(record: Record, hash: &Hash) -> Self {
        Self::Event {
            sequence: record.sequence,
            time_ms: record.time_ms,
            boottime_ms: record.boottime_ms,
            boot: record.boot,
            service: record.service,
            kind: record.kind,
            payload: record.payload,
            hash: hex(hash),
        }
    }

    /// Checks what can be seen without the other items; `chain` is where the event log stands.
    ///
    /// # Errors
    /// When no store holds such a thing.
    pub fn check(&self, chain: &mut (u64, Hash)) -> Result<(), LoadError> {
        match self {
            Self::State { key, value, .. } => {
                check_key(key).map_err(LoadError::State)?;
                let bytes = value.to_string().len();
                if bytes > VALUE_MAX_BYTES {
                    let refusal = super::state::too_large("value", bytes, VALUE_MAX_BYTES);
                    return Err(LoadError::State(refusal));
                }
            }
            Self::Checkpoint { sequence, hash } => *chain = (*sequence, parse_hash(hash)?),
            Self::Event { .. } => *chain = self.link(chain)?.1,
            Self::Revision(_)
            | Self::Generation { .. }
            | Self::Machine(_)
            | Self::Import { .. } => {}
        }
        Ok(())
    }

    /// The bytes of an event, which has to be the next one.
    fn link(&self, chain: &(u64, Hash)) -> Result<(Vec<u8>, (u64, Hash)), LoadError> {
        let Self::Event {
            sequence,
            time_ms,
            boottime_ms,
            boot,
            service,
            kind,
            payload,
            hash,
        } = self
        else {
            return Ok((Vec::new(), *chain));
        };
        let wrong = |source| LoadError::Event {
            sequence: *sequence,
            source,
        };
        if Some(*sequence) != chain.0.checked_add(1) {
            return Err(wrong(RecordError::Sequence(*sequence)));
        }
        let record = Record {
            sequence: *sequence,
            time_ms: *time_ms,
            boottime_ms: *boottime_ms,
            boot: boot.clone(),
            service: service.clone(),
            kind: kind.clone(),
            payload: payload.clone(),
        };
        let (bytes, computed) = record.encode(&chain.1);
        if computed != parse_hash(hash)? {
            return Err(wrong(RecordError::Hash));
        }
        Ok((bytes, (*sequence, computed)))
    }
}

impl Batch<'_> {
    /// Fills a store that was just made with items that were checked: it is what it was.
    pub fn load<E: std::error::Error>(
        &mut self,
        items: impl Iterator<Item = Result<Item, E>>,
    ) -> Result<(), Fail> {
        self.is_dirty = true;
        self.generations.retain(|_, _| false)?;
        self.texts.retain(|_, _| false)?;
        let mut chain = (0, [0; 32]);
        let mut events_bytes = 0;
        for item in items {
            let item = item.map_err(unreadable)?;
            match &item {
                Item::Revision(revision) => {
                    self.meta.insert("revision", revision)?;
                }
                Item::State {
                    service,
                    key,
                    version,
                    value,
                } => self.load_state(service, key, *version, value)?,
                Item::Checkpoint { sequence, hash } => {
                    chain = (*sequence, parse_hash(hash).map_err(damaged)?);
                    self.checkpoint.insert("tail", (chain.0, &chain.1))?;
                }
                Item::Event { sequence, .. } => {
                    let (bytes, next) = item.link(&chain).map_err(damaged)?;
                    self.events.insert(sequence, bytes.as_slice())?;
                    events_bytes += bytes.len() as u64;
                    chain = next;
                }
                Item::Generation { generation, text } => {
                    self.texts.insert(generation.number, text.as_str())?;
                    self.put_generation(generation)?;
                }
                Item::Machine(machine) => self.put_machine(machine)?,
                Item::Import { sha256, generation } => {
                    self.imports.insert(sha256.as_str(), generation)?;
                }
            }
        }
        self.meta.insert("events_bytes", events_bytes)?;
        // The copy may be of another boot, or older than the deadline of what was pending then.
        self.prepare_configuration()
    }

    /// Replaces the state of all services, and proposes the document of a backup as the next
    /// generation where it differs from what applies. The event log goes on.
    pub fn restore<E: std::error::Error>(
        &mut self,
        items: impl Iterator<Item = Result<Item, E>>,
        proposal: Proposal,
    ) -> Result<Option<u64>, Fail> {
        // First what may be refused.
        let confirmed = self.load_machine()?.confirmed();
        let is_known = redb::ReadableTable::get(&self.texts, confirmed)?
            .is_some_and(|text| text.value() == proposal.text);
        let generation = if is_known {
            None
        } else {
            Some(self.apply(proposal)?)
        };
        self.is_dirty = true;
        self.state.retain(|_, _| false)?;
        self.usage.retain(|_, _| false)?;
        for item in items {
            if let Item::State {
                service,
                key,
                value,
                ..
            } = item.map_err(unreadable)?
            {
                let version = self.next_revision()?;
                self.load_state(&service, &key, version, &value)?;
            }
        }
        self.notices.push(super::Notice::Restored);
        Ok(generation)
    }

    fn load_state(
        &mut self,
        service: &str,
        key: &str,
        version: u64,
        value: &Value,
    ) -> Result<(), Fail> {
        let text = value.to_string();
        self.state
            .insert((service, key), (version, text.as_str()))?;
        let used = redb::ReadableTable::get(&self.usage, service)?;
        let (keys, bytes) = used.map_or((0, 0), |used| used.value());
        self.usage
            .insert(service, (keys + 1, bytes + size(key, &text)))?;
        Ok(())
    }
}

fn parse_hash(text: &str) -> Result<Hash, LoadError> {
    unhex(text).ok_or_else(|| LoadError::Hash(text.chars().take(80).collect()))
}

fn damaged(error: LoadError) -> Fail {
    Fail::Damaged(error.to_string())
}

fn unreadable(error: impl std::error::Error) -> Fail {
    Fail::Damaged(error.to_string())
}
