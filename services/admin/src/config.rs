use std::path::PathBuf;

/// Where the parts that this service speaks with are.
#[derive(Clone, Debug)]
pub struct Config {
    /// D-Bus address of the bus.
    pub bus: String,
    /// PID 1's control socket.
    pub init: PathBuf,
    /// The store's socket.
    pub store: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bus: "unix:path=/run/dbus/system_bus_socket".into(),
            init: api::SOCKET.into(),
            store: "/run/x0/store/store.sock".into(),
        }
    }
}

impl Config {
    /// Takes `[BUS_ADDRESS [INIT_SOCKET [STORE_SOCKET]]]`; what is left out has its default.
    #[must_use]
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut arguments = arguments.into_iter();
        let default = Self::default();
        Self {
            bus: arguments.next().unwrap_or(default.bus),
            init: arguments.next().map_or(default.init, PathBuf::from),
            store: arguments.next().map_or(default.store, PathBuf::from),
        }
    }
}
