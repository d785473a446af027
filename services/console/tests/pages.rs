//! What the pages look like, and that no fact, however odd, breaks them.
//!
//! `X0_BLESS=1 cargo test -p console` writes the pages anew; the difference shows in review.

use std::path::Path;

use api::{Health, HealthState, ServiceState, ServiceStatus, Status};
use console::Secret;
use console::core::{Access, Command, Core, Wish};
use console::input::{Key, Parser};
use console::model::{self, Address, Interface, Link, Network, Snapshot};
use console::screen::{Frame, Painter, Size};
use proptest::prelude::*;

fn service(name: &str, state: ServiceState, says: &str) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        description: format!("What {name} does"),
        state,
        pid: matches!(state, ServiceState::Ready | ServiceState::Starting).then_some(212),
        uptime_ms: 11_231_000,
        restarts: 0,
        status_text: says.into(),
        last_exit: None,
        critical: true,
        needs: vec![],
        resources: None,
        stored_fds: 0,
    }
}

fn status() -> Status {
    use ServiceState::{Done, Ready};
    let mut console = service("console", Ready, "");
    console.critical = false;
    let mut network = service("network", Ready, "3 links up");
    network.needs = vec!["provision".into()];
    Status {
        version: "0.1.0".into(),
        build: "3fe08651c2b7aa90".into(),
        hostname: "router-7".into(),
        slot: Some("a".into()),
        boot_count: Some(17),
        previous_end: Some("asked to reboot by the console".into()),
        health: Health {
            state: HealthState::Healthy,
            reasons: vec![],
        },
        uptime_ms: 11_233_456,
        userspace_ready_ms: Some(412),
        notify_rejected: 0,
        reexecs: 0,
        last_reexec_us: None,
        crash: None,
        soft_reboots: 0,
        services: vec![
            service("data", Done, "DATA is /dev/vda7, 1.9 GB free"),
            service("provision", Done, "configuration of DATA, generation 3"),
            network,
            console,
            service("channel", Ready, "no host"),
        ],
    }
}

fn interface(name: &str, link: Link, addresses: &[(&str, &str)]) -> Interface {
    let address = |(address, origin): &(&str, &str)| Address {
        address: (*address).into(),
        origin: (*origin).into(),
    };
    Interface {
        name: name.into(),
        role: if name == "eth0" { "wan" } else { "lan" }.into(),
        note: String::new(),
        link,
        addresses: addresses.iter().map(address).collect(),
    }
}

fn network() -> Network {
    let long = "2001:db8:12:3400:5054:ff:fe12:3456/64";
    Network {
        interfaces: vec![
            interface(
                "eth0",
                Link::Up,
                &[
                    ("192.0.2.117/24", "dhcp"),
                    (long, "ra"),
                    ("fe80::5054:ff:fe12:3456/64", "kernel"),
                ],
            ),
            interface(
                "eth1",
                Link::Up,
                &[
                    ("192.168.77.1/24", "static"),
                    ("fd77:7777:7777:1::1/64", "static"),
                ],
            ),
            interface("eth2", Link::NoCarrier, &[]),
        ],
        routes: vec![
            "gateway 192.0.2.1 on eth0 dhcp".into(),
            "dns 192.0.2.53, 2001:db8:12::53".into(),
        ],
        problems: vec![],
    }
}

fn healthy() -> Snapshot {
    Snapshot::new(Some(status()), None, network())
}

fn degraded() -> Snapshot {
    let mut status = status();
    status.health = Health {
        state: HealthState::Degraded,
        reasons: vec![
            "DATA cannot be used: its file system has errors that e2fsck could not repair; nothing \
             that is configured now will survive a reboot"
                .into(),
            "service network: restarted 5 times in 30 s, given up".into(),
        ],
    };
    status.previous_end = Some("kernel panic: Attempted to kill init! exitcode=0x0000000b".into());
    let network_service = &mut status.services[2];
    network_service.state = ServiceState::Failed;
    network_service.pid = None;
    network_service.restarts = 5;
    network_service.last_exit = Some("killed by SIGSEGV".into());
    let mut mesh = service("mesh", ServiceState::Waiting, "");
    mesh.needs = vec!["network".into(), "data".into()];
    status.services.push(mesh);
    let mut network = network();
    network.problems = vec!["eth2: no cable".into()];
    Snapshot::new(Some(status), None, network)
}

