//! Keys of the services: versions, compare-and-set, shares.

use redb::ReadableTable;
use serde_json::Value;
use store_api::{Change, Refusal};

use super::batch::{Batch, Fail, Notice};

/// The longest key.
pub(crate) const KEY_MAX_BYTES: usize = 256;
/// The longest value, as JSON text.
pub(crate) const VALUE_MAX_BYTES: usize = 64 << 10;
/// Keys of one service.
pub(crate) const KEYS_MAX: u64 = 4096;
/// Keys and values of one service.
pub(crate) const BYTES_MAX: u64 = 2 << 20;

impl Batch<'_> {
    /// Writes a key; returns its new version.
    pub fn put(
        &mut self,
        service: &str,
        key: &str,
        value: Value,
        expected: Option<u64>,
    ) -> Result<u64, Fail> {
        check_key(key)?;
        let text = value.to_string();
        if text.len() > VALUE_MAX_BYTES {
            return Err(too_large("value", text.len(), VALUE_MAX_BYTES).into());
        }
        let old = self.find(service, key, expected)?;
        let (keys, bytes) = self.share(service)?;
        let (keys, bytes) = match old {
            Some((_, old)) => (keys, bytes - old),
            None => (keys + 1, bytes),
        };
        let bytes = bytes + size(key, &text);
        for (what, used, limit) in [("keys", keys, KEYS_MAX), ("bytes", bytes, BYTES_MAX)] {
            if used > limit {
                let what = what.into();
                return Err(Refusal::QuotaExceeded { what, limit }.into());
            }
        }
        self.is_dirty = true;
        let version = self.next_revision()?;
        self.state
            .insert((service, key), (version, text.as_str()))?;
        self.usage.insert(service, (keys, bytes))?;
        self.tell(service, key, Some(value), version);
        Ok(version)
    }

    /// Deletes a key; returns whether there was one.
    pub fn delete(
        &mut self,
        service: &str,
        key: &str,
        expected: Option<u64>,
    ) -> Result<bool, Fail> {
        check_key(key)?;
        let Some((_, size)) = self.find(service, key, expected)? else {
            return Ok(false);
        };
        self.is_dirty = true;
        let version = self.next_revision()?;
        let (keys, bytes) = self.share(service)?;
        self.state.remove((service, key))?;
        self.usage.insert(service, (keys - 1, bytes - size))?;
        self.tell(service, key, None, version);
        Ok(true)
    }

    /// The version and size of what `key` holds now.
    fn find(
        &self,
        service: &str,
        key: &str,
        expected: Option<u64>,
    ) -> Result<Option<(u64, u64)>, Fail> {
        let old = self.state.get((service, key))?.map(|old| {
            let (version, text) = old.value();
            (version, size(key, text))
        });
        let version = old.map_or(0, |(version, _)| version);
        match expected {
            Some(expected) if expected != version => Err(Refusal::Conflict {
                key: key.into(),
                version,
            }
            .into()),
            _ => Ok(old),
        }
    }

    fn share(&self, service: &str) -> Result<(u64, u64), Fail> {
        Ok(self.usage.get(service)?.map_or((0, 0), |used| used.value()))
    }

    fn tell(&mut self, service: &str, key: &str, value: Option<Value>, version: u64) {
        self.notices.push(Notice::State {
            service: service.into(),
            change: Change {
                key: key.into(),
                value,
                version,
            },
        });
    }
}

/// Keys are readable wherever they are shown.
pub(crate) fn check_key(key: &str) -> Result<(), Refusal> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > KEY_MAX_BYTES {
        "it is longer than 256 bytes"
    } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        "it has something else than printable ASCII without spaces"
    } else {
        return Ok(());
    };
    Err(Refusal::BadKey {
        key: key.chars().take(64).collect(),
        reason: reason.into(),
    })
}

pub(super) fn size(key: &str, text: &str) -> u64 {
    (key.len() + text.len()) as u64
}

pub(super) fn too_large(what: &str, bytes: usize, limit: usize) -> Refusal {
    Refusal::TooLarge {
        what: what.into(),
        bytes: bytes as u64,
        limit: limit as u64,
    }
}
