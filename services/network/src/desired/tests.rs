use config::Document;

use super::*;
use crate::core::plan;
use crate::dhcp::lease::LeasedRoute;
use crate::state::ObservedKind;
use std::time::Duration;

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn observed(cards: &[&str]) -> Observed {
    let links = cards.iter().enumerate().map(|(index, card)| {
        let index = u32::try_from(index).unwrap() + 2;
        let link = ObservedLink {
            index,
            mac: [2, 0, 0, 0, 0, u8::try_from(index).unwrap()]
                .try_into()
                .ok(),
            permanent_mac: None,
            driver: Some("igc".to_owned()),
            path: Some(format!("pci0000:00/0000:00:0{index}.0")),
            hardware: true,
            ours: false,
            kind: ObservedKind::Other,
            mtu: 1500,
            up: false,
            carrier: false,
            controller: None,
            vlans: BTreeMap::new(),
        };
        (name(card), link)
    });
    Observed {
        links: links.collect(),
        ..Observed::default()
    }
}

fn lease(address: &str, routes: &[(&str, &str)]) -> Learnt {
    let routes = routes.iter().map(|(to, via)| LeasedRoute {
        to: to.parse().unwrap(),
        via: Some(via.parse().unwrap()),
    });
    let lease = Lease {
        address: address.parse().unwrap(),
        server: Ipv4Addr::new(192, 0, 2, 1),
        routes: routes.collect(),
        dns: Vec::new(),
        domain: None,
        mtu: Some(1000),
        renew_at: None,
        rebind_at: None,
        expires_at: Some(Duration::from_secs(3600)),
    };
    Learnt {
        lease: Some(lease),
        hopes_for_previous: false,
    }
}

fn parse(text: &str) -> Network {
    Document::parse(text).unwrap().read()
}

#[test]
fn the_built_in_document_needs_no_words() {
    let cards = ["eth0", "eth1"];
    let network = Network::default().with_default_links(&cards.map(name));
    let learnt = BTreeMap::from([(
        name("eth0"),
        lease("192.0.2.5/24", &[("0.0.0.0/0", "192.0.2.1")]),
    )]);
    let resolved = resolve(&network, &observed(&cards), &learnt);
    assert_eq!(resolved.problems, Vec::<String>::new());
    let actions: Vec<String> = plan(&resolved.desired, &observed(&cards))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        actions,
        [
            "set net/ipv4/conf/eth0/accept_redirects to 0",
            "set net/ipv4/conf/eth0/rp_filter to 2",
            "set net/ipv4/conf/eth1/accept_redirects to 0",
            "set net/ipv4/conf/eth1/rp_filter to 1",
            "set net/ipv6/conf/eth0/accept_ra to 2",
            "set net/ipv6/conf/eth0/accept_redirects to 0",
            "set net/ipv6/conf/eth0/autoconf to 1",
            "set net/ipv6/conf/eth0/disable_ipv6 to 0",
            "set net/ipv6/conf/eth0/use_tempaddr to 0",
            "set net/ipv6/conf/eth1/accept_ra to 0",
            "set net/ipv6/conf/eth1/accept_redirects to 0",
            "set net/ipv6/conf/eth1/autoconf to 0",
            "set net/ipv6/conf/eth1/disable_ipv6 to 0",
            "set net/ipv6/conf/eth1/use_tempaddr to 0",
            "set net/ipv4/conf/all/promote_secondaries to 1",
            "set net/ipv4/ip_forward to 1",
            "set net/ipv6/conf/all/forwarding to 1",
            "bring eth0 up",
            "bring eth1 up",
            "add the address eth0 192.0.2.5/24",
            "add the address eth1 192.168.77.1/24",
            "add the address eth1 fd77:7777:7777:1::1/64",
            "add the route 0.0.0.0/0 via 192.0.2.1 dev eth0 metric 100 table 254",
        ]
    );
}

