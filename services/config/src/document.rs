use serde_json::{Map, Value};
use toml::de::DeTable;

use crate::login::Login;
use crate::metrics::Metrics;
use crate::network::Network;
use crate::path::Path;
use crate::problem::{Faults, Problem, Problems, did_you_mean};
use crate::remote::Remote;
use crate::section::{self, Section};
use crate::system::System;
use crate::{SECTIONS, listen, place, secret, text};

/// A document that passed every check.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    text: String,
    sections: Map<String, Value>,
}

impl Document {
    /// Parses and checks a document.
    ///
    /// Everything that is wrong with its form is told, or, where its form is right, everything that
    /// is wrong with its meaning.
    ///
    /// # Errors
    /// With the problems in the order of the text; at least one, and a bounded number.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let tree = text::parse(text)?;
        let mut faults = Faults::default();
        let sections = check(tree.get_ref(), &mut faults);
        if faults.is_empty() {
            return Ok(Self {
                text: text.to_owned(),
                sections,
            });
        }
        Err(place::problems(text, tree.get_ref(), faults.into_vec()))
    }

    /// The document as it was written, comments included. May hold secrets.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The document as it was written, with its secrets hidden.
    #[must_use]
    pub fn public_text(&self) -> String {
        secret::hide_in_text(&self.text, secret::HIDDEN)
    }

    /// What the document says in a section, as it was written and without defaults; `None` where it
    /// says nothing.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<Value> {
        self.sections.get(name).cloned()
    }

    /// Every section that the document has, by name.
    #[must_use]
    pub fn sections(&self) -> &Map<String, Value> {
        &self.sections
    }

    /// A section's meaning; its defaults where the document says nothing.
    #[must_use]
    pub fn read<S: Section>(&self) -> S {
        S::read(&self.sections).expect("it was read without a fault when the document was parsed")
    }
}

/// Does not show secrets.
impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("text", &self.public_text())
            .finish_non_exhaustive()
    }
}

/// Checks sections as the store hands them out, of which a caller may get only some.
///
/// # Errors
/// With what is wrong with any of them.
pub fn check_sections(sections: &Map<String, Value>) -> Result<(), Problems> {
    let mut faults = Faults::default();
    check_values(sections, &mut faults);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Problems(crate::form::problems(faults)))
    }
}

fn check(tree: &DeTable<'_>, faults: &mut Faults) -> Map<String, Value> {
    let sections = text::table(tree, &Path::default(), faults);
    check_values(&sections, faults);
    sections
}

