use crate::{Document, Ipv4Method, Ipv6Method, Network, Problem, Problems};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Network, Vec<Problem>> {
    Document::parse(text).map(|document| document.read())
}

fn refused(text: &str) -> String {
    Problems(parse(text).unwrap_err()).to_string()
}

#[test]
fn nothing_is_a_document() {
    assert_eq!(parse("").unwrap(), Network::default());
    assert!(parse("[network]").unwrap().forwarding);
}

#[test]
fn the_documented_example_parses() {
    let network = parse(include_str!("../../../example.toml")).unwrap();
    assert_eq!(network.links.len(), 6);
    assert_eq!(network.routes.len(), 1);
}

#[test]
fn role_and_addresses_choose_the_method() {
    let text = r#"
            [network.link.eth0]
            role = "wan"
            [network.link.eth1]
            role = "wan"
            ipv4 = { addresses = ["192.0.2.2/24"], gateway = "192.0.2.1" }
            ipv6 = { method = "off" }
            [network.link.eth2]
            role = "lan"
            ipv6 = { addresses = ["fd00:1::1/64", "fd00:1::2/64", "fd00:2::1/96"] }
            advertise = {}
        "#;
    let network = parse(text).unwrap();
    let methods: Vec<_> = network
        .links
        .values()
        .map(|link| (link.ipv4.method, link.ipv6.method))
        .collect();
    assert_eq!(
        methods,
        [
            (Ipv4Method::Dhcp, Ipv6Method::Auto),
            (Ipv4Method::Static, Ipv6Method::Off),
            (Ipv4Method::Off, Ipv6Method::Static),
        ]
    );
    let advertise = network
        .links
        .values()
        .last()
        .unwrap()
        .advertise
        .as_ref()
        .unwrap();
    let prefixes: Vec<_> = advertise
        .prefixes
        .iter()
        .map(|p| p.prefix.to_string())
        .collect();
    assert_eq!(prefixes, ["fd00:1::/64"]);
}

#[test]
fn mistakes_of_form_have_a_place_and_a_suggestion() {
    for (text, expected) in [
        (
            "[system]\nhostnme = \"a\"",
            "line 2, column 1: unknown field `hostnme`, expected `hostname` \
                 (did you mean `hostname`?)",
        ),
        (
            "[network.link.eth0]\nipv4 = { method = \"dhpc\" }",
            "line 2, column 19: unknown variant `dhpc`, expected one of `dhcp`, `off`, \
                 `static` (did you mean `dhcp`?)",
        ),
        (
            "[network.link.eth0]\nipv4 = { addresses = [\"10.0.0.1/24\", \"10.0.0.1\"] }",
            "line 2, column 38: the prefix length is missing: write it as 192.0.2.1/24 or \
                 2001:db8::1/64",
        ),
        (
            "[network.link.eth0]\nmtu = 70000",
            "line 2, column 7: an MTU is a number of bytes from 576 to 65535",
        ),
        (
            "[network.link.\"a b\"]",
            "line 1, column 15: an interface name has 1 to 15 characters: letters, digits, \
                 '.', '_', '-'",
        ),
        (
            "[network.sysctl]\n\"kernel.panic\" = \"0\"",
            "line 2, column 1: this setting cannot be changed from the document",
        ),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn mistakes_of_meaning_are_all_told() {
    let text = r#"
[network.link.eth0]
ipv4 = { method = "static" }
[network.link.eth1]
role = "lan"
ipv4 = { addresses = ["10.0.0.1/24"], gateway = "10.1.0.1" }
[network.link.eth2]
role = "lan"
ipv4 = { addresses = ["10.0.0.129/25", "10.0.0.1/32"] }
mtu = 1000
ipv6 = { addresses = ["10.9.0.1/24"] }
[network.link.guests]
vlan = { id = 5, parent = "eht1" }
[network.link.br0]
bridge = { ports = ["eth1", "br1"] }
[network.link.br1]
bridge = { ports = ["br0", "v6"] }
[network.link.v6]
vlan = { id = 6, parent = "br1" }
port = { untagged = 7 }
[[network.route]]
to = "10.99.0.0/16"
via = "fe80::1"
"#;
    let expected = "\
line 3, column 8: a static ipv4 needs addresses
line 4, column 15: `eth1` is a port of `br0`: addresses belong to the bridge
line 6, column 49: the gateway 10.1.0.1 is in no network of this link
line 9, column 23: the LAN 10.0.0.128/25 overlaps 10.0.0.0/24 of `eth1`
line 9, column 40: `eth1` has the address 10.0.0.1 already
line 10, column 7: IPv6 needs an MTU of 1280 at least
line 11, column 23: 10.9.0.1/24 is no ipv6 address
line 13, column 27: there is no link `eht1` (did you mean `eth1`?)
line 14, column 15: the port `br1` makes a loop through `br1`: a bridge cannot be in a bridge
line 16, column 15: the port `br0` makes a loop through `br0`: a bridge cannot be in a bridge
line 16, column 15: the port `v6` makes a loop through `br1`: a bridge cannot be in a bridge
line 18, column 15: `v6` has port VLANs, but is in no bridge with vlan_filtering
line 23, column 7: via fe80::1 is not of the family of 10.99.0.0/16";
    assert_eq!(refused(text), expected);
}

#[test]
fn counts_are_bounded() {
    let links: String = (0..300).map(|n| format!("[network.link.l{n}]\n")).collect();
    assert!(refused(&links).contains("300 links; at most 256"));
    let routes = "[[network.route]]\nto = \"10.0.0.0/8\"\nvia = \"10.0.0.1\"\n".repeat(1025);
    assert!(refused(&routes).contains("1025 routes; at most 1024"));
}

#[test]
fn nothing_reaches_a_terminal_unchanged() {
    let got = refused("\"\\u001b[2J\" = 1");
    assert!(!got.contains('\u{1b}'), "{got:?}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_link_makes_it_panic(
        name in "[a-z0-9.]{1,4}",
        address in "[0-9a-f:.]{1,12}/[0-9]{1,3}",
        parent in "[a-z0-9]{1,4}",
    ) {
        let text = format!(
            "[network.link.\"{name}\"]\nvlan = {{ id = 1, parent = \"{parent}\" }}\n\
             ipv6 = {{ addresses = [\"{address}\"] }}\nadvertise = {{}}\n"
        );
        let _ = parse(&text);
    }
}
