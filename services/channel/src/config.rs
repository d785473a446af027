use std::path::PathBuf;

/// Where a port's two ends are.
#[derive(Debug, Clone)]
pub struct Ends {
    /// The virtio port that the hypervisor holds the other end of.
    pub port: PathBuf,
    /// The socket of the service behind it.
    pub service: PathBuf,
}

impl Ends {
    fn new(port: &str, service: &str) -> Self {
        Self {
            port: port.into(),
            service: service.into(),
        }
    }
}

/// The ports that are served.
#[derive(Debug, Clone)]
pub struct Config {
    /// To PID 1.
    pub control: Ends,
    /// To the system bus.
    pub bus: Ends,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            control: Ends::new(
                "/dev/virtio-ports/org.x0tta6bl4.control",
                "/run/x0/init.sock",
            ),
            bus: Ends::new(
                "/dev/virtio-ports/org.x0tta6bl4.bus",
                "/run/dbus/system_bus_socket",
            ),
        }
    }
}

impl Config {
    /// Takes `[PORT [INIT_SOCKET [BUS_PORT [BUS_SOCKET]]]]`; what is left out has its default.
    #[must_use]
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut config = Self::default();
        let places = [
            &mut config.control.port,
            &mut config.control.service,
            &mut config.bus.port,
            &mut config.bus.service,
        ];
        for (place, argument) in places.into_iter().zip(arguments) {
            *place = argument.into();
        }
        config
    }
}
