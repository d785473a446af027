use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::connection::{CallError, ConnectError, Connection, Stream};
use crate::wire::{
    AppliedCall, ApplyCall, BackupCall, BackupReply, BeginEditCall, BeginEditReply, CHUNK_BYTES,
    CancelCall, ConfigurationStatusReply, ConfirmCall, DeleteCall, DeleteReply, EventsCall,
    EventsReply, GenerationCall, GenerationReply, GetCall, GetReply, HistoryCall, HistoryReply,
    ImportCall, ImportReply, ListCall, ListReply, Nothing, NumberReply, PutCall, PutReply,
    RecordCall, RecordReply, RestoreCall, RestoreReply, RollbackCall, SessionCall, StatisticsReply,
    UploadCall, UploadReply, ValidateCall, ValidateReply, VerifyReply, WatchCall, WatchReply,
};
use crate::{
    BackupSummary, Configuration, ConfigurationStatus, Entry, Event, Generation, Problem,
    Statistics, Verdict,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// A connection to the store. Every call has a deadline, 10 s unless [`Client::deadline`] says
/// otherwise. After a call that failed with anything but [`CallError::Refused`], connect again.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only later ones than this sequence number. None: the last `limit`.
    pub after: Option<u64>,
    /// At most so many (when following: at first).
    pub limit: Option<u32>,
    /// Only of this service.
    pub service: Option<String>,
    /// Only of this kind, or of this family: `config` stands for `config.applied` too.
    pub kind: Option<String>,
}

impl From<EventFilter> for EventsCall {
    fn from(filter: EventFilter) -> Self {
        Self {
            after: filter.after,
            limit: filter.limit,
            service: filter.service,
            kind: filter.kind,
        }
    }
}

