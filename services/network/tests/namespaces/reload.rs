//! Generations that the store hands out while the service runs.

use serde_json::json;

use crate::support::{DhcpServer, Namespace, Router, addresses};

const FIRST: &str = r#"
[network.link.eth0]
role = "lan"
ipv4 = { addresses = ["10.1.0.1/24"] }
[network.link.eth1]
role = "lan"
ipv4 = { addresses = ["10.2.0.1/24"] }
[[network.route]]
to = "10.3.0.0/16"
via = "10.2.0.9"
"#;

/// Two cards with somebody on their other ends.
fn cards() -> (Namespace, Namespace) {
    let namespace = Namespace::new("router");
    let hosts = Namespace::new("hosts");
    for card in ["eth0", "eth1"] {
        namespace.cable(card, &hosts, card);
        hosts.ip(&format!("link set {card} up"));
    }
    (namespace, hosts)
}

/// What the kernel would tell of changes to a card.
fn changed(log: &str, card: &str) -> Vec<String> {
    let changes = log.lines().filter(|line| line.contains("changed action"));
    changes
        .filter(|line| line.contains(card))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_generation_changes_only_what_differs_and_its_rollback_too() {
    let (namespace, hosts) = cards();
    hosts.ip("addr add 10.2.0.2/24 dev eth1");
    let (mut router, store) = Router::with_store(FIRST);
    router.start(&namespace);
    assert_eq!(store.answer(1), Ok(()));
    hosts.ping("10.2.0.1");
    let settled = router.log().len();

    let second = FIRST
        .replace("10.1.0.1/24", "10.1.1.1/24")
        .replace("10.2.0.9", "10.2.0.8")
        + "[network.link.guests]\nbridge = {}\nipv4 = { addresses = [\"10.20.0.1/24\"] }\n";
    assert_eq!(store.publish(&second), 2);
    assert_eq!(store.answer(2), Ok(()), "{}", router.log());
    let status = router.wait_status("it tells its generation", |status| {
        status.generation == Some(2) && addresses(status, "guests").len() == 1
    });
    assert_eq!(status.configuration, "generation 2");
    assert_eq!(addresses(&status, "eth0"), ["10.1.1.1/24 static"]);
    assert!(namespace.ip("-d link show guests").contains("bridge"));
    assert!(namespace.ip("route show 10.3.0.0/16").contains("10.2.0.8"));
    let log = router.log().split_off(settled);
    let of_eth1 = changed(&log, "eth1");
    assert!(
        of_eth1
            .iter()
            .all(|line| line.contains("the route 10.3.0.0/16")),
        "eth1 itself was touched: {of_eth1:#?}"
    );
    let of_eth0 = changed(&log, "the address eth0");
    assert!(
        of_eth0[0].contains("add") && of_eth0[1].contains("remove"),
        "{of_eth0:#?}"
    );

    assert_eq!(store.publish(FIRST), 3);
    assert_eq!(store.answer(3), Ok(()));
    let status = router.wait_status("the old one is back", |status| {
        status.generation == Some(3) && addresses(status, "eth0") == ["10.1.0.1/24 static"]
    });
    assert_eq!(status.links.len(), 2);
    assert!(namespace.try_ip("link show guests").is_err());
    hosts.ping("10.2.0.1");
}

#[test]
fn a_lease_outlives_changes_that_have_nothing_to_do_with_it() {
    let (namespace, hosts) = cards();
    hosts.ip("addr add 192.0.2.1/24 dev eth0");
    let _server = DhcpServer::start(&hosts, "eth0");
    let wan = "[network.link.eth0]\nrole = \"wan\"\n";
    let (mut router, store) = Router::with_store(wan);
    router.start(&namespace);
    let leased = |status: &network_api::Status| addresses(status, "eth0").len() == 1;
    let status = router.wait_status("a lease", leased);
    let lease = addresses(&status, "eth0");

    let more = format!(
        "[system]\nhostname = \"edge-2\"\n{wan}[network.link.eth1]\nrole = \"lan\"\n\
         ipv4 = {{ addresses = [\"10.2.0.1/24\"] }}\n"
    );
    let generation = store.publish(&more);
    assert_eq!(store.answer(generation), Ok(()));
    let status = router.wait_status("it is applied", |status| {
        addresses(status, "eth1") == ["10.2.0.1/24 static"]
    });
    assert_eq!(addresses(&status, "eth0"), lease);
    assert_eq!(
        router.log().matches("leased link").count(),
        1,
        "{}",
        router.log()
    );
    assert!(!router.log().contains("lease lost"));
}

#[test]
fn what_the_kernel_refuses_fails_the_generation() {
    let (namespace, _hosts) = cards();
    let (mut router, store) = Router::with_store(FIRST);
    router.start(&namespace);
    assert_eq!(store.answer(1), Ok(()));
    // No next hop of eth1's network is on eth0.
    let astray = FIRST.replace("via =", "dev = \"eth0\"\nvia =");
    store.publish(&astray);
    let reason = store.answer(2).unwrap_err();
    let expected = "cannot add the route 10.3.0.0/16 via 10.2.0.9 dev eth0";
    assert!(reason.starts_with(expected), "{reason}");
    store.publish(FIRST);
    assert_eq!(store.answer(3), Ok(()));
    assert!(namespace.ip("route show 10.3.0.0/16").contains("eth1"));
    router.wait_status("all is well", |status| status.problems.is_empty());
}

/// Not every kernel that these tests run on has VLANs.
#[test]
fn a_vlan_comes_and_goes_or_fails_the_generation() {
    let (namespace, _hosts) = cards();
    let (mut router, store) = Router::with_store(FIRST);
    router.start(&namespace);
    let vlan = FIRST.to_owned()
        + "[network.link.guests]\nvlan = { id = 20, parent = \"eth0\" }\n\
           ipv4 = { addresses = [\"10.20.0.1/24\"] }\n";
    store.publish(&vlan);
    match store.answer(2) {
        Ok(()) => {
            assert!(namespace.ip("-d link show guests").contains("id 20"));
            assert!(namespace.ip("addr show guests").contains("10.20.0.1/24"));
        }
        Err(reason) => assert!(reason.contains("cannot make guests, VLAN 20"), "{reason}"),
    }
    store.publish(FIRST);
    assert_eq!(store.answer(3), Ok(()));
    assert!(namespace.try_ip("link show guests").is_err());
    let status = router.wait_status("all is well", |status| status.problems.is_empty());
    assert_eq!(addresses(&status, "eth0"), ["10.1.0.1/24 static"]);
}

#[test]
fn a_missing_card_is_a_warning_and_a_document_for_no_card_a_failure() {
    let (namespace, _hosts) = cards();
    let (mut router, store) = Router::with_store(FIRST);
    router.start(&namespace);
    store.publish(&FIRST.replace("eth1", "eth9"));
    assert_eq!(store.answer(2), Ok(()));
    router.wait_status("the missing card is told", |status| {
        status
            .problems
            .iter()
            .any(|problem| problem == "eth9: no network card fits")
    });
    store
        .publish("[network.link.eth9]\nrole = \"lan\"\nipv4 = { addresses = [\"10.1.0.1/24\"] }\n");
    let reason = store.answer(3).unwrap_err();
    assert_eq!(reason, "no link has a network card that fits");
}

#[test]
fn sections_of_another_version_are_refused_and_the_old_ones_stay() {
    let (namespace, _hosts) = cards();
    let (mut router, store) = Router::with_store(FIRST);
    router.start(&namespace);
    assert_eq!(store.answer(1), Ok(()));
    store.publish_sections(json!({ "network": { "warp": 9 } }));
    let reason = store.answer(2).unwrap_err();
    assert!(
        reason.starts_with("network.warp: unknown field"),
        "{reason}"
    );
    let status = router.wait_status("it is told", |status| {
        status
            .problems
            .iter()
            .any(|problem| problem.starts_with("generation 2 cannot be used"))
    });
    assert_eq!(status.generation, Some(1));
    assert_eq!(addresses(&status, "eth0"), ["10.1.0.1/24 static"]);
}

#[test]
fn without_the_store_the_last_good_generation_routes_on() {
    let (namespace, hosts) = cards();
    hosts.ip("addr add 10.2.0.2/24 dev eth1");
    let (mut router, store) = Router::with_store(FIRST);
    router.start(&namespace);
    assert_eq!(store.answer(1), Ok(()));
    drop(store);
    let away = |status: &network_api::Status| {
        status
            .problems
            .iter()
            .any(|problem| problem.starts_with("the store is away"))
    };
    router.wait_status("the store is missed", away);
    hosts.ping("10.2.0.1");

    router.kill();
    router.start(&namespace);
    let status = router.wait_status("it runs on", |status| status.links.len() == 2);
    assert_eq!(status.configuration, "generation 1, the last good one");
    assert_eq!((status.generation, status.changes), (Some(1), 0));
    hosts.ping("10.2.0.1");

    let store = router.store(&FIRST.replace("10.1.0.1/24", "10.1.1.1/24"));
    assert_eq!(store.answer(1), Ok(()));
    let status = router.wait_status("the store's configuration applies", |status| {
        addresses(status, "eth0") == ["10.1.1.1/24 static"]
    });
    assert_eq!(status.problems, [""; 0]);
}

#[test]
fn without_the_store_and_anything_kept_the_built_in_configuration_applies() {
    let (namespace, _hosts) = cards();
    let (mut router, store) = Router::with_store(FIRST);
    drop(store);
    router.start(&namespace);
    let status = router.wait_status("the store is missed", |status| {
        let mut problems = status.problems.iter();
        problems.any(|problem| problem.contains("cannot connect to the store"))
    });
    assert_eq!(
        (status.configuration.as_str(), status.generation),
        ("built-in", None)
    );
    let store = router.store(FIRST);
    assert_eq!(store.answer(1), Ok(()));
    router.wait_status("the store's applies", |status| {
        addresses(status, "eth0") == ["10.1.0.1/24 static"] && status.problems.is_empty()
    });
}
