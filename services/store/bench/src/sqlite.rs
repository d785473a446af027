use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;

use crate::contest::{Contest, Figures, key, value};

const BUSY: Duration = Duration::from_secs(30);

/// SQLite with an empty file, at its most durable with a write-ahead log.
pub(crate) fn measure(folder: &Path, contest: Contest) -> Result<Figures> {
    let folder = tempfile::tempdir_in(folder).context("make a folder")?;
    let path = folder.path().join("sqlite.db");
    let table = "CREATE TABLE state (service TEXT, key TEXT, version INTEGER, value TEXT,
                 PRIMARY KEY (service, key)) WITHOUT ROWID";
    open(&path)?.execute_batch(table)?;
    contest.run(|| {
        let connection = open(&path)?;
        Ok(move |caller: usize, number: u64| {
            // One statement is one transaction; it takes the lock for writing at once.
            let mut statement = connection.prepare_cached(
                "INSERT INTO state VALUES ('bench', ?1, 1, ?2)
                 ON CONFLICT DO UPDATE SET value = excluded.value, version = version + 1",
            )?;
            statement.execute((key(caller, number), value(number).to_string()))?;
            Ok(())
        })
    })
}

fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    ensure!(mode == "wal", "SQLite's journal is {mode}");
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}
