use redb::{ReadableTable, Table, WriteTransaction};
use serde_json::{Map, Value};
use store_api::{Change, Refusal};

use super::{
    Appended, CHECKPOINT, COMPATIBLE, EVENTS, FORMAT, GENERATIONS, IMPORTS, MACHINE, META, STATE,
    TEXTS, USAGE,
};
use crate::core::Now;
use crate::event::Hash;

/// The moment of a batch.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Boot and boot time.
    pub now: Now,
    /// Milliseconds since 1970.
    pub time_ms: i64,
}

/// One write transaction: everything in it becomes durable together.
pub struct Batch<'t> {
    pub(super) stamp: &'t Stamp,
    pub(super) meta: Table<'t, &'static str, u64>,
    pub(super) state: Table<'t, (&'static str, &'static str), (u64, &'static str)>,
    pub(super) usage: Table<'t, &'static str, (u64, u64)>,
    pub(super) events: Table<'t, u64, &'static [u8]>,
    pub(super) checkpoint: Table<'t, &'static str, (u64, &'static Hash)>,
    pub(super) generations: Table<'t, u64, &'static str>,
    pub(super) texts: Table<'t, u64, &'static str>,
    pub(super) machine: Table<'t, &'static str, &'static str>,
    pub(super) imports: Table<'t, &'static str, u64>,
    pub(super) notices: Vec<Notice>,
    pub(super) is_dirty: bool,
}

/// What others have to be told once it is durable.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A key of a service changed.
    State { service: String, change: Change },
    /// An event was recorded.
    Event(Appended),
    /// The state of all services was replaced.
    Restored,
    /// Another generation applies, or the pending one was confirmed.
    Configuration,
}

/// Why a part of a batch was not done.
#[derive(Debug, thiserror::Error)]
pub enum Fail {
    /// The caller's fault: the rest of the batch goes on, and this part wrote nothing.
    #[error("refused")]
    Refused(#[source] Refusal),
    /// The disk's fault: nothing of the batch is kept.
    #[error("the disk failed")]
    Storage(#[source] Box<redb::Error>),
    /// What lies in the store makes no sense: nothing of the batch is kept.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

impl From<Box<redb::Error>> for Fail {
    fn from(error: Box<redb::Error>) -> Self {
        Self::Storage(error)
    }
}

impl From<redb::StorageError> for Fail {
    fn from(error: redb::StorageError) -> Self {
        Self::Storage(super::boxed(error))
    }
}

impl From<Refusal> for Fail {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl<'t> Batch<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        stamp: &'t Stamp,
    ) -> Result<Self, Box<redb::Error>> {
        let open = || -> Result<Self, redb::TableError> {
            Ok(Self {
                stamp,
                meta: transaction.open_table(META)?,
                state: transaction.open_table(STATE)?,
                usage: transaction.open_table(USAGE)?,
                events: transaction.open_table(EVENTS)?,
                checkpoint: transaction.open_table(CHECKPOINT)?,
                generations: transaction.open_table(GENERATIONS)?,
                texts: transaction.open_table(TEXTS)?,
                machine: transaction.open_table(MACHINE)?,
                imports: transaction.open_table(IMPORTS)?,
                notices: Vec::new(),
                is_dirty: false,
            })
        };
        open().map_err(super::boxed)
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// What others have to be told after the commit.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Makes a new store usable, and ends what another boot left unconfirmed.
    pub(super) fn prepare(&mut self) -> Result<(), Fail> {
        if self.counter("format")? < FORMAT {
            self.is_dirty = true;
            self.meta.insert("format", FORMAT)?;
            self.meta.insert("compatible", COMPATIBLE)?;
        }
        self.prepare_configuration()
    }

    pub(super) fn counter(&self, name: &'static str) -> Result<u64, Fail> {
        Ok(self.meta.get(name)?.map_or(0, |number| number.value()))
    }

    /// A number that was never used before.
    pub(super) fn next_revision(&mut self) -> Result<u64, Fail> {
        let revision = self.counter("revision")? + 1;
        self.meta.insert("revision", revision)?;
        Ok(revision)
    }

    /// Records what the store itself did.
    pub fn note(&mut self, kind: &str, payload: Map<String, Value>) -> Result<(), Fail> {
        self.record("store", kind, payload).map(drop)
    }
}
