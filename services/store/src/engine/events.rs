//! The event log: appending, and dropping its beginning.

use redb::{ReadableTable, ReadableTableMetadata};
use serde_json::{Map, Value};
use store_api::{Event, Refusal};

use super::batch::{Batch, Fail, Notice};
use super::state::too_large;
use crate::event::{Hash, KIND_MAX_BYTES, PAYLOAD_MAX_BYTES, Record, hex};

/// Records that are kept.
pub(crate) const EVENTS_MAX: u64 = 20_000;
/// Bytes that are kept.
pub(crate) const EVENTS_MAX_BYTES: u64 = 8 << 20;

/// A record that was just written.
#[derive(Clone, Debug)]
pub struct Appended {
    pub(crate) record: Record,
    pub(crate) hash: Hash,
}

impl Appended {
    /// As callers see it.
    #[must_use]
    pub fn event(&self) -> Event {
        event(&self.record, &self.hash)
    }
}

impl Batch<'_> {
    /// Appends to the log; returns the record's sequence number.
    pub fn record(
        &mut self,
        service: &str,
        kind: &str,
        payload: Map<String, Value>,
    ) -> Result<u64, Fail> {
        check_kind(kind)?;
        let payload = Value::Object(payload).to_string();
        if payload.len() > PAYLOAD_MAX_BYTES {
            return Err(too_large("payload", payload.len(), PAYLOAD_MAX_BYTES).into());
        }
        self.is_dirty = true;
        let (last, before) = self.head()?;
        let record = Record {
            sequence: last + 1,
            time_ms: self.stamp.time_ms,
            boottime_ms: self.stamp.now.boottime_ms,
            boot: self.stamp.now.boot.clone(),
            service: service.into(),
            kind: kind.into(),
            payload,
        };
        let (bytes, hash) = record.encode(&before);
        self.events.insert(record.sequence, bytes.as_slice())?;
        let total = self.counter("events_bytes")? + bytes.len() as u64;
        self.prune(total)?;
        let sequence = record.sequence;
        self.notices.push(Notice::Event(Appended { record, hash }));
        Ok(sequence)
    }

    /// Sequence and hash of the newest record.
    fn head(&self) -> Result<(u64, Hash), Fail> {
        if let Some((sequence, bytes)) = self.events.last()? {
            let hash = bytes.value().last_chunk().copied();
            let hash = hash.ok_or_else(|| Fail::Damaged("the newest event is cut off".into()))?;
            return Ok((sequence.value(), hash));
        }
        let tail = self.checkpoint.get("tail")?;
        Ok(tail.map_or((0, [0; 32]), |tail| {
            let (sequence, hash) = tail.value();
            (sequence, *hash)
        }))
    }

    /// Drops the oldest records. The last one's hash is kept: the chain goes on from there.
    fn prune(&mut self, mut total: u64) -> Result<(), Fail> {
        while total > EVENTS_MAX_BYTES || self.events.len()? > EVENTS_MAX {
            let dropped = self.events.pop_first()?.map(|(sequence, bytes)| {
                let bytes = bytes.value();
                let hash: Hash = bytes.last_chunk().copied().unwrap_or_default();
                (sequence.value(), bytes.len() as u64, hash)
            });
            let Some((sequence, bytes, hash)) = dropped else {
                break;
            };
            total = total.saturating_sub(bytes);
            self.checkpoint.insert("tail", (sequence, &hash))?;
        }
        self.meta.insert("events_bytes", total)?;
        Ok(())
    }
}

/// Kinds are words with dots between them.
pub(crate) fn check_kind(kind: &str) -> Result<(), Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if kind.is_empty() || kind.len() > KIND_MAX_BYTES || !kind.bytes().all(plain) {
        return Err(Refusal::BadParameter {
            parameter: "kind".into(),
            reason: "1 to 64 letters, digits, `.`, `_` and `-`".into(),
        });
    }
    Ok(())
}

pub(crate) fn event(record: &Record, hash: &Hash) -> Event {
    // It was an object when it was written; whatever else is there now is shown as it is.
    let payload = match serde_json::from_str(&record.payload) {
        Ok(Value::Object(payload)) => payload,
        _ => Map::from_iter([("unreadable".into(), record.payload.clone().into())]),
    };
    Event {
        sequence: record.sequence,
        time_ms: record.time_ms,
        boottime_ms: record.boottime_ms,
        boot: record.boot.clone(),
        service: record.service.clone(),
        kind: record.kind.clone(),
        payload,
        hash: hex(hash),
    }
}
