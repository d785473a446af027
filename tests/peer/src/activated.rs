use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that was started as PID 1 starts a service with a socket: it finds the socket by
/// `LISTEN_FDS`, and tells how it is on `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct Activated {
    pub child: Child,
    notify: UnixDatagram,
}

impl Activated {
    /// Starts `program` as `user`, with `listener` as descriptor 3. `folder` is for the notify
    /// socket.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        program: &Path,
        arguments: &[&Path],
        listener: &UnixListener,
        folder: &Path,
        user: u32,
        watchdog: Duration,
    ) -> io::Result<Self> {
        let address = folder.join("notify");
        let _ = fs::remove_file(&address);
        let notify = UnixDatagram::bind(&address)?;
        fs::set_permissions(&address, Permissions::from_mode(0o666))?;
        // The shell renames the descriptor and, unlike the caller, knows the number of the process.
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg("LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null")
            .arg(program)
            .args(arguments)
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "bus")
            .env("NOTIFY_SOCKET", &address)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(
                listener.try_clone()?,
            )))
            .stderr(Stdio::piped())
            .uid(user)
            .gid(user)
            .spawn()?;
        Ok(Self { child, notify })
    }

    /// Waits until it sends `line`.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for(&self, line: &str, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::other(format!("no `{line}` in time")));
            }
            self.notify.set_read_timeout(Some(left))?;
            let count = self.notify.recv(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..count]);
            if text.lines().any(|sent| sent == line) {
                return Ok(());
            }
        }
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        // It may have ended already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
