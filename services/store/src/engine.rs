//! The database: its tables, how it is opened, and the one way to write to it.
//!
//! Every write is a transaction in two phases with quick repair: after a power cut the file opens at
//! its last commit without being searched (`redb::WriteTransaction::set_two_phase_commit`).

mod batch;
mod configuration;
mod events;
mod load;
mod read;
mod state;

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, StorageBackend, StorageError,
    TableDefinition,
};

pub use batch::{Batch, Fail, Notice, Stamp};
pub use configuration::Proposal;
pub(crate) use configuration::{BUILT_IN, object};
pub use events::Appended;
pub(crate) use events::event;
pub use load::{Item, LoadError};
pub use read::{Fill, View};

use crate::event::Hash;

/// What this version writes.
pub(crate) const FORMAT: u64 = 1;
/// The oldest version of this program that can work with what this one writes. New tables leave it
/// alone, so that the slot before an update still can; see `docs/adr-0002-formats.md`.
pub(crate) const COMPATIBLE: u64 = 1;
/// Pages kept in memory; redb's default is 1 GiB.
const CACHE_BYTES: usize = 8 << 20;

/// Numbers of the store itself: `format`, `compatible`, `revision`, `events_bytes`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Service and key; version and JSON text.
const STATE: TableDefinition<'_, (&str, &str), (u64, &str)> = TableDefinition::new("state");
/// Keys and bytes of each service.
const USAGE: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("usage");
/// Records as in [`crate::event`].
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// `tail`: sequence and hash of the last record that was dropped.
const CHECKPOINT: TableDefinition<'_, &str, (u64, &Hash)> = TableDefinition::new("checkpoint");
/// [`store_api::Generation`] as JSON.
const GENERATIONS: TableDefinition<'_, u64, &str> = TableDefinition::new("generations");
/// Their documents.
const TEXTS: TableDefinition<'_, u64, &str> = TableDefinition::new("texts");
/// `machine`: [`crate::core::Machine`] as JSON.
const MACHINE: TableDefinition<'_, &str, &str> = TableDefinition::new("machine");
/// SHA-256 of each document that provisioning brought.
const IMPORTS: TableDefinition<'_, &str, u64> = TableDefinition::new("imports");

/// An open store.
#[derive(Debug)]
pub struct Engine {
    database: Database,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its content makes no sense.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Written by a later version that this one cannot follow.
    #[error(
        "the store is of format {0}, and this version reads up to {FORMAT}: boot the newer slot"
    )]
    Future(u64),
    /// Another process has it.
    #[error("another process has the store open")]
    Locked,
    /// The disk failed, or its content cannot be told from a failure.
    #[error("the store cannot be read")]
    Storage(#[source] Box<redb::Error>),
}

impl Engine {
    /// Opens what is there, or makes a new store with the first generation in it.
    ///
    /// # Errors
    /// When it cannot be used; it is unchanged then.
    pub fn open(backend: impl StorageBackend, stamp: &Stamp) -> Result<Self, OpenError> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            // A page that was damaged since it was written makes redb panic otherwise.
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)?;
        let engine = Self { database };
        check_format(&engine.database)?;
        engine
            .write(stamp, |batch| batch.prepare())
            .map_err(|error| match error {
                Fail::Storage(error) => OpenError::Storage(error),
                Fail::Refused(refusal) => OpenError::Damaged(refusal.to_string()),
                Fail::Damaged(reason) => OpenError::Damaged(reason),
            })?;
        Ok(engine)
    }

    /// A consistent view of everything, as of the last commit.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn view(&self) -> Result<View, Box<redb::Error>> {
        let transaction = self.database.begin_read().map_err(boxed)?;
        Ok(View::new(transaction))
    }

    /// One durable transaction. Nothing of it is kept when `work` fails.
    ///
    /// # Errors
    /// What `work` fails with, or when the disk fails.
    pub fn write<T>(
        &self,
        stamp: &Stamp,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, Fail>,
    ) -> Result<T, Fail> {
        let mut transaction = self.database.begin_write().map_err(boxed)?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(boxed)?;
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(true);
        let mut batch = Batch::open(&transaction, stamp)?;
        let outcome = work(&mut batch)?;
        let is_dirty = batch.is_dirty();
        drop(batch);
        if is_dirty {
            transaction.commit().map_err(boxed)?;
        } else {
            transaction.abort().map_err(boxed)?;
        }
        Ok(outcome)
    }
}

/// Before anything is written: a store of the future stays as it is.
fn check_format(database: &impl ReadableDatabase) -> Result<(), OpenError> {
    let storage = |error: redb::Error| OpenError::Storage(Box::new(error));
    let transaction = database.begin_read().map_err(|e| storage(e.into()))?;
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(storage(error.into())),
    };
    let compatible = redb::ReadableTable::get(&table, "compatible");
    match compatible.map_err(|e| storage(e.into()))? {
        Some(compatible) if compatible.value() > FORMAT => {
            Err(OpenError::Future(compatible.value()))
        }
        _ => Ok(()),
    }
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked,
            DatabaseError::Storage(StorageError::Corrupted(reason)) => Self::Damaged(reason),
            DatabaseError::Storage(StorageError::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Damaged(error.to_string())
            }
            DatabaseError::RepairAborted => Self::Damaged("it cannot be repaired".into()),
            DatabaseError::UpgradeRequired(version) => {
                Self::Damaged(format!("it has redb's file format {version}"))
            }
            other => Self::Storage(boxed(other)),
        }
    }
}

/// redb's errors are large, and rare.
fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

#[cfg(test)]
mod tests;
