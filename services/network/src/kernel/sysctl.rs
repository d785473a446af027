//! Settings in `/proc/sys`. `CAP_NET_ADMIN` suffices for those below `net`.

use std::fs;
use std::io;
use std::path::Path;

/// The value, or `None` where there is no such setting.
pub(super) fn read(path: &str) -> Option<String> {
    let value = fs::read_to_string(Path::new(ROOT).join(path)).ok()?;
    // `ip_local_port_range` and its like are written with blanks and read with tabs.
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

pub(super) fn write(path: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new(ROOT).join(path), value)
}

const ROOT: &str = "/proc/sys";
