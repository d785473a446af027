//! The service's real binary against the real kernel, in network namespaces with cables between
//! them. Needs root, and Debian's iproute2, iputils-ping and dnsmasq-base.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "namespaces/commit.rs"]
mod commit;
#[path = "namespaces/reload.rs"]
mod reload;
#[path = "namespaces/support.rs"]
mod support;
#[path = "namespaces/told.rs"]
mod told;

use std::net::Ipv6Addr;

use support::{DhcpServer, Namespace, Router, addresses, server_socket, wait};

const TWO_LANS: &str = r#"
[network.link.eth0]
role = "lan"
ipv4 = { addresses = ["10.1.0.1/24"] }
ipv6 = { addresses = ["fd00:1::1/64"] }
[network.link.eth1]
role = "lan"
ipv4 = { addresses = ["10.2.0.1/24"] }
ipv6 = { addresses = ["fd00:2::1/64"] }
mtu = 1400
[[network.route]]
to = "10.3.0.0/16"
via = "10.2.0.9"
metric = 7
[[network.route]]
to = "fd00:3::/48"
kind = "unreachable"
"#;

const DHCP: &str = "[network.link.eth0]\nrole = \"wan\"\n";

/// A host with addresses and a way out through the router.
fn host(card: &str, ipv4: &str, ipv6: &str, router: [&str; 2]) -> Namespace {
    let namespace = Namespace::new(card);
    namespace.ip("link set lo up");
    namespace.ip(&format!("link add {card} type veth peer name {card}-peer"));
    namespace.ip(&format!("addr add {ipv4} dev {card}"));
    namespace.ip(&format!("addr add {ipv6} dev {card} nodad"));
    namespace.ip(&format!("link set {card} up"));
    let [gateway4, gateway6] = router;
    namespace.ip(&format!("route add default via {gateway4}"));
    namespace.ip(&format!("-6 route add default via {gateway6} dev {card}"));
    namespace
}

/// Gives the other end of a host's cable to the router.
fn plug(host: &Namespace, card: &str, router: &Namespace, router_card: &str) {
    let name = router.name();
    host.ip(&format!(
        "link set {card}-peer netns {name} name {router_card}"
    ));
}

#[test]
fn forwards_packets_of_both_families() {
    let namespace = Namespace::new("router");
    let left = host(
        "left",
        "10.1.0.2/24",
        "fd00:1::2/64",
        ["10.1.0.1", "fd00:1::1"],
    );
    let right = host(
        "right",
        "10.2.0.2/24",
        "fd00:2::2/64",
        ["10.2.0.1", "fd00:2::1"],
    );
    plug(&left, "left", &namespace, "eth0");
    plug(&right, "right", &namespace, "eth1");
    let mut router = Router::new(TWO_LANS);
    router.start(&namespace);
    left.ping("10.2.0.2");
    left.ping("fd00:2::2");
    let status = router.wait_status("all is well", |status| status.problems.is_empty());
    assert_eq!(
        addresses(&status, "eth1"),
        ["10.2.0.1/24 static", "fd00:2::1/64 static"]
    );
    assert_eq!(status.links[1].mtu, 1400);
    let routes = namespace.ip("route show 10.3.0.0/16");
    assert!(
        routes.contains("via 10.2.0.9 dev eth1 proto 120 metric 7"),
        "{routes}"
    );
    assert!(
        namespace
            .ip("-6 route show fd00:3::/48")
            .contains("unreachable")
    );
    let line = router.notified("STATUS=");
    assert!(line.starts_with("STATUS=eth0 10.1.0.1/24"), "{line}");
    router.notified("WATCHDOG=1");
}

