//! A service's measurements, offered on `metrics.sock` in its runtime directory.
//!
//! There is no protocol: whoever connects gets the whole exposition (OpenMetrics 1.0 text, ended by
//! `# EOF`), and the connection is closed. One small thread serves one connection at a time, so a
//! reader that is slow costs nothing but its own deadline.
//!
//! ```no_run
//! use runtime::metrics::{Counter, Registry};
//!
//! let mut registry = Registry::default();
//! let requests: Counter = Counter::default();
//! registry.register("x0_example_requests", "Requests that were answered", requests.clone());
//! runtime::metrics::serve(registry);
//! requests.inc();
//! ```
//!
//! A family is named `x0_<service>_<what>_<base unit>`; the encoder adds `_total` to counters. The
//! families `process_*` are there without being registered. Labels need no derived type: a
//! `Family<Vec<(&'static str, String)>, Counter>` will do.

mod process;

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

pub use prometheus_client::collector::Collector;
pub use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue};
pub use prometheus_client::metrics::counter::{ConstCounter, Counter};
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
pub use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::{Registry, Unit};

/// The socket's name in the runtime directory.
pub const SOCKET: &str = "metrics.sock";

/// A reader has to take the whole exposition within this time.
const DEADLINE: Duration = Duration::from_secs(1);
/// Reads two files and formats text; the default of 2 MiB would be wasted on it.
const STACK_BYTES: usize = 128 * 1024;

/// Offers what is registered, and the process's own figures, until the process ends.
///
/// Measurements never stop a service: where there is no runtime directory nothing happens, and a
/// failure is one line in the log.
pub fn serve(registry: Registry) {
    let Some(folder) = std::env::var_os("RUNTIME_DIRECTORY") else {
        return;
    };
    if let Err(error) = serve_at(&Path::new(&folder).join(SOCKET), registry) {
        tracing::warn!(%error, "measurements are not offered");
    }
}

/// Like [`serve`], at a path of the caller's choice. A socket that an earlier process left there is
/// replaced.
///
/// # Errors
/// When the socket cannot be made or the thread cannot be started.
pub fn serve_at(path: &Path, mut registry: Registry) -> io::Result<()> {
    registry.register_collector(Box::new(process::Process));
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Figures are no secret within the machine; which folders can be reached is PID 1's decision.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || answer_all(&listener, &registry))?;
    Ok(())
}

fn answer_all(listener: &UnixListener, registry: &Registry) {
    loop {
        match listener.accept() {
            // A reader that left is no news.
            Ok((stream, _)) => drop(answer(stream, registry)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a reader of measurements");
                // Out of descriptors or memory: neither comes back at once.
                std::thread::sleep(DEADLINE);
            }
        }
    }
}

fn answer(mut stream: UnixStream, registry: &Registry) -> io::Result<()> {
    let mut text = String::with_capacity(4096);
    prometheus_client::encoding::text::encode(&mut text, registry).map_err(io::Error::other)?;
    let deadline = Instant::now() + DEADLINE;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        let count = stream.write(rest)?;
        rest = &rest[count..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn read(path: &Path) -> String {
        let mut text = String::new();
        let mut stream = UnixStream::connect(path).unwrap();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn offers_what_is_registered_and_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        std::fs::write(&path, "left by an earlier process").unwrap();
        let mut registry = Registry::default();
        let requests: Counter = Counter::default();
        registry.register("x0_test_requests", "Requests", requests.clone());
        serve_at(&path, registry).unwrap();
        requests.inc();
        let text = read(&path);
        assert!(text.contains("\nx0_test_requests_total 1\n"), "{text}");
        assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        requests.inc();
        assert!(read(&path).contains("\nx0_test_requests_total 2\n"));
    }

    #[test]
    fn a_reader_that_does_not_read_holds_others_up_for_its_deadline_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        let mut registry = Registry::default();
        // More than a socket's buffer takes.
        registry.register("x0_test_big", "x".repeat(1 << 20), Gauge::<i64>::default());
        serve_at(&path, registry).unwrap();
        let begin = Instant::now();
        let _lazy = UnixStream::connect(&path).unwrap();
        assert!(read(&path).ends_with("# EOF\n"));
        assert!(begin.elapsed() < 10 * DEADLINE);
    }
}
