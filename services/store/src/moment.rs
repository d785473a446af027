//! The clocks.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::core::Now;
use crate::engine::Stamp;

/// Now, in this boot.
pub(crate) fn stamp() -> Stamp {
    Stamp {
        now: Now {
            boot: boot().to_owned(),
            boottime_ms: boottime_ms(),
        },
        time_ms: time_ms(),
    }
}

/// `CLOCK_BOOTTIME`: goes on while the machine sleeps, and is never set.
pub(crate) fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    u64::try_from(Duration::new(seconds, nanoseconds).as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn time_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The kernel's boot id.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        // Without /proc each process counts as a boot of its own: what waits for its confirmation
        // ends then, which is the safe side.
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_else(|_| format!("process-{}-{}", std::process::id(), boottime_ms()))
    })
}
