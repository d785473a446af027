//! The broker's process.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};

/// What one user may have in the broker, over all of the user's connections. The broker hands the
/// last of it out in ever smaller shares, so that one client alone never gets all.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Descriptors: one per connection, and those under way. The service's own limit of open files has
/// to be larger than this times the number of users that may be on the bus.
const MAX_FDS: u64 = 512;
/// Match rules.
const MAX_MATCHES: u64 = 4096;
/// Names, pending replies.
const MAX_OBJECTS: u64 = 4096;

/// A broker that runs.
#[derive(Debug)]
pub(crate) struct Broker(Child);

/// Our ends of the broker's sockets.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) controller: UnixStream,
    /// One line per message.
    pub(crate) log: UnixStream,
}

impl Broker {
    /// Starts `program` for a bus of the machine `machine_id` (32 hexadecimal digits).
    pub(crate) fn start(program: &Path, machine_id: &str) -> io::Result<(Self, Ends)> {
        let (controller, its_controller) = UnixStream::pair()?;
        let (log, its_log) = UnixStream::pair()?;
        for inherited in [its_controller.as_fd(), its_log.as_fd()] {
            fcntl_setfd(inherited, FdFlags::empty())?;
        }
        let child = Command::new(program)
            .env_clear()
            .args(["--machine-id", machine_id])
            .args(["--controller", &its_controller.as_raw_fd().to_string()])
            .args(["--log", &its_log.as_raw_fd().to_string()])
            .args(["--max-bytes", &MAX_BYTES.to_string()])
            .args(["--max-fds", &MAX_FDS.to_string()])
            .args(["--max-matches", &MAX_MATCHES.to_string()])
            .args(["--max-objects", &MAX_OBJECTS.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok((Self(child), Ends { controller, log }))
    }

    /// Ends it, and tells how it ended: by itself, if it was faster.
    pub(crate) fn end(mut self) -> io::Result<ExitStatus> {
        // It has nothing to tidy up: its clients see the same end of their connections either way.
        self.0.kill()?;
        self.0.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_may_open_what_all_its_users_may() {
        let text = include_str!("../service.toml");
        let manifest = manifest::parse(&"bus".parse().unwrap(), "service.toml", text).unwrap();
        // Services with names or calls, the two groups' members, root.
        let users = 15;
        let open_files = u64::from(manifest.service().limits.open_files.unwrap());
        assert!(open_files > users * MAX_FDS);
    }
}
