//! The whole store as a file: lines of JSON, encrypted with a passphrase where it leaves the
//! appliance (`age -d FILE` reads it anywhere), plain where it stays on DATA as a snapshot.
//!
//! The first line says what it is, each further one holds one [`Item`], and the last one has the
//! SHA-256 of all bytes before it: a file that was cut off, however neatly, is refused.

mod crypt;
mod file;

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store_api::BackupSummary;

use crate::core::Machine;
use crate::engine::{Item, LoadError, View};
use crate::event::{Hash, hex};

pub(crate) use crypt::encrypt_quickly;
pub use crypt::{CryptError, decrypt, encrypt};
pub use file::{Content, ReadError, check, items};

const FORMAT: &str = "x0tta6bl4 store";
const VERSION: u32 = 1;
/// A document of 1 MiB, escaped.
const LINE_MAX_BYTES: u64 = 8 << 20;
/// Far more than a store can hold.
pub(crate) const FILE_MAX_BYTES: u64 = 128 << 20;

/// A line of the file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Store(Header),
    Item(Item),
    End { lines: u64, sha256: String },
}

/// What a file says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Header {
    format: String,
    version: u32,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Of which machine.
    pub hostname: String,
}

impl Header {
    /// Of a file that is made now.
    #[must_use]
    pub fn new(created_ms: i64, hostname: String) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            created_ms,
            hostname,
        }
    }
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file.
    #[error("the copy cannot be written")]
    File(#[from] io::Error),
    /// The store.
    #[error("the store cannot be read")]
    Store(#[from] Box<redb::Error>),
}

/// Writes everything in `view`.
///
/// # Errors
/// When reading or writing fails.
pub fn write(view: &View, header: Header, file: &mut impl Write) -> Result<(), WriteError> {
    let mut digest = Sha256::new();
    let mut lines = 0;
    let mut put = |line: &Line, digest: &mut Sha256| -> Result<(), WriteError> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
        text.push(b'\n');
        digest.update(&text);
        lines += 1;
        Ok(file.write_all(&text)?)
    };
    put(&Line::Store(header), &mut digest)?;
    view.items(|item| put(&Line::Item(item), &mut digest))?;
    let hash: Hash = digest.clone().finalize().into();
    let end = Line::End {
        lines,
        sha256: hex(&hash),
    };
    let mut text = serde_json::to_vec(&end).map_err(io::Error::other)?;
    text.push(b'\n');
    Ok(file.write_all(&text)?)
}