fn show(core: &Core, snapshot: &Snapshot) -> Frame {
    core.frame(5_000, snapshot, Size::VT100)
}

fn press(core: &mut Core, snapshot: &Snapshot, now_ms: u64, bytes: &[u8]) -> Option<Wish> {
    let mut parser = Parser::default();
    let keys: Vec<Key> = bytes.iter().filter_map(|b| parser.push(*b)).collect();
    let mut wish = None;
    for key in keys {
        wish = core.key(now_ms, key, snapshot, Size::VT100);
    }
    wish
}

#[track_caller]
fn compare(name: &str, frame: &Frame) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pages")
        .join(format!("{name}.txt"));
    let page: String = frame.lines().map(|line| line + "\n").collect();
    if std::env::var_os("X0_BLESS").is_some() {
        std::fs::write(&file, &page).expect("the pages lie beside this file");
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(page, expected, "{} is different", file.display());
}

#[test]
fn a_healthy_machine() {
    compare("healthy", &show(&Core::default(), &healthy()));
}

#[test]
fn a_degraded_machine_and_its_reasons() {
    let snapshot = degraded();
    let mut core = Core::default();
    compare("degraded", &show(&core, &snapshot));
    press(&mut core, &snapshot, 0, b"jjd");
    compare("details", &show(&core, &snapshot));
}

#[test]
fn pid_1_away() {
    let fault = "cannot connect to PID 1 at /run/x0/init.sock: connection refused";
    let never = Snapshot::new(None, Some(fault.into()), network());
    compare("no-init", &show(&Core::default(), &never));
    let lost = Snapshot::new(Some(status()), Some(fault.into()), network());
    compare("lost-init", &show(&Core::default(), &lost));
}

#[test]
fn thirty_services() {
    let mut status = status();
    for number in 0..30 {
        let name = format!("extra-{number:02}");
        let says = "a status text that is much too long for the room that there is";
        status
            .services
            .push(service(&name, ServiceState::Ready, says));
    }
    let snapshot = Snapshot::new(Some(status), None, network());
    let mut core = Core::default();
    press(&mut core, &snapshot, 0, &[b'j'; 20]);
    compare("many", &show(&core, &snapshot));
}

#[test]
fn the_log_of_a_service() {
    let snapshot = healthy();
    let mut core = Core::default();
    press(&mut core, &snapshot, 0, b"jj\r");
    assert_eq!(core.log_wanted(), Some("network"));
    let line = |number: u64| api::LogLine {
        uptime_ms: 4_000 + number * 1_111,
        text: format!("INFO \x1b[32mlink\x1b[0m eth{number} is up\tnow"),
    };
    let mut lines: Vec<_> = (0..40).map(line).collect();
    lines.push(api::LogLine {
        uptime_ms: 99_999_999,
        text: "a long line that has to be broken, ".repeat(5),
    });
    core.log("network", Ok(model::log(&lines)));
    compare("log", &show(&core, &snapshot));
    press(&mut core, &snapshot, 0, b"\x1b[5~");
    assert_eq!(core.log_wanted(), None, "the text stands still");
    compare("log-scrolled", &show(&core, &snapshot));
    press(&mut core, &snapshot, 0, b"G");
    assert_eq!(core.log_wanted(), Some("network"));
    press(&mut core, &snapshot, 0, b"q");
    assert_eq!(core.log_wanted(), None);
}

#[test]
fn help_and_a_question() {
    let snapshot = healthy();
    let mut core = Core::default();
    press(&mut core, &snapshot, 0, b"?");
    compare("help", &show(&core, &snapshot));
    press(&mut core, &snapshot, 0, b"q");
    press(&mut core, &snapshot, 0, b"R");
    compare("question", &show(&core, &snapshot));
}