#[test]
fn a_second_start_changes_nothing_and_a_new_document_removes_what_was() {
    let namespace = Namespace::new("router");
    let hosts = Namespace::new("hosts");
    for card in ["eth0", "eth1", "eth2"] {
        namespace.cable(card, &hosts, card);
        hosts.ip(&format!("link set {card} up"));
    }
    let bridge = "[network.link.eth1]\n[network.link.eth2]\n[network.link.br0]\n\
                  bridge = { ports = [\"eth1\", \"eth2\"] }\nipv4 = { addresses = [\"10.9.0.1/24\"] }\n";
    let mut router = Router::new(bridge);
    router.start(&namespace);
    router.wait_status("the bridge has a carrier", |status| status.links[0].carrier);
    let before = namespace.ip("addr") + &namespace.ip("route");
    router.kill();
    router.start(&namespace);
    let status = router.wait_status("it is known", |status| status.links.len() == 3);
    assert_eq!(
        (status.changes, status.problems),
        (0, Vec::new()),
        "{}",
        router.log()
    );
    assert_eq!(namespace.ip("addr") + &namespace.ip("route"), before);

    router.stop();
    router.configure(TWO_LANS);
    router.start(&namespace);
    router.wait_status("all is well", |status| status.problems.is_empty());
    assert!(
        namespace.try_ip("link show br0").is_err(),
        "the bridge is gone"
    );
    assert!(!namespace.ip("link show eth1").contains("master"));
    assert!(!namespace.ip("addr").contains("10.9.0.1"));
}

#[test]
fn a_bridge_joins_its_ports() {
    let namespace = Namespace::new("router");
    let left = host(
        "left",
        "10.9.0.2/24",
        "fd00:9::2/64",
        ["10.9.0.1", "fd00:9::1"],
    );
    let right = host(
        "right",
        "10.9.0.3/24",
        "fd00:9::3/64",
        ["10.9.0.1", "fd00:9::1"],
    );
    plug(&left, "left", &namespace, "eth0");
    plug(&right, "right", &namespace, "eth1");
    let mut router = Router::new(
        "[network.link.eth0]\n[network.link.eth1]\n[network.link.br0]\n\
         bridge = { ports = [\"eth0\", \"eth1\"] }\nipv4 = { addresses = [\"10.9.0.1/24\"] }\n",
    );
    router.start(&namespace);
    left.ping("10.9.0.3");
    left.ping("10.9.0.1");
}

#[test]
fn a_vlan_carries_tagged_packets_or_says_why_not() {
    let namespace = Namespace::new("router");
    let switch = Namespace::new("switch");
    namespace.cable("eth0", &switch, "trunk");
    switch.ip("link set trunk up");
    let mut router = Router::new(
        "[network.link.eth0]\nipv4 = { addresses = [\"10.1.0.1/24\"] }\n[network.link.guests]\n\
         vlan = { id = 20, parent = \"eth0\" }\nipv4 = { addresses = [\"10.20.0.1/24\"] }\n",
    );
    router.start(&namespace);
    match switch.try_ip("link add guests link trunk type vlan id 20") {
        Ok(_) => {
            switch.ip("addr add 10.20.0.2/24 dev guests");
            switch.ip("link set guests up");
            switch.ping("10.20.0.1");
        }
        // This machine's kernel knows no VLANs; the one of the appliance does.
        Err(_) => {
            router.wait_status("the VLAN is missed", |status| {
                status
                    .problems
                    .iter()
                    .any(|problem| problem.contains("make guests, VLAN 20 of eth0"))
            });
        }
    }
    let status = router.wait_status("the rest works", |status| {
        !addresses(status, "eth0").is_empty()
    });
    assert_eq!(addresses(&status, "eth0"), ["10.1.0.1/24 static"]);
}

