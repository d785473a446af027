use std::path::PathBuf;

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: PathBuf,
    /// Holds the host key.
    pub state: PathBuf,
    /// What a person who logs in works with.
    pub shell: PathBuf,
    /// Without a key pressed for so long a person is logged out.
    pub idle_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
        Self {
            store: store_api::SOCKET.into(),
            state: state.unwrap_or_else(|| "/data/remote".into()),
            shell: "/usr/bin/x0ctl".into(),
            idle_s: 15 * 60,
        }
    }
}

impl Config {
    /// Takes `[STORE_SOCKET [STATE_FOLDER [SHELL]]]`; what is left out has its default.
    #[must_use]
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut arguments = arguments.into_iter().map(PathBuf::from);
        let default = Self::default();
        Self {
            store: arguments.next().unwrap_or(default.store),
            state: arguments.next().unwrap_or(default.state),
            shell: arguments.next().unwrap_or(default.shell),
            idle_s: default.idle_s,
        }
    }
}