#[test]
fn what_changes_the_machine_asks_first() {
    let snapshot = healthy();
    let mut core = Core::default();
    let reboot = Wish::Do(Command::Power(api::Power::Reboot));
    assert_eq!(press(&mut core, &snapshot, 0, b"R"), None);
    assert_eq!(press(&mut core, &snapshot, 1_000, b"y"), Some(reboot));
    assert_eq!(press(&mut core, &snapshot, 2_000, b"P"), None);
    assert_eq!(press(&mut core, &snapshot, 3_000, b"n"), None);
    assert_eq!(press(&mut core, &snapshot, 4_000, b"y"), None);
    assert_eq!(press(&mut core, &snapshot, 5_000, b"r"), None);
    assert_eq!(press(&mut core, &snapshot, 60_000, b"y"), None, "too late");
    assert_eq!(press(&mut core, &snapshot, 70_000, b"jjr"), None);
    assert_eq!(
        press(&mut core, &snapshot, 71_000, b"y"),
        Some(Wish::Do(Command::Restart("network".into())))
    );
}

#[test]
fn a_pasted_text_does_not_reboot() {
    let snapshot = healthy();
    let mut core = Core::default();
    for (number, text) in ["Ryzen", "Proxy: Ry Py", "sysctl ry"].iter().enumerate() {
        let now = number as u64 * 100_000;
        let mut parser = Parser::default();
        for key in text.bytes().filter_map(|b| parser.push(b)) {
            let wish = core.key(now, key, &snapshot, Size::VT100);
            assert!(!matches!(wish, Some(Wish::Do(_))), "{text}");
        }
    }
}

#[test]
fn a_password_is_asked_verified_and_limited() {
    let snapshot = healthy();
    let mut core = Core::default();
    assert_eq!(
        press(&mut core, &snapshot, 0, b"l"),
        None,
        "nobody knows yet"
    );
    core.admit(Access::Free);
    assert_eq!(press(&mut core, &snapshot, 0, b"l"), Some(Wish::LogIn));
    core.admit(Access::Password);
    for key in [b"r", b"s", b"R", b"P"] {
        press(&mut core, &snapshot, 0, key);
        assert_eq!(press(&mut core, &snapshot, 1_000, b"y"), None);
    }
    press(&mut core, &snapshot, 2_000, b"l");
    assert!(core.wants_bytes());
    let typed = b"secret".map(|byte| core.password_byte(2_000, byte));
    assert_eq!(typed, [const { None }; 6]);
    compare("password", &show(&core, &snapshot));
    let wish = core.password_byte(2_000, b'\r');
    assert_eq!(wish, Some(Wish::Verify(Secret::from("secret"))));
    assert!(core.is_verifying());
    core.verdict(3_000, false, 4_000);
    assert!(!core.wants_bytes());
    press(&mut core, &snapshot, 6_999, b"l");
    assert!(!core.wants_bytes());
    let last = show(&core, &snapshot).lines().last().unwrap();
    assert_eq!(last, " After a wrong password: wait 1 s.");
    press(&mut core, &snapshot, 7_000, b"l");
    assert!(core.wants_bytes());
    core.tick(67_000);
    assert!(!core.wants_bytes(), "nobody finished it");
    core.admit(Access::Closed("a damaged hash\x1b[2J".into()));
    assert_eq!(press(&mut core, &snapshot, 90_000, b"l"), None);
    assert!(!core.wants_bytes());
}

#[test]
fn a_failed_service_can_be_started_and_a_refusal_is_shown() {
    let snapshot = degraded();
    let mut core = Core::default();
    let start = Command::Start("network".into());
    assert_eq!(press(&mut core, &snapshot, 0, b"jjs"), None);
    let wish = press(&mut core, &snapshot, 1_000, b"y");
    assert_eq!(wish, Some(Wish::Do(start.clone())));
    core.done(0, &start, Err("PID 1 said\x1b[2J no".into()));
    let last = show(&core, &snapshot).lines().last().unwrap();
    assert_eq!(last, " Could not start network: PID 1 said no");
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,200}",
        Just("\x1b[2J\x1b]0;x\x07\r\n\u{9b}31m".to_owned()),
    ]
}

