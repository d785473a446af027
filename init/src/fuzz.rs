//! Entries for fuzzing: each takes any bytes and must return.

use std::sync::LazyLock;

use api::HealthState;
use manifest::Table;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::core::Core;
use crate::event::{Event, Exit, Moment, ServiceId};
use crate::log::LogFile;
use crate::notify::{self, Store};
use crate::request::{self, Unusable};
use crate::state::{Counters, Fds, State, StateFile};

/// A message to the notify socket.
pub fn notify(bytes: &[u8]) {
    if let Some(Store::Keep { name, .. } | Store::Remove { name }) = notify::parse(bytes).store {
        let fine = |c: char| (' '..='~').contains(&c) && c != ':';
        assert!(!name.is_empty() && name.len() <= 255 && name.chars().all(fine));
    }
}

/// Whatever a caller of the control socket may send.
pub fn calls(bytes: &[u8]) {
    for message in bytes.split(|byte| *byte == 0) {
        let refusal = match request::read(message) {
            Err(Unusable::NoCall(refusal) | Unusable::Refused(refusal)) => refusal.encode(),
            Err(Unusable::Unanswered) | Ok(_) => continue,
        };
        let (end, json) = refusal.split_last().expect("it ends with a NUL byte");
        assert!(*end == 0 && !json.contains(&0));
        let answer: serde_json::Value = serde_json::from_slice(json).expect("it is JSON");
        assert!(answer["error"].is_string());
    }
}

/// What another PID 1 left behind: it is refused, or can be gone on with.
pub fn state(json: &[u8]) {
    let Ok(state) = State::decode(json) else {
        return;
    };
    let again = serde_json::to_vec(&state).expect("what was JSON can be JSON");
    assert!(State::decode(&again).is_ok());
    let now = Moment(2_000);
    let mut core = Core::restore(now, table(), state.core);
    for event in [
        Event::Tick,
        Event::Spawned(ServiceId(0), 7),
        Event::Exited(ServiceId(0), Exit::Unseen),
        Event::Start(ServiceId(0)),
        Event::Stop(ServiceId(0)),
        Event::Tick,
    ] {
        core.handle(now, event);
        let _ = core.next_deadline();
        let _ = core.health();
        let _ = core.blame();
    }
}

/// The file in which such a state lies.
pub fn state_file(bytes: &[u8]) {
    let file = memfd_create(c"fuzz", MemfdFlags::CLOEXEC).expect("there is memory");
    rustix::io::pwrite(&file, bytes, 0).expect("there is memory");
    StateFile::adopt(file).ok();
}

/// The file in which a log lies.
pub fn log(bytes: &[u8]) {
    let file = memfd_create(c"fuzz", MemfdFlags::CLOEXEC).expect("there is memory");
    rustix::io::pwrite(&file, bytes, 0).expect("there is memory");
    let mut log = LogFile::adopt(file, 1).log(0);
    let before = log.since(0).len();
    log.write(Moment(1), b"a line\n");
    let after = log.since(0);
    assert!(after.len() <= before + 2);
    assert!(
        after
            .last()
            .is_some_and(|line| line.text.ends_with("a line"))
    );
}

/// A state and a file with it, to start from.
#[must_use]
pub fn states() -> (Vec<u8>, Vec<u8>) {
    let mut core = Core::new(Moment(1_000), table());
    core.handle(Moment(1_000), Event::Boot);
    let state = State {
        format: crate::state::FORMAT,
        handover: true,
        soft_reboot: false,
        began_us: 1,
        counters: Counters::default(),
        core: core.save(),
        processes: Vec::new(),
        clients: Vec::new(),
        records: crate::slots::Records::default(),
        jobs: Vec::new(),
        health: HealthState::Starting,
        fds: Fds {
            notify: 3,
            listener: 4,
            logs: Some(5),
        },
        watchdog: None,
        program: "/init".into(),
    };
    let mut file = StateFile::new().expect("there is memory");
    file.write(&state).expect("there is memory");
    let json = serde_json::to_vec(&state).expect("it has string keys only");
    (json, file.bytes())
}

/// A log with a few lines.
#[must_use]
pub fn logs() -> Vec<u8> {
    let file = LogFile::new(1);
    file.log(0).write(Moment(7), b"one\ntwo\nthr");
    let mut bytes = vec![0; 8192];
    let fd = file.fd().expect("there is memory");
    let length = rustix::io::pread(fd, &mut bytes, 0).expect("it can be read");
    bytes.truncate(length);
    bytes
}

/// Compiling a filter takes longer than a round of fuzzing.
fn table() -> Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        let name = "a".parse().expect("it is a name");
        let manifest = manifest::parse(&name, "fuzz", MANIFEST).expect("it is a manifest");
        manifest::compile_sources(vec![manifest]).expect("it stands alone")
    });
    TABLE.clone()
}

const MANIFEST: &str = "description = \"x\"\nbinary = \"/bin/true\"\ncritical = true\n\
                        user = { name = \"root\", id = 0 }\nwatchdog_s = 1\n";
