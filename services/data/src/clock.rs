//! Keeps the time over a power-off, for machines whose clock forgets it: the clock never starts
//! before the last moment at which this system was seen running.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec};

use crate::file;

/// 2100-01-01: whatever claims to be later is damaged.
const LATEST_S: u64 = 4_102_444_800;

/// Parses the content of the clock file: seconds since 1970.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    let right = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = right.then(|| text.parse().ok())??;
    (seconds < LATEST_S).then_some(seconds)
}

/// Sets the clock forward to the stored time if it is behind, and says by how much.
///
/// # Errors
/// When there is no usable stored time, or the clock cannot be set.
pub fn raise(path: &Path) -> io::Result<Option<Duration>> {
    let stored = parse(&file::read(path, 32)?)
        .ok_or_else(|| io::Error::other("it holds no time this system could have stored"))?;
    let floor = Duration::from_secs(stored);
    match floor.checked_sub(now()) {
        Some(behind) if !behind.is_zero() => {
            rustix::time::clock_settime(
                ClockId::Realtime,
                Timespec::try_from(floor).expect("a time before 2100"),
            )?;
            Ok(Some(behind))
        }
        _ => Ok(None),
    }
}

/// Stores the present time. A clock that was set back stores the earlier time: it was wrong before.
///
/// # Errors
/// Those of the file system.
pub fn store(path: &Path) -> io::Result<()> {
    // Ten digits, so that the length stays the same and a full disk can still take it.
    file::replace(path, format!("{:010}\n", now().as_secs()).as_bytes(), 0o644)
}

/// Time since 1970.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stores_what_it_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        store(&path).unwrap();
        let stored = parse(&std::fs::read(&path).unwrap()).unwrap();
        assert!(now().as_secs() - stored < 60);
        // The clock of the test machine is not behind, so nothing is set.
        assert_eq!(raise(&path).unwrap(), None);
    }

    #[test]
    fn refuses_what_cannot_be_a_time() {
        for text in ["", "-5", "+5", "9999999999", "1e9", "17000000000", "12 34"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_give_a_late_time(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(parse(&bytes).is_none_or(|seconds| seconds < LATEST_S));
        }
    }
}