fn any_state() -> impl Strategy<Value = ServiceState> {
    use ServiceState::{Backoff, Done, Failed, Ready, Starting, Stopped, Stopping, Waiting};
    prop::sample::select(vec![
        Backoff, Done, Failed, Ready, Starting, Stopped, Stopping, Waiting,
    ])
}

prop_compose! {
    fn any_service()(
        texts in [any_text(), any_text(), any_text()],
        state in any_state(),
        pid in any::<Option<u32>>(),
        uptime_ms in any::<u64>(),
        restarts in any::<u64>(),
        last_exit in prop::option::of(any_text()),
        critical in any::<bool>(),
        needs in prop::collection::vec(any_text(), 0..4),
    ) -> ServiceStatus {
        let [name, description, status_text] = texts;
        ServiceStatus {
            name, description, state, pid, uptime_ms, restarts, status_text, last_exit, critical,
            needs,
            resources: None,
            stored_fds: 0,
        }
    }
}

prop_compose! {
    fn any_status()(
        texts in [any_text(), any_text(), any_text()],
        options in [prop::option::of(any_text()), prop::option::of(any_text())],
        state in prop::sample::select(vec![
            HealthState::Degraded, HealthState::Failed, HealthState::Healthy, HealthState::Starting,
        ]),
        numbers in any::<[u64; 4]>(),
        reasons in prop::collection::vec(any_text(), 0..12),
        services in prop::collection::vec(any_service(), 0..30),
    ) -> Status {
        let [version, build, hostname] = texts;
        let [slot, previous_end] = options;
        Status {
            version, build, hostname, slot, previous_end, services,
            boot_count: Some(numbers[0]),
            health: Health { state, reasons },
            uptime_ms: numbers[1],
            userspace_ready_ms: Some(numbers[2]),
            notify_rejected: numbers[3],
            reexecs: 0,
            last_reexec_us: None,
            crash: None,
            soft_reboots: 0,
        }
    }
}

prop_compose! {
    fn any_network()(
        interfaces in prop::collection::vec(
            (any_text(), 0_usize..4, prop::collection::vec((any_text(), any_text()), 0..5)),
            0..9,
        ),
        problems in prop::collection::vec(any_text(), 0..9),
    ) -> Network {
        let links = [Link::Up, Link::NoCarrier, Link::Off, Link::Absent];
        let interface = |(name, link, addresses): (String, usize, Vec<(String, String)>)| Interface {
            role: name.clone(),
            note: name.clone(),
            name,
            link: links[link],
            addresses: addresses
                .into_iter()
                .map(|(address, origin)| Address { address, origin })
                .collect(),
        };
        Network {
            interfaces: interfaces.into_iter().map(interface).collect(),
            routes: problems.clone(),
            problems,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn no_fact_and_no_key_breaks_a_page(
        status in prop::option::of(any_status()),
        fault in prop::option::of(any_text()),
        network in any_network(),
        log in prop::collection::vec((any::<u64>(), any_text()), 0..60),
        keys in prop::collection::vec(any::<u8>(), 0..60),
        columns in any::<u16>(),
        rows in 0_u16..90,
    ) {
        let size = Size::new(columns, rows);
        let snapshot = Snapshot::new(status, fault, network);
        let lines: Vec<_> = log
            .into_iter()
            .map(|(uptime_ms, text)| api::LogLine { uptime_ms, text })
            .collect();
        let mut core = Core::default();
        let mut parser = Parser::default();
        let mut painter = Painter::new(true);
        for (now, byte) in (0..).zip(keys.into_iter().chain(*b"\r\x1b[5~q")) {
            if let Some(key) = parser.push(byte) {
                core.key(now * 50, key, &snapshot, size);
            }
            if let Some(service) = core.log_wanted().map(str::to_owned) {
                core.log(&service, Ok(model::log(&lines)));
            }
            let frame = core.frame(now * 50, &snapshot, size);
            for line in frame.lines() {
                prop_assert!(line.len() < size.columns() + 1);
                prop_assert!(line.bytes().all(|b| (0x20..0x7f).contains(&b)));
            }
            let mut out = Vec::new();
            painter.paint(&frame, &mut out);
            prop_assert!(out.iter().all(|b| *b == 0x1b || (0x20..0x7f).contains(b)));
        }
    }
}