#[test]
fn cards_are_found_by_what_is_given_and_serve_once() {
    let network = parse(
        r#"
        [network.link.wan]
        match = { mac = "02:00:00:00:00:03" }
        [network.link.a]
        match = { driver = "ig*" }
        [network.link.b]
        match = { path = "*:04.0", name = "eth?" }
        [network.link.c]
        match = { driver = "*" }
        "#,
    );
    let resolved = resolve(
        &network,
        &observed(&["eth0", "eth1", "eth2"]),
        &BTreeMap::new(),
    );
    let names: Vec<String> = resolved
        .names
        .iter()
        .map(|(key, name)| format!("{key}={name}"))
        .collect();
    // In the order of the links' names, each takes the first that is left.
    assert_eq!(names, ["a=eth0", "b=eth2", "c=eth1"]);
    assert_eq!(resolved.problems, ["wan: no network card fits"]);
}

#[test]
fn a_hostile_lease_cannot_take_a_lan() {
    let cards = ["eth0", "eth1"];
    let network = Network::default().with_default_links(&cards.map(name));
    let routes = [
        ("192.168.77.0/25", "192.0.2.1"),
        ("0.0.0.0/1", "192.0.2.1"),
        ("0.0.0.0/0", "10.9.9.9"),
    ];
    let learnt = BTreeMap::from([(name("eth0"), lease("192.168.77.9/24", &routes))]);
    let resolved = resolve(&network, &observed(&cards), &learnt);
    assert_eq!(
        resolved.problems,
        [
            "eth0: the lease 192.168.77.9/24 overlaps 192.168.77.0/24 of eth1",
            "eth0: the server's route to 192.168.77.0/25 is ignored, eth1 has 192.168.77.0/24",
        ]
    );
    let leased: Vec<_> = resolved
        .desired
        .routes
        .iter()
        .map(|r| (r.to.to_string(), r.onlink))
        .collect();
    assert_eq!(
        leased,
        [
            ("0.0.0.0/1".to_owned(), true),
            ("0.0.0.0/0".to_owned(), true)
        ]
    );
    assert_eq!(
        resolved.desired.links[&name("eth0")].mtu,
        None,
        "1000 would switch IPv6 off"
    );
}

#[test]
fn routes_find_their_link_and_name_what_is_wrong() {
    let network = parse(
        r#"
        [network.link.eth0]
        ipv4 = { addresses = ["10.0.0.1/24"], gateway = "10.0.0.254", metric = 0 }
        [network.link.eth7]
        [[network.route]]
        to = "10.9.0.0/16"
        via = "10.0.0.2"
        [[network.route]]
        to = "10.8.0.0/16"
        via = "10.7.0.2"
        [[network.route]]
        to = "10.6.0.0/16"
        dev = "eth7"
        [[network.route]]
        to = "0.0.0.0/0"
        via = "10.0.0.3"
        [[network.route]]
        to = "fd00::/8"
        kind = "unreachable"
        "#,
    );
    let resolved = resolve(&network, &observed(&["eth0"]), &BTreeMap::new());
    let routes: Vec<String> = resolved
        .desired
        .routes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        routes,
        [
            "0.0.0.0/0 via 10.0.0.254 dev eth0 metric 0 table 254",
            "10.9.0.0/16 via 10.0.0.2 dev eth0 metric 0 table 254",
            "unreachable fd00::/8 metric 1024 table 254",
        ]
    );
    assert_eq!(
        resolved.problems,
        [
            "eth7: no network card fits",
            "the route to 10.8.0.0/16: 10.7.0.2 is in no link's network",
            "the route 0.0.0.0/0 via 10.0.0.3 dev eth0 metric 0 table 254: there is another with \
             this metric",
        ]
    );
}

#[test]
fn the_documented_example_settles_on_three_cards() {
    let network = parse(include_str!("../../../config/example.toml"));
    let resolved = resolve(
        &network,
        &observed(&["eth1", "eth2", "eth3"]),
        &BTreeMap::new(),
    );
    assert_eq!(resolved.problems, ["wan: no network card fits"]);
    let desired = resolved.desired;
    assert_eq!(desired.links[&name("eth2")].bridge, Some(name("br0")));
    assert_eq!(
        desired.links[&name("eth2")].vlans.as_ref().unwrap().len(),
        3
    );
    assert_eq!(desired.sysctls["net/ipv6/conf/eth2/disable_ipv6"], "1");
    assert_eq!(desired.sysctls["net/ipv4/tcp_congestion_control"], "bbr");
}