#[test]
fn leases_an_address_and_keeps_it() {
    let namespace = Namespace::new("router");
    let provider = Namespace::new("provider");
    provider.cable("lan", &namespace, "eth0");
    provider.ip("addr add 192.0.2.1/24 dev lan");
    provider.ip("link set lan up");
    let server = DhcpServer::start(&provider, "lan");
    let mut router = Router::new(DHCP);
    router.start(&namespace);
    let bound = |status: &network_api::Status| {
        !addresses(status, "eth0").is_empty() && !status.gateways.is_empty()
    };
    let status = router.wait_status("there is a lease", bound);
    let leased = addresses(&status, "eth0");
    assert!(
        leased[0].starts_with("192.0.2.5") && leased[0].ends_with("/24 dhcp"),
        "{leased:?}"
    );
    assert_eq!(status.gateways[0].address.to_string(), "192.0.2.1");
    assert!(
        namespace
            .ip("route show 198.51.100.0/24")
            .contains("via 192.0.2.7")
    );
    let lifetime = namespace.ip("addr show eth0");
    assert!(
        lifetime.contains("proto 121") || lifetime.contains("valid_lft 1"),
        "{lifetime}"
    );
    wait("resolv.conf has what the server said", || {
        let text = router.read("run/resolv.conf");
        (text.contains("nameserver 192.0.2.53") && text.contains("search example.net"))
            .then_some(())
    });
    namespace.ping("192.0.2.1");

    // A killed service finds its address again, and does not let go of it meanwhile.
    router.kill();
    assert!(namespace.ip("addr show eth0").contains("192.0.2.5"));
    router.start(&namespace);
    let status = router.wait_status("the lease is confirmed", |status| {
        status.links[0]
            .dhcp
            .as_ref()
            .is_some_and(|dhcp| dhcp.phase == "bound")
    });
    assert_eq!(addresses(&status, "eth0"), leased);
    assert!(router.log().contains("leased"), "{}", router.log());

    // A cable that is pulled and put back.
    provider.ip("link set lan down");
    router.wait_status("the carrier is gone", |status| !status.links[0].carrier);
    provider.ip("link set lan up");
    router.wait_status("it is bound again", |status| {
        status.links[0].carrier
            && status.links[0]
                .dhcp
                .as_ref()
                .is_some_and(|dhcp| dhcp.phase == "bound")
    });
    wait("the default route is there", || {
        namespace
            .ip("route show default")
            .contains("via 192.0.2.1")
            .then_some(())
    });

    // A server that is gone: the lease is used as long as it is ours.
    drop(server);
    router.kill();
    router.start(&namespace);
    let status = router.wait_status("it asks", |status| {
        status.links[0]
            .dhcp
            .as_ref()
            .is_some_and(|dhcp| dhcp.phase != "bound")
    });
    assert_eq!(addresses(&status, "eth0"), leased);
}

#[test]
fn hosts_configure_themselves_from_advertisements() {
    let namespace = Namespace::new("router");
    let lan = Namespace::new("lan");
    namespace.cable("eth0", &lan, "eth0");
    lan.ip("link set eth0 up");
    let mut router = Router::new(
        "[network.link.eth0]\nrole = \"lan\"\nipv6 = { addresses = [\"fd00:5::1/64\"] }\n\
         advertise = { router = \"always\", rdnss = [\"fd00:5::1\"] }\n",
    );
    router.start(&namespace);
    wait("the host has an address", || {
        lan.ip("-6 addr show eth0 scope global -tentative")
            .contains("fd00:5::")
            .then_some(())
    });
    wait("the host has a way out", || {
        lan.ip("-6 route show default")
            .contains("proto ra")
            .then_some(())
    });
    lan.ping("fd00:5::1");
    router.stop();
    wait("the host looks for another router", || {
        lan.ip("-6 route show default").is_empty().then_some(())
    });
    assert!(
        lan.ip("-6 addr show eth0").contains("fd00:5::"),
        "and keeps its address"
    );
}

