use crate::support::*;
use peer::{Outgoing, User};

const CONFIG: &str = "org.x0tta6bl4.Config1";
const INIT: &str = "org.x0tta6bl4.Init1";
const STORE_NAME: &str = "org.x0tta6bl4.Store1";

#[test]
fn a_name_is_owned_by_whose_manifest_says_so() {
    let bus = Bus::start();
    let mut admin = bus.peer(ADMIN);
    assert_eq!(own(&mut admin, CONFIG).unwrap(), 1);
    assert_eq!(own(&mut admin, INIT).unwrap(), 1);
    // The broker lets whoever may own a name own those below it, too.
    assert_eq!(own(&mut admin, "org.x0tta6bl4.Config1.Sub").unwrap(), 1);
    for name in [
        STORE_NAME,
        "org.x0tta6bl4.Config1x",
        "org.x0tta6bl4.Other1",
        "org.x",
    ] {
        assert!(denied(own(&mut admin, name)), "{name}");
    }
    for user in [STORE, CONTROLLER, VIEWER, ROOT] {
        assert!(denied(own(&mut bus.peer(user), CONFIG)), "{user:?}");
    }
    let names: Vec<String> = admin.driver("ListNames", &()).unwrap().body().unwrap();
    assert!(names.iter().any(|name| name == CONFIG), "{names:?}");
    assert!(!names.iter().any(|name| name == STORE_NAME), "{names:?}");
}

#[test]
fn a_name_is_called_by_whose_manifest_or_group_says_so() {
    let bus = Bus::start();
    let callers = [STORE, CONTROLLER, VIEWER, ROOT];
    let config = answer(bus.peer(ADMIN), CONFIG, callers.len());
    for user in callers {
        assert_eq!(
            echo(&mut bus.peer(user), CONFIG, "hello").unwrap(),
            "hello",
            "{user:?}"
        );
    }
    config.join().unwrap();
    // Another connection of the same user, with a name that only the groups may call.
    let init = answer(bus.peer(ADMIN), INIT, 3);
    assert!(denied(echo(&mut bus.peer(STORE), INIT, "hello")));
    for user in [CONTROLLER, VIEWER, ROOT] {
        assert_eq!(echo(&mut bus.peer(user), INIT, "hello").unwrap(), "hello");
    }
    init.join().unwrap();
}

#[test]
fn whoever_has_no_right_at_all_is_not_let_in() {
    let bus = Bus::start();
    let stranger = User {
        id: 252,
        groups: &[252, 100],
    };
    for user in [NETWORK, stranger] {
        bus.join(user).unwrap_err();
    }
    bus.peer(CONTROLLER);
}

#[test]
fn a_connection_without_a_name_is_not_called() {
    let bus = Bus::start();
    let controller = bus.peer(CONTROLLER);
    for user in [ADMIN, STORE, VIEWER, ROOT, CONTROLLER] {
        let mut caller = bus.peer(user);
        assert!(
            denied(echo(&mut caller, controller.name(), "hello")),
            "{user:?}"
        );
    }
}

#[test]
fn signals_come_from_services_and_reach_everyone() {
    let bus = Bus::start();
    let signal = Outgoing::Signal {
        path: "/x",
        interface: "org.x0tta6bl4.Test",
        member: "Changed",
    };
    let mut listeners = [STORE, CONTROLLER, VIEWER, ROOT].map(|user| bus.peer(user));
    let mut forger = bus.peer(CONTROLLER);
    let mut admin = bus.peer(ADMIN);
    for listener in &mut listeners {
        let rule = "type='signal',interface='org.x0tta6bl4.Test'";
        listener.driver("AddMatch", &rule).unwrap();
    }
    forger.send(&signal, &"forged").unwrap();
    // The bus has seen the signal before this call.
    forger.driver("GetId", &()).unwrap();
    admin.send(&signal, &"true").unwrap();
    for listener in &mut listeners {
        let first = listener.receive().unwrap();
        assert_eq!(first.sender.as_deref(), Some(admin.name()));
        assert_eq!(first.body::<String>().unwrap(), "true");
    }
}

#[test]
fn the_bus_itself_gives_no_power_away() {
    let bus = Bus::start();
    for user in [ADMIN, STORE, CONTROLLER, VIEWER] {
        let mut peer = bus.peer(user);
        let monitor = Outgoing::call(
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.Monitoring",
            "BecomeMonitor",
        );
        let answer = peer.call(&monitor, &(Vec::<String>::new(), 0_u32)).unwrap();
        assert!(denied(answer.into_result()), "{user:?} reads along");
        let variables = std::collections::HashMap::from([("LD_PRELOAD", "x")]);
        assert!(denied(
            peer.driver("UpdateActivationEnvironment", &variables)
        ));
        // Harmless: there is nothing to load anew.
        let _ = peer.driver("ReloadConfig", &());
    }
    bus.peer(ROOT).driver("ReloadConfig", &()).unwrap();
    bus.peer(CONTROLLER).driver("GetId", &()).unwrap();
}