/// Plumbing.
impl Client {
    /// Connects to the store's socket, usually [`crate::SOCKET`].
    ///
    /// # Errors
    /// When nobody listens there, or the caller may not.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        let connection = Connection::open(path.as_ref(), DEADLINE)?;
        Ok(Self { connection })
    }

    /// Speaks over an open socket.
    #[must_use]
    pub fn over(stream: UnixStream) -> Self {
        let connection = Connection::over(stream, DEADLINE);
        Self { connection }
    }

    /// Sets the deadline of each call.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.connection.deadline = deadline;
        self
    }

    fn void(&mut self, method: &str, parameters: impl Serialize) -> Result<(), CallError> {
        self.connection.call::<Nothing>(method, parameters)?;
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// State: keys of the calling service.
///
/// # Errors
/// Each of these fails when the call fails, or the store refuses.
impl Client {
    /// What `key` holds.
    pub fn get(&mut self, key: &str) -> Result<Option<Entry>, CallError> {
        let call = GetCall { key: key.into() };
        let reply: GetReply = self.connection.call("Get", call)?;
        Ok(reply.entry)
    }

    /// Writes `key`; returns its new version once it is on disk. `expected`: the version that it
    /// has to have, 0 where it must not exist; else [`crate::Refusal::Conflict`].
    pub fn put(
        &mut self,
        key: &str,
        value: &impl Serialize,
        expected: Option<u64>,
    ) -> Result<u64, CallError> {
        let call = PutCall {
            key: key.into(),
            value: serde_json::to_value(value).map_err(CallError::Syntax)?,
            expected,
        };
        let reply: PutReply = self.connection.call("Put", call)?;
        Ok(reply.version)
    }

    /// Deletes `key`; returns whether there was one.
    pub fn delete(&mut self, key: &str, expected: Option<u64>) -> Result<bool, CallError> {
        let key = key.into();
        let reply: DeleteReply = self
            .connection
            .call("Delete", DeleteCall { key, expected })?;
        Ok(reply.existed)
    }

    /// All keys that begin with `prefix`, in their order.
    pub fn list(&mut self, prefix: &str) -> Result<Vec<Entry>, CallError> {
        let mut entries = Vec::new();
        let mut after = None;
        loop {
            let prefix = prefix.into();
            let reply: ListReply = self.connection.call("List", ListCall { prefix, after })?;
            entries.extend(reply.entries);
            after = reply.next;
            if after.is_none() {
                return Ok(entries);
            }
        }
    }

    /// All keys that begin with `prefix`, then each change of one.
    pub fn watch(self, prefix: &str) -> Result<Stream<WatchReply>, CallError> {
        let prefix = prefix.into();
        self.connection.stream("Watch", WatchCall { prefix })
    }
}

/// Events.
///
/// # Errors
/// Each of these fails when the call fails, or the store refuses.
impl Client {
    /// Writes to the event log; returns the record's sequence number once it is on disk.
    pub fn record(&mut self, kind: &str, payload: Map<String, Value>) -> Result<u64, CallError> {
        let kind = kind.into();
        let reply: RecordReply = self
            .connection
            .call("Record", RecordCall { kind, payload })?;
        Ok(reply.sequence)
    }

    /// What was recorded, oldest first. Administrators only, as are the following.
    pub fn events(&mut self, filter: EventFilter) -> Result<Vec<Event>, CallError> {
        let reply: EventsReply = self.connection.call("Events", EventsCall::from(filter))?;
        Ok(reply.events)
    }

    /// What was recorded, then each new one.
    pub fn follow_events(self, filter: EventFilter) -> Result<Stream<EventsReply>, CallError> {
        self.connection.stream("Events", EventsCall::from(filter))
    }

    /// Recomputes the log's hash chain.
    pub fn verify_events(&mut self) -> Result<Verdict, CallError> {
        let reply: VerifyReply = self.connection.call("VerifyEvents", Nothing {})?;
        Ok(reply.verdict)
    }
}

/// Configuration as a service sees it.
///
/// # Errors
/// Each of these fails when the call fails, or the store refuses.
impl Client {
    /// The sections of this service, as they apply now.
    pub fn configuration(&mut self) -> Result<Configuration, CallError> {
        self.connection.call("Configuration", Nothing {})
    }

    /// The sections of this service as they apply now, then again at each change.
    pub fn follow_configuration(self) -> Result<Stream<Configuration>, CallError> {
        self.connection.stream("Configuration", Nothing {})
    }

    /// Says what became of applying a generation: one that failed is cancelled at once.
    pub fn applied(
        &mut self,
        generation: u64,
        outcome: Result<(), String>,
    ) -> Result<(), CallError> {
        let call = AppliedCall {
            generation,
            ok: outcome.is_ok(),
            message: outcome.err(),
        };
        self.void("Applied", call)
    }

    /// Brings a document that a person provisioned. None: it was imported before.
    pub fn import(&mut self, text: &str, source: &str) -> Result<Option<u64>, CallError> {
        let call = ImportCall {
            text: text.into(),
            source: source.into(),
        };
        let reply: ImportReply = self.connection.call("Import", call)?;
        Ok(reply.generation)
    }
}

/// Configuration as an administrator sees it.
///
/// # Errors
/// Each of these fails when the call fails, or the store refuses.
impl Client {
    /// Starts editing; nobody else can until the session ends: with [`Client::end_edit`], with this
    /// connection, or after 30 minutes of rest.
    pub fn begin_edit(&mut self, author: &str) -> Result<BeginEditReply, CallError> {
        let author = author.into();
        self.connection.call("BeginEdit", BeginEditCall { author })
    }

    /// Stops editing.
    pub fn end_edit(&mut self, session: &str) -> Result<(), CallError> {
        let session = session.into();
        self.void("EndEdit", SessionCall { session })
    }

    /// What is wrong with a document: nothing, or all of it.
    pub fn validate(&mut self, text: &str) -> Result<Vec<Problem>, CallError> {
        let text = text.into();
        let reply: ValidateReply = self.connection.call("Validate", ValidateCall { text })?;
        Ok(reply.problems)
    }

    /// Makes a document the next generation, and tells the services.
    pub fn apply(&mut self, call: &ApplyCall) -> Result<u64, CallError> {
        let reply: NumberReply = self.connection.call("Apply", call)?;
        Ok(reply.generation)
    }

    /// Keeps the pending generation.
    pub fn confirm(&mut self, generation: u64, author: &str) -> Result<(), CallError> {
        let author = author.into();
        self.void("Confirm", ConfirmCall { generation, author })
    }

    /// Takes the pending generation back.
    pub fn cancel(&mut self, generation: u64, author: &str, reason: &str) -> Result<(), CallError> {
        let call = CancelCall {
            generation,
            author: author.into(),
            reason: reason.into(),
        };
        self.void("Cancel", call)
    }

    /// Makes a new generation with the text of an old one.
    pub fn rollback(&mut self, call: &RollbackCall) -> Result<u64, CallError> {
        let reply: NumberReply = self.connection.call("Rollback", call)?;
        Ok(reply.generation)
    }

    /// Generations, newest first.
    pub fn history(
        &mut self,
        before: Option<u64>,
        limit: Option<u32>,
    ) -> Result<Vec<Generation>, CallError> {
        let reply: HistoryReply = self
            .connection
            .call("History", HistoryCall { before, limit })?;
        Ok(reply.generations)
    }

    /// One generation with its text.
    pub fn generation(&mut self, number: u64) -> Result<(Generation, String), CallError> {
        let reply: GenerationReply = self
            .connection
            .call("Generation", GenerationCall { number })?;
        Ok((reply.generation, reply.text))
    }

    /// Where the configuration stands.
    pub fn configuration_status(&mut self) -> Result<ConfigurationStatus, CallError> {
        let reply: ConfigurationStatusReply =
            self.connection.call("ConfigurationStatus", Nothing {})?;
        Ok(reply.status)
    }

    /// Where the configuration stands, then again at each change.
    pub fn follow_configuration_status(
        self,
    ) -> Result<Stream<ConfigurationStatusReply>, CallError> {
        self.connection.stream("ConfigurationStatus", Nothing {})
    }
}

/// Maintenance.
///
/// # Errors
/// Each of these fails when the call fails, or the store refuses.
impl Client {
    /// The store in figures.
    pub fn statistics(&mut self) -> Result<Statistics, CallError> {
        let reply: StatisticsReply = self.connection.call("Statistics", Nothing {})?;
        Ok(reply.statistics)
    }

    /// Makes a copy on DATA.
    pub fn snapshot(&mut self) -> Result<(), CallError> {
        self.void("Snapshot", Nothing {})
    }

    /// Writes everything into `file`, encrypted. `wait`: for each chunk.
    pub fn backup(
        self,
        passphrase: &str,
        file: &mut impl Write,
        wait: Duration,
    ) -> Result<u64, BackupError> {
        let passphrase = passphrase.into();
        let mut chunks: Stream<BackupReply> = self
            .connection
            .stream("Backup", BackupCall { passphrase })?;
        let mut bytes = 0;
        while !chunks.is_over() {
            let Some(reply) = chunks.next(wait)? else {
                return Err(CallError::Deadline.into());
            };
            let chunk = BASE64
                .decode(reply.chunk)
                .map_err(|_| BackupError::Encoding)?;
            file.write_all(&chunk).map_err(BackupError::File)?;
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    /// Takes everything from `file`. Replaces nothing before all of it was checked, and nothing at
    /// all with `dry_run`.
    pub fn restore(
        &mut self,
        file: &mut impl Read,
        call: &RestoreCall,
    ) -> Result<(BackupSummary, Option<u64>), BackupError> {
        let mut offset = 0;
        loop {
            let mut chunk = Vec::new();
            file.by_ref()
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut chunk)
                .map_err(BackupError::File)?;
            if chunk.is_empty() && offset > 0 {
                break;
            }
            let chunk = BASE64.encode(&chunk);
            let reply: UploadReply = self
                .connection
                .call("Upload", UploadCall { offset, chunk })?;
            if reply.length == offset {
                break;
            }
            offset = reply.length;
        }
        let reply: RestoreReply = self.connection.call("Restore", call)?;
        Ok((reply.summary, reply.generation))
    }
}

/// Why a backup or its restoration failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store's part.
    #[error("the store did not do it")]
    Call(#[from] CallError),
    /// A chunk is not base64.
    #[error("the store's answer is not base64")]
    Encoding,
    /// The file's part.
    #[error("the backup's file")]
    File(#[source] io::Error),
}
