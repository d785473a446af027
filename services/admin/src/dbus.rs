//! The objects on the bus. Nothing else here knows D-Bus types.

pub(crate) mod init;
pub(crate) mod service;

/// Where the appliance's own interfaces are, and the object manager of everything below.
pub const ROOT: &str = "/org/x0tta6bl4";
/// The names that this service owns.
pub const NAMES: [&str; 3] = [
    "org.x0tta6bl4.Init1",
    "org.x0tta6bl4.Config1",
    "org.x0tta6bl4.Store1",
];

/// The path of the object for the service `name`. Service names are lower-case words joined by
/// hyphens; a path has no hyphens.
#[must_use]
pub fn service_path(name: &str) -> String {
    format!("{ROOT}/service/{}", name.replace('-', "_"))
}