#[test]
fn autoconfigures_itself_and_learns_dns_servers() {
    let namespace = Namespace::new("router");
    let provider = Namespace::new("provider");
    provider.cable("eth0", &namespace, "eth0");
    // The provider's side is this service as well: the kernel's client is the independent part.
    let mut upstream = Router::new(
        "[network.link.eth0]\nrole = \"lan\"\nipv6 = { addresses = [\"fd00:6::1/64\"] }\n\
         advertise = { router = \"always\", rdnss = [\"fd00:6::53\"], interval_max_s = 4 }\n",
    );
    upstream.start(&provider);
    let mut router = Router::new(DHCP);
    router.start(&namespace);
    let status = router.wait_status("it is configured", |status| {
        !status.dns.is_empty()
            && !addresses(status, "eth0").is_empty()
            && !status.gateways.is_empty()
    });
    assert!(
        addresses(&status, "eth0")[0].ends_with("/64 ra"),
        "{status:?}"
    );
    assert_eq!(status.dns, ["fd00:6::53".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!(status.gateways[0].origin, "ra");
    assert!(
        router
            .read("run/resolv.conf")
            .contains("nameserver fd00:6::53")
    );
}

#[test]
fn what_others_made_stays() {
    let namespace = Namespace::new("router");
    let hosts = Namespace::new("hosts");
    namespace.cable("eth0", &hosts, "eth0");
    namespace.cable("eth1", &hosts, "eth1");
    namespace.cable("mesh0", &hosts, "mesh0");
    hosts.ip("link set eth0 up");
    hosts.ip("link set eth1 up");
    namespace.ip("link set eth1 up");
    namespace.ip("addr add 10.2.0.77/24 dev eth1");
    namespace.ip("route add 10.50.0.0/16 dev eth1 proto babel");
    namespace.ip("route add 10.3.0.0/16 dev eth1 proto babel metric 7");
    namespace.ip("-6 route add fd00:50::/48 dev eth1 proto babel metric 5");
    let before =
        namespace.ip("route show proto babel") + &namespace.ip("-6 route show proto babel");
    let mut router = Router::new(TWO_LANS);
    router.start(&namespace);
    // Its own route of the same destination and metric cannot be added, and it says so.
    router.wait_status("the conflict is told", |status| {
        status
            .problems
            .iter()
            .any(|problem| problem.contains("cannot add the route 10.3.0.0/16"))
    });
    router.stop();
    router.configure("");
    router.start(&namespace);
    wait("its own addresses are gone", || {
        (!namespace.ip("addr show eth1").contains("10.2.0.1/24")).then_some(())
    });
    let after = namespace.ip("route show proto babel") + &namespace.ip("-6 route show proto babel");
    assert_eq!(after, before);
    assert!(namespace.ip("addr show eth1").contains("10.2.0.77/24"));
    assert!(
        namespace.ip("link show mesh0").contains("state DOWN"),
        "never switched on"
    );
}

#[test]
fn cards_come_and_go() {
    let namespace = Namespace::new("router");
    let hosts = Namespace::new("hosts");
    let mut router = Router::new("");
    router.start(&namespace);
    let status = router.wait_status("it tells", |status| !status.problems.is_empty());
    assert_eq!(status.problems, ["no network card found"]);
    assert_eq!(
        router.notified("STATUS="),
        "STATUS=1 problem: no network card found"
    );
    router.stop();

    router.configure("[network.link.eth0]\nipv4 = { addresses = [\"10.1.0.1/24\"] }\n");
    router.start(&namespace);
    let missing = |status: &network_api::Status| status.problems == ["eth0: no network card fits"];
    router.wait_status("the card is missed", missing);
    for _ in 0..3 {
        namespace.cable("eth0", &hosts, "eth0");
        router.wait_status("the card is used", |status| {
            status.problems.is_empty() && addresses(status, "eth0") == ["10.1.0.1/24 static"]
        });
        namespace.ip("link del eth0");
        router.wait_status("the card is missed again", missing);
    }
    assert!(router.is_running());
}

#[test]
fn a_broken_document_is_told_and_stops_nothing() {
    let namespace = Namespace::new("router");
    let hosts = Namespace::new("hosts");
    namespace.cable("eth0", &hosts, "eth0");
    let mut router = Router::new("[network.link.eth0]\nipv4 = { adresses = [] }\n");
    router.start(&namespace);
    let status = router.wait_status("it tells", |status| !status.problems.is_empty());
    assert!(
        status.problems[0].contains("line 2, column 10"),
        "{:?}",
        status.problems
    );
    assert!(
        status.problems[0].contains("did you mean `addresses`?"),
        "{:?}",
        status.problems
    );
    assert_eq!(status.configuration, "built-in");
}

/// Answers each DHCP request with something that a broken or evil server could send; in between,
/// floods the link with packets that nobody asked for. Then a good server has to be heard.
#[test]
fn hostile_packets_do_no_harm() {
    let namespace = Namespace::new("router");
    let provider = Namespace::new("provider");
    provider.cable("lan", &namespace, "eth0");
    provider.ip("addr add 192.0.2.1/24 dev lan");
    provider.ip("addr add fe80::66/64 dev lan nodad");
    provider.ip("link set lan up");
    let mut router = Router::new(
        "[network.link.eth0]\nrole = \"wan\"\nipv6 = { addresses = [\"fd00:7::1/64\"] }\n\
         advertise = { interval_max_s = 4 }\n",
    );
    router.start(&namespace);
    provider.enter(|| {
        let server = server_socket("lan");
        let mut request = [0; 1500];
        let (len, _) = server.recv_from(&mut request).unwrap();
        for seed in 0..2000u32 {
            let reply = hostile_reply(&request[..len], seed);
            server.send_to(&reply, "255.255.255.255:68").unwrap();
        }
        let solicitations = socket2::Socket::new(
            socket2::Domain::IPV6,
            socket2::Type::RAW,
            Some(socket2::Protocol::ICMPV6),
        )
        .unwrap();
        solicitations.bind_device(Some(b"lan")).unwrap();
        let routers: std::net::SocketAddr = "[ff02::2]:0".parse().unwrap();
        for seed in 0..500u32 {
            solicitations
                .set_multicast_hops_v6(if seed.is_multiple_of(2) { 255 } else { 64 })
                .unwrap();
            let mut message = vec![133, 0, 0, 0, 0, 0, 0, 0];
            message.extend(noise(seed).take((seed % 60) as usize));
            message.truncate(4 + (seed % 64) as usize);
            let _ = solicitations.send_to(&message, &routers.into());
        }
    });
    assert!(router.is_running(), "{}", router.log());
    let status = router.status().unwrap();
    assert!(
        addresses(&status, "eth0")
            .iter()
            .all(|address| !address.ends_with("dhcp")),
        "{status:?}"
    );
    let _server = DhcpServer::start(&provider, "lan");
    router.wait_status("the good server is heard", |status| {
        addresses(status, "eth0")
            .iter()
            .any(|address| address.ends_with("dhcp"))
    });
    assert!(router.is_running());
}

/// A reply to a request, with lengths that lie, addresses that no host can have, or noise.
fn hostile_reply(request: &[u8], seed: u32) -> Vec<u8> {
    let mut reply = request[..240].to_vec();
    reply[0] = 2;
    let mut noise = noise(seed);
    // Half of them with an address that no host can have, half with one that might pass.
    let first = if seed.is_multiple_of(2) {
        224 + noise.next().unwrap() % 32
    } else {
        0
    };
    reply[16..20].copy_from_slice(&[first, 0, 2, 9]);
    reply.extend([53, 1, if seed.is_multiple_of(3) { 5 } else { 2 }]);
    reply.extend([54, 4, 192, 0, 2, 66, 51, 4, 0, 0, 14, 16]);
    reply.extend(noise.by_ref().take((seed % 90) as usize));
    match seed % 5 {
        0 => reply.truncate((seed % 300) as usize),
        1 => reply[4] ^= 0xff,
        2 => reply.extend([121, 255, 33]),
        3 => reply.extend([1, 4, 255, 0, 255, 0, 3, 200]),
        _ => reply.extend([51, 4, 0, 0, 0, 0, 255]),
    }
    reply
}

fn noise(seed: u32) -> impl Iterator<Item = u8> {
    let mut random = network::random::Random::new(seed.into());
    std::iter::repeat_with(move || random.next_u32().to_be_bytes()[0])
}
