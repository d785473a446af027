//! The objects on the bus. Nothing else here knows D-Bus types.

pub(crate) mod config;
pub(crate) mod init;
pub(crate) mod job;
pub(crate) mod service;
pub(crate) mod store;

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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use zbus::object_server::Interface;

    use super::*;
    use crate::Config;
    use crate::caller::Caller;
    use crate::hub::Hub;
    use crate::policy::Policy;

    /// The interfaces are a promise: what changes here changes for everybody who calls. With
    /// `X0_WRITE_INTROSPECTION=1` the test accepts the change.
    #[test]
    fn the_interfaces_are_those_that_were_published() {
        let hub = Arc::new(Hub::new(&Config::default(), Policy::load().unwrap()));
        let caller = Arc::new(Caller::new(":1.1", 0, vec![], None));
        let (job, _ends) = hub.jobs.begin("verify", caller).unwrap();
        let service = service::Service {
            hub: Arc::clone(&hub),
            name: "x".into(),
        };
        check(&init::Init(Arc::clone(&hub)));
        check(&config::Config(Arc::clone(&hub)));
        check(&store::Store(Arc::clone(&hub)));
        check(&service);
        check(&job::JobObject::new(hub, job));
    }

    fn check<I: Interface>(interface: &I) {
        let name = I::name();
        let mut text = String::from(
            "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n  \
             \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
        );
        interface.introspect_to_writer(&mut text, 2);
        text.push_str("</node>\n");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("introspection");
        let path = folder.join(format!("{name}.xml"));
        if std::env::var_os("X0_WRITE_INTROSPECTION").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap();
        assert!(
            published == text,
            "{name} differs from {}:\n{text}",
            path.display()
        );
    }
}
