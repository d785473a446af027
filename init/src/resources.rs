//! What a service's processes used, as its control group counts it.

use std::os::fd::BorrowedFd;

use api::Resources;
use rustix::fs::{Mode, OFlags, openat};

/// Longer than any of the files, `io.stat` with a few disks included.
const FILE_BYTES: usize = 4096;

/// Reads the counters of a group. A kernel without a controller counts nothing there.
pub(crate) fn read(group: BorrowedFd<'_>) -> Resources {
    let mut bytes = [0; FILE_BYTES];
    let mut text = |name: &str| -> String {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(group, name, flags, Mode::empty());
        let length = file.and_then(|file| rustix::io::read(file, &mut bytes));
        String::from_utf8_lossy(&bytes[..length.unwrap_or(0)]).into_owned()
    };
    let number = |text: String| text.trim().parse().unwrap_or(0);
    let io = text("io.stat");
    Resources {
        cpu_us: field(&text("cpu.stat"), "usage_usec"),
        memory_bytes: number(text("memory.current")),
        memory_peak_bytes: number(text("memory.peak")),
        io_read_bytes: sum(&io, "rbytes="),
        io_write_bytes: sum(&io, "wbytes="),
        tasks: number(text("pids.current")),
        oom_kills: field(&text("memory.events"), "oom_kill"),
    }
}

/// How often limits were felt, by the kernel's names for them; those that never were are left out.
pub(crate) fn limits_felt(group: BorrowedFd<'_>) -> Vec<(&'static str, u64)> {
    const COUNTERS: [(&str, &str, &str); 5] = [
        ("memory.high", "memory.events", "high"),
        ("memory.max", "memory.events", "max"),
        ("memory.oom_kill", "memory.events", "oom_kill"),
        ("pids.max", "pids.events", "max"),
        ("cpu.throttled", "cpu.stat", "nr_throttled"),
    ];
    let mut bytes = [0; FILE_BYTES];
    let counters = COUNTERS.iter().map(|(name, file, key)| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(group, *file, flags, Mode::empty());
        let length = file.and_then(|file| rustix::io::read(file, &mut bytes));
        let text = String::from_utf8_lossy(&bytes[..length.unwrap_or(0)]);
        (*name, field(&text, key))
    });
    counters.filter(|(_, count)| *count > 0).collect()
}

/// The value behind a key, one pair per line.
fn field(text: &str, key: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

/// The values of a key over all devices.
fn sum(text: &str, key: &str) -> u64 {
    let words = text.split_ascii_whitespace();
    let values = words.filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
    values.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_among_others() {
        let cpu = "usage_usec 1234\nuser_usec 1000\n";
        assert_eq!(field(cpu, "usage_usec"), 1234);
        let memory = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(memory, "oom_kill"), 2);
        let io = "254:0 rbytes=10 wbytes=1 rios=1\n254:16 rbytes=5 wbytes=2 rios=1\n";
        assert_eq!((sum(io, "rbytes="), sum(io, "wbytes=")), (15, 3));
        assert_eq!(sum("", "rbytes="), 0);
    }
}
