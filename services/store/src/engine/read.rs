//! Reading, as of the last commit. Readers never wait for the writer.

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde_json::Value;
use store_api::{Entry, Generation, Verdict};

use super::load::Item;
use super::{CHECKPOINT, EVENTS, GENERATIONS, IMPORTS, MACHINE, META, STATE, TEXTS, USAGE, boxed};
use crate::core::Machine;
use crate::event::{Hash, Record, hex};

type Result<T> = std::result::Result<T, Box<redb::Error>>;

/// How much one reply may hold.
const REPLY_MAX_BYTES: usize = 1 << 20;

/// Everything, as of one commit.
#[derive(Debug)]
pub struct View {
    transaction: ReadTransaction,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill {
    pub state_keys: u64,
    pub state_bytes: u64,
    pub events: u64,
    pub events_bytes: u64,
    pub first_event: u64,
    pub last_event: u64,
}

impl View {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self { transaction }
    }

    /// One key of a service.
    pub fn get(&self, service: &str, key: &str) -> Result<Option<Entry>> {
        let entry = self.table(STATE)?.get((service, key)).map_err(boxed)?;
        Ok(entry.map(|entry| {
            let (version, text) = entry.value();
            self::entry(key, version, text)
        }))
    }

    /// Keys that begin with `prefix`, after `after`, until a reply is full; and the last of them
    /// when there are more.
    pub fn list(
        &self,
        service: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<(Vec<Entry>, Option<String>)> {
        let table = self.table(STATE)?;
        let start = after.map_or(prefix, |after| after.max(prefix));
        let mut entries = Vec::new();
        let mut bytes = 0;
        for item in table.range((service, start)..).map_err(boxed)? {
            let (place, entry) = item.map_err(boxed)?;
            let (owner, key) = place.value();
            if owner != service || !key.starts_with(prefix) {
                break;
            }
            if after.is_some_and(|after| key <= after) {
                continue;
            }
            if bytes > REPLY_MAX_BYTES {
                let next = entries.last().map(|entry: &Entry| entry.key.clone());
                return Ok((entries, next));
            }
            let (version, text) = entry.value();
            bytes += key.len() + text.len();
            entries.push(self::entry(key, version, text));
        }
        Ok((entries, None))
    }

    /// Records after `after` that `wanted` takes, oldest first; or the last ones.
    pub fn events(
        &self,
        after: Option<u64>,
        limit: usize,
        mut wanted: impl FnMut(&Record) -> bool,
    ) -> Result<Vec<(Record, Hash)>> {
        let table = self.table(EVENTS)?;
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut take = |data: &[u8]| {
            if let Ok((record, hash)) = Record::decode(data)
                && wanted(&record)
            {
                bytes += data.len();
                found.push((record, hash));
            }
            found.len() < limit && bytes < REPLY_MAX_BYTES
        };
        match after {
            Some(after) => {
                for item in table.range(after.saturating_add(1)..).map_err(boxed)? {
                    if !take(item.map_err(boxed)?.1.value()) {
                        break;
                    }
                }
            }
            None => {
                for item in table.iter().map_err(boxed)?.rev() {
                    if !take(item.map_err(boxed)?.1.value()) {
                        break;
                    }
                }
                found.reverse();
            }
        }
        Ok(found)
    }

    /// Recomputes the hash chain.
    pub fn verify(&self) -> Result<Verdict> {
        let (mut last, mut hash) = self.tail()?;
        let mut verdict = Verdict {
            first: last + 1,
            last,
            head: String::new(),
            bad_sequence: None,
            reason: None,
        };
        for item in self.table(EVENTS)?.iter().map_err(boxed)? {
            let (sequence, bytes) = item.map_err(boxed)?;
            let checked = if sequence.value() == last + 1 {
                Record::verify(bytes.value(), &hash, last + 1).map_err(|error| error.to_string())
            } else {
                Err("it is missing".to_owned())
            };
            match checked {
                Ok((_, next)) => (last, hash) = (last + 1, next),
                Err(reason) => {
                    verdict.bad_sequence = Some(last + 1);
                    verdict.reason = Some(reason);
                    break;
                }
            }
        }
        verdict.last = last;
        verdict.head = hex(&hash);
        Ok(verdict)
    }

    /// Which generation applies; None where that cannot be read.
    pub fn machine(&self) -> Result<Option<Machine>> {
        let text = self.table(MACHINE)?.get("machine").map_err(boxed)?;
        Ok(text.and_then(|text| serde_json::from_str(text.value()).ok()))
    }

    /// A generation and its document.
    pub fn generation(&self, number: u64) -> Result<Option<(Generation, String)>> {
        let Some(generation) = self.table(GENERATIONS)?.get(number).map_err(boxed)? else {
            return Ok(None);
        };
        let text = self.table(TEXTS)?.get(number).map_err(boxed)?;
        let generation = serde_json::from_str(generation.value()).ok();
        Ok(generation.zip(text.map(|text| text.value().to_owned())))
    }

    /// Generations before `before`, newest first.
    pub fn history(&self, before: Option<u64>, limit: usize) -> Result<Vec<Generation>> {
        let table = self.table(GENERATIONS)?;
        let older = table
            .range(..before.unwrap_or(u64::MAX))
            .map_err(boxed)?
            .rev();
        let mut generations = Vec::new();
        for item in older.take(limit) {
            let (_, text) = item.map_err(boxed)?;
            generations.extend(serde_json::from_str::<Generation>(text.value()));
        }
        Ok(generations)
    }

    /// The last version that was given.
    pub fn revision(&self) -> Result<u64> {
        self.counter("revision")
    }

    /// How full the store is.
    pub fn fill(&self) -> Result<Fill> {
        let mut fill = Fill::default();
        for item in self.table(USAGE)?.iter().map_err(boxed)? {
            let (keys, bytes) = item.map_err(boxed)?.1.value();
            fill.state_keys += keys;
            fill.state_bytes += bytes;
        }
        let events = self.table(EVENTS)?;
        fill.events = events.len().map_err(boxed)?;
        let first = events.first().map_err(boxed)?;
        fill.first_event = first.map_or(0, |(sequence, _)| sequence.value());
        let last = events.last().map_err(boxed)?;
        fill.last_event = last.map_or(0, |(sequence, _)| sequence.value());
        fill.events_bytes = self.counter("events_bytes")?;
        Ok(fill)
    }

    /// Everything, for a backup.
    pub fn items<E: From<Box<redb::Error>>>(
        &self,
        mut take: impl FnMut(Item) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        take(Item::Revision(self.counter("revision")?))?;
        for item in self.table(STATE)?.iter().map_err(boxed)? {
            let (place, entry) = item.map_err(boxed)?;
            let (service, key) = place.value();
            let (version, text) = entry.value();
            take(Item::State {
                service: service.into(),
                key: key.into(),
                version,
                value: serde_json::from_str(text).unwrap_or(Value::Null),
            })?;
        }
        let (sequence, hash) = self.tail()?;
        let hash = hex(&hash);
        take(Item::Checkpoint { sequence, hash })?;
        for item in self.table(EVENTS)?.iter().map_err(boxed)? {
            let (_, bytes) = item.map_err(boxed)?;
            if let Ok((record, hash)) = Record::decode(bytes.value()) {
                take(Item::event(record, &hash))?;
            }
        }
        if let Some(machine) = self.machine()? {
            take(Item::Machine(machine))?;
        }
        for item in self.table(TEXTS)?.iter().map_err(boxed)? {
            let (number, _) = item.map_err(boxed)?;
            if let Some((generation, text)) = self.generation(number.value())? {
                take(Item::Generation { generation, text })?;
            }
        }
        for item in self.table(IMPORTS)?.iter().map_err(boxed)? {
            let (sha256, generation) = item.map_err(boxed)?;
            take(Item::Import {
                sha256: sha256.value().into(),
                generation: generation.value(),
            })?;
        }
        Ok(())
    }

    fn tail(&self) -> Result<(u64, Hash)> {
        let tail = self.table(CHECKPOINT)?.get("tail").map_err(boxed)?;
        Ok(tail.map_or((0, [0; 32]), |tail| {
            let (sequence, hash) = tail.value();
            (sequence, *hash)
        }))
    }

    fn counter(&self, name: &str) -> Result<u64> {
        let number = self.table(META)?.get(name).map_err(boxed)?;
        Ok(number.map_or(0, |number| number.value()))
    }

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<ReadOnlyTable<K, V>> {
        self.transaction.open_table(definition).map_err(boxed)
    }
}

fn entry(key: &str, version: u64, text: &str) -> Entry {
    Entry {
        key: key.into(),
        value: serde_json::from_str(text).unwrap_or(Value::Null),
        version,
    }
}
