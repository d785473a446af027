//! Where everything is.

use std::path::PathBuf;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The state folder; nobody else writes there.
    pub folder: PathBuf,
    /// Where callers connect.
    pub socket: PathBuf,
    /// The image's table of services.
    pub services: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        let folder = std::env::var_os("STATE_DIRECTORY");
        Self {
            folder: folder.map_or_else(|| "/data/store".into(), PathBuf::from),
            socket: match std::env::var_os("RUNTIME_DIRECTORY") {
                Some(folder) => PathBuf::from(folder).join("store.sock"),
                None => store_api::SOCKET.into(),
            },
            services: "/usr/share/x0/services.json".into(),
        }
    }
}
