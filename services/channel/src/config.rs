use std::path::PathBuf;

/// Where the two ends are.
#[derive(Debug, Clone)]
pub struct Config {
    /// The virtio port that the hypervisor holds the other end of.
    pub port: PathBuf,
    /// PID 1's control socket.
    pub init: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: "/dev/virtio-ports/org.x0tta6bl4.control".into(),
            init: "/run/x0/init.sock".into(),
        }
    }
}

impl Config {
    /// Takes `[PORT [INIT_SOCKET]]`; what is left out has its default.
    #[must_use]
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut arguments = arguments.into_iter().map(PathBuf::from);
        let default = Self::default();
        Self {
            port: arguments.next().unwrap_or(default.port),
            init: arguments.next().unwrap_or(default.init),
        }
    }
}
