use std::ffi::OsString;
use std::path::PathBuf;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Config {
    /// The compiled manifests; the policy follows from them.
    pub table: PathBuf,
    /// Debian's broker.
    pub broker: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            table: "/usr/share/x0/services.json".into(),
            broker: "/usr/bin/dbus-broker".into(),
        }
    }
}

impl Config {
    /// Takes `[TABLE [BROKER]]`; what is left out has its default.
    #[must_use]
    pub fn from_arguments(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut arguments = arguments.into_iter().map(PathBuf::from);
        let default = Self::default();
        Self {
            table: arguments.next().unwrap_or(default.table),
            broker: arguments.next().unwrap_or(default.broker),
        }
    }
}