fn check_values(sections: &Map<String, Value>, faults: &mut Faults) {
    for name in sections.keys() {
        if faults.is_full() {
            return;
        }
        if !SECTIONS.contains(&name.as_str()) {
            let known = SECTIONS.iter().copied();
            let hint = did_you_mean(name, known)
                .unwrap_or_else(|| format!("there are {}", SECTIONS.join(", ")));
            let message = format!("unknown section `{name}`");
            faults.key(Path::default().key(name), message, Some(hint));
        }
    }
    section::read::<System>(sections, faults);
    let network = section::read::<Network>(sections, faults);
    section::read::<Login>(sections, faults);
    let remote = section::read::<Remote>(sections, faults);
    let metrics = section::read::<Metrics>(sections, faults);
    // What a section says, against what another says.
    let Some(network) = network.filter(|_| faults.is_empty()) else {
        return;
    };
    let lists = [
        remote
            .filter(|remote| !remote.allow_wan)
            .map(|remote| (Remote::NAME, remote.listen)),
        metrics
            .filter(|metrics| !metrics.allow_wan)
            .map(|metrics| (Metrics::NAME, metrics.listen)),
    ];
    for (section, list) in lists.into_iter().flatten() {
        let path = Path::default().key(section).key("listen");
        listen::check_wan(&list, &path, &network, faults);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SIZE_MAX_BYTES;

    const EXAMPLE: &str = include_str!("../example.toml");

    fn refused(text: &str) -> String {
        Problems(Document::parse(text).unwrap_err()).to_string()
    }

    #[test]
    fn the_example_has_every_section() {
        let document = Document::parse(EXAMPLE).unwrap();
        let sections: Vec<&str> = document.sections().keys().map(String::as_str).collect();
        let mut expected = SECTIONS.to_vec();
        expected.sort_unstable();
        assert_eq!(sections, expected);
        assert_eq!(
            document.read::<System>().hostname.unwrap().as_str(),
            "edge-1"
        );
        let hash = document.read::<Login>().password_hash.unwrap();
        assert!(hash.hash().verify(b"x0tta6bl4"));
        let remote: Vec<_> = document.read::<Remote>().sockets().collect();
        assert_eq!(remote[1].to_string(), "[fd77:7777:7777:1::1]:22");
        check_sections(document.sections()).unwrap();
    }

    #[test]
    fn everything_is_off_by_default() {
        let document = Document::parse("").unwrap();
        assert_eq!(document.read::<Remote>().sockets().count(), 0);
        assert_eq!(document.read::<Metrics>().sockets().count(), 0);
        assert_eq!(document.read::<Login>().password_hash, None);
        assert_eq!(document.section("system"), None);
    }

    #[test]
    fn all_mistakes_of_form_are_told_with_their_place() {
        let text = r#"
[sytem]
hostname = "a"
[system]
hostname = "a.b"
[network]
dns = ["9.9.9.9", "9.9.9"]
forwarding = "yes"
[network.link.eth0]
mtu = 70000
rol = "lan"
ipv4 = { adresses = ["10.0.0.1/24"], method = "dhpc" }
[[network.route]]
to = "10.0.0.0/8"
via = "10.0.0.1"
[[network.route]]
via = 7
[login]
password_hash = "hunter2"
[remote]
enabled = true
listen = ["localhost"]
[metrics]
listen = ["::", 9100]
"#;
        let expected = "\
line 2, column 2: unknown section `sytem` (did you mean `system`?)
line 5, column 12: a host name has 1 to 63 letters, digits and inner '-'
line 7, column 19: invalid IP address syntax
line 8, column 14: invalid type: string \"yes\", expected a boolean
line 10, column 7: an MTU is a number of bytes from 576 to 65535
line 11, column 1: unknown field `rol`, expected one of `advertise`, `bridge`, `ipv4`, `ipv6`, \
`match`, `mtu`, `port`, `role`, `vlan` (did you mean `role`?)
line 12, column 10: unknown field `adresses`, expected one of `addresses`, `gateway`, `method`, \
`metric`, `use_dns` (did you mean `addresses`?)
line 12, column 47: unknown variant `dhpc`, expected one of `dhcp`, `off`, `static` \
(did you mean `dhcp`?)
line 16, column 1: missing field `to`
line 17, column 7: invalid type: integer `7`, expected IP address
line 19, column 17: not a password hash that is supported; make one with `argon2 … -id -e` \
($argon2id$…) or `openssl passwd -6` ($6$…)
line 22, column 11: write it as 192.0.2.1, 192.0.2.1:2222, 2001:db8::1 or [2001:db8::1]:2222
line 24, column 17: invalid type: integer `9100`, expected a string";
        assert_eq!(refused(text), expected);
    }

    #[test]
    fn a_wan_is_listened_on_only_where_the_document_says_so() {
        let text = r#"
[network.link.wan]
role = "wan"
ipv4 = { addresses = ["192.0.2.2/24"] }
[metrics]
listen = ["192.0.2.2", "0.0.0.0"]
ALLOW
[remote]
enabled = true
"#;
        assert_eq!(
            refused(text.replace("ALLOW", "allow_wan = false").as_str()),
            "line 6, column 24: 0.0.0.0 is every address, and so the WAN's too \
             (if that is meant, say allow_wan = true)\n\
             line 9, column 11: remote is enabled, but listens nowhere \
             (name a LAN address of this router: listen = [\"192.168.77.1\"])\n\
             line 9, column 11: remote is enabled, but nobody has a key to log in with \
             (add authorized_keys = [\"ssh-ed25519 AAAA… name\"])"
        );
        let text = text.replace("enabled = true", "enabled = false");
        assert!(Document::parse(&text.replace("ALLOW", "allow_wan = true")).is_ok());
        let text = text.replace(", \"0.0.0.0\"", "").replace("ALLOW", "");
        assert_eq!(
            refused(&text),
            "line 6, column 11: 192.0.2.2 is an address of the WAN `wan` \
             (if that is meant, say allow_wan = true)"
        );
    }

    #[test]
    fn size_and_number_of_problems_are_bounded() {
        let long = "#".repeat(SIZE_MAX_BYTES + 1);
        assert!(refused(&long).contains("at most 1048576 are read"));
        let many: String = (0..5000).map(|n| format!("x{n} = {n}\n")).collect();
        let many = format!("[network]\n{many}");
        assert_eq!(Document::parse(&many).unwrap_err().len(), 32);
    }

    /// However a document of the largest size is made, it costs a bounded time: each of these takes
    /// a second or two in a debug build.
    #[test]
    fn no_document_takes_long() {
        let fill = |line: &str| line.repeat(SIZE_MAX_BYTES / line.len() - 100);
        let numbered = |line: &dyn Fn(usize) -> String| -> String {
            let lines = (0..).map(line).take_while({
                let mut bytes = 1000;
                move |line| {
                    bytes += line.len();
                    bytes < SIZE_MAX_BYTES
                }
            });
            lines.collect()
        };
        for text in [
            format!("[network]\n{}", numbered(&|n| format!("k{n} = 1\n"))),
            numbered(&|n| format!("[network.link.l{n}]\nmtu = 1\n")),
            numbered(&|n| format!("[k{n}]\n")),
            fill("[[network.route]]\nto = 1\n"),
            format!("[network]\ndns = [{}]\n", fill("1,")),
            format!("[network]\nsearch = [{}]\n", fill("'a',")),
            fill("= 1\n"),
            format!("[remote]\nlisten = [{}]\n", fill("'::1',")),
        ] {
            let start = std::time::Instant::now();
            let problems = Document::parse(&text).unwrap_err();
            let took = start.elapsed();
            assert!(problems.len() <= 32);
            assert!(took.as_secs() < 20, "{:.40}: {took:?}", text);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let document = Document::parse(EXAMPLE).unwrap();
        let shown = [
            format!("{document:?}"),
            document.public_text(),
            Value::from(crate::public_sections(document.sections())).to_string(),
            format!("{:?}", document.read::<Login>()),
        ];
        for shown in shown {
            assert!(!shown.contains("eJCVyWT"), "{shown}");
        }
        assert!(
            document
                .public_text()
                .contains("password_hash = \"(hidden)\"\n")
        );
        let dotted = "login.password_hash = '$6$x0x0x0x0$eJCVyWT1tSoCXhVieL5XkB9htNSuuxFaW7U7A7n2V5JzWVxUI4zWALqv4eqMMwl2jQs6cmddz5kbTmXCATTRC0'";
        let document = Document::parse(dotted).unwrap();
        assert_eq!(document.public_text(), "login.password_hash = \"(hidden)\"");
    }

    proptest! {
        #[test]
        fn what_the_store_hands_out_reads_as_the_text_did(
            hostname in "[a-zA-Z0-9]{1,20}",
            mtu in 1280..9000u32,
            metric: u32,
            address: u16,
            stp: bool,
        ) {
            let third = address >> 8;
            let text = format!(
                "[system]\nhostname = \"{hostname}\"\n[network.link.br0]\nmtu = {mtu}\n\
                 bridge = {{ stp = {stp} }}\n\
                 ipv4 = {{ addresses = [\"10.{third}.0.1/24\"], metric = {metric} }}\n"
            );
            let document = Document::parse(&text).unwrap();
            let wire = serde_json::to_string(document.sections()).unwrap();
            let sections: Map<String, Value> = serde_json::from_str(&wire).unwrap();
            prop_assert_eq!(Network::read(&sections).unwrap(), document.read::<Network>());
            prop_assert_eq!(System::read(&sections).unwrap(), document.read::<System>());
            prop_assert!(check_sections(&sections).is_ok());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = Document::parse(&text);
        }
    }
}
