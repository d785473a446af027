//! A PID 1 that is none, a pseudo-terminal with a terminal emulator behind it, and the console.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::wire::{Call, LogsReply, Reply, StatusReply, encode};
use api::{Health, HealthState, LogLine, ServiceState, ServiceStatus, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::Termios;

use crate::store::Store;

const DEADLINE: Duration = Duration::from_secs(30);

/// A folder with a socket for PID 1, and the console once it was started.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    console: Option<Child>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("the temporary folder can be written"),
            console: None,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("init.sock")
    }

    fn store_socket(&self) -> PathBuf {
        self.folder.path().join("store.sock")
    }

    /// A file in the bench's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store comes up, with this section `login`.
    pub(crate) fn store(&self, login: serde_json::Value) -> Store {
        Store::start(&self.store_socket(), login)
    }

    /// PID 1 comes up.
    pub(crate) fn init(&self) -> Init {
        Init::start(&self.socket())
    }

    pub(crate) fn start(&mut self, lines: &[&Line]) {
        let paths: Vec<&Path> = lines.iter().map(|line| line.path()).collect();
        self.start_with(&paths);
    }

    pub(crate) fn start_with(&mut self, devices: &[&Path]) {
        self.start_as(&[], devices);
    }

    /// With further options.
    pub(crate) fn start_as(&mut self, options: &[&str], devices: &[&Path]) {
        let child = Command::new(env!("CARGO_BIN_EXE_console"))
            .arg("--init")
            .arg(self.socket())
            .arg("--store")
            .arg(self.store_socket())
            .args(options)
            .args(devices)
            .env("RUNTIME_DIRECTORY", self.folder.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("the console was built");
        self.console = Some(child);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        let console = self.console.as_mut().expect("it was started");
        console.try_wait().expect("it is our child").is_none()
    }

    /// Asks the console to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        let console = self.console.as_mut().expect("it was started");
        let pid = rustix::process::Pid::from_child(console);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("it is our child and not yet waited for");
        assert!(console.wait().expect("it is our child").success());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(console) = &mut self.console {
            console.kill().ok();
            console.wait().ok();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitState {
    Answers,
    Silent,
    Nonsense,
}

/// What the fake PID 1 knows.
struct Facts {
    state: InitState,
    status: Status,
    log: Vec<LogLine>,
    calls: Vec<(String, String)>,
}

/// A PID 1 that answers calls.
pub(crate) struct Init {
    facts: Arc<Mutex<Facts>>,
}

impl Init {
    fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("the folder is empty");
        let facts = Arc::new(Mutex::new(Facts {
            state: InitState::Answers,
            status: status(),
            log: vec![LogLine {
                uptime_ms: 1_000,
                text: "first line".into(),
            }],
            calls: Vec::new(),
        }));
        let shared = Arc::clone(&facts);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let facts = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &facts));
            }
        });
        Self { facts }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Facts) -> T) -> T {
        work(&mut self.facts.lock().expect("no holder panics"))
    }

    pub(crate) fn set(&self, state: InitState) {
        self.with(|facts| facts.state = state);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Status)) {
        self.with(|facts| change(&mut facts.status));
    }

    pub(crate) fn log(&self, text: &str) {
        self.with(|facts| {
            facts.log.push(LogLine {
                uptime_ms: 2_000,
                text: text.into(),
            });
        });
    }

    /// What `method` was called with.
    pub(crate) fn calls(&self, method: &str) -> Vec<String> {
        self.with(|facts| {
            let of_method = facts.calls.iter().filter(|(name, _)| name == method);
            of_method.map(|(_, what)| what.clone()).collect()
        })
    }
}

fn serve(mut stream: &UnixStream, facts: &Mutex<Facts>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut message = Vec::new();
        if reader.read_until(0, &mut message).is_err() || message.pop() != Some(0) {
            return;
        }
        let call: Call = serde_json::from_slice(&message).expect("the client speaks Varlink");
        let answer = {
            let mut facts = facts.lock().expect("no holder panics");
            match facts.state {
                InitState::Answers => answer(&mut facts, &call),
                InitState::Silent => continue,
                InitState::Nonsense => b"{\"parameters\":[\0".to_vec(),
            }
        };
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

fn answer(facts: &mut Facts, call: &Call) -> Vec<u8> {
    let method = call.method.rsplit('.').next().expect("rsplit gives one");
    match method {
        "Status" => {
            let status = facts.status.clone();
            facts.status.uptime_ms += 2_000;
            reply(StatusReply { status })
        }
        "Logs" => reply(LogsReply {
            lines: facts.log.clone(),
            dropped_bytes: 0,
        }),
        _ => {
            let parameters = call.parameters.as_ref().and_then(|p| p.as_object());
            let what = parameters.and_then(|p| p.values().next()?.as_str());
            let what = what.unwrap_or_default().to_owned();
            facts.calls.push((method.to_owned(), what));
            b"{}\0".to_vec()
        }
    }
}

fn reply<P: serde::Serialize>(parameters: P) -> Vec<u8> {
    encode(&Reply {
        parameters: Some(parameters),
        continues: false,
        error: None,
    })
}

fn status() -> Status {
    let service = |name: &str| ServiceStatus {
        name: name.into(),
        description: format!("What {name} does"),
        state: ServiceState::Ready,
        pid: Some(212),
        uptime_ms: 11_231_000,
        restarts: 0,
        status_text: String::new(),
        last_exit: None,
        critical: true,
        needs: vec![],
        resources: None,
        stored_fds: 0,
    };
    Status {
        version: "0.1.0".into(),
        build: "3fe08651c2b7aa90".into(),
        hostname: "router-7".into(),
        slot: Some("a".into()),
        boot_count: Some(17),
        previous_end: Some("reboot, asked for at the console".into()),
        health: Health {
            state: HealthState::Healthy,
            reasons: vec![],
        },
        uptime_ms: 11_233_000,
        userspace_ready_ms: Some(412),
        notify_rejected: 0,
        reexecs: 0,
        last_reexec_us: None,
        crash: None,
        soft_reboots: 0,
        services: ["data", "provision", "network", "console", "channel"]
            .map(service)
            .into(),
    }
}

/// A serial line, seen from the other end.
pub(crate) struct Line {
    master: File,
    /// Keeps the line up while the console has it closed.
    slave: OwnedFd,
    path: PathBuf,
    emulator: vt100::Parser,
    received: Vec<u8>,
}

impl Line {
    pub(crate) fn new() -> Self {
        use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
        // The console must not hold the other end of its own line.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("there are pseudo-terminals");
        grantpt(&master).expect("it is a pseudo-terminal");
        unlockpt(&master).expect("it is a pseudo-terminal");
        let name = ptsname(&master, Vec::new()).expect("it is a pseudo-terminal");
        let slave = ioctl_tiocgptpeer(&master, flags).expect("it was unlocked");
        Self {
            path: name
                .into_string()
                .expect("a path in /dev/pts is ASCII")
                .into(),
            master: master.into(),
            slave,
            emulator: vt100::Parser::new(24, 80, 0),
            received: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that came over the line so far.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// The line's settings, in a form that can be compared.
    pub(crate) fn settings(&self) -> String {
        let settings: Termios =
            rustix::termios::tcgetattr(&self.slave).expect("the line is a terminal");
        format!("{settings:?}")
    }

    /// Somebody pulls the plug.
    pub(crate) fn hang_up(self) {
        drop(self);
    }

    pub(crate) fn type_keys(&mut self, keys: &[u8]) {
        self.master.write_all(keys).expect("the line takes keys");
    }

    /// Types `y` as late after the question as a person would.
    pub(crate) fn confirm(&mut self) {
        self.read_for(Duration::from_millis(300));
        self.type_keys(b"y");
    }

    /// Waits until `text` is on the screen.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.emulator.screen().contents().contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let screen = self.emulator.screen().contents();
                panic!("no {text:?} on the screen:\n{screen}");
            }
            self.read(left);
        }
    }

    /// Takes what comes within `time`.
    pub(crate) fn read_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.read(left);
        }
    }

    fn read(&mut self, limit: Duration) {
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).expect("deadlines are short"),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        let mut fds = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&limit)).expect("the line can be waited for");
        if fds[0].revents().contains(PollFlags::IN) {
            let mut bytes = [0; 4096];
            let count = self.master.read(&mut bytes).expect("the line is up");
            self.received.extend_from_slice(&bytes[..count]);
            self.emulator.process(&bytes[..count]);
        }
    }
}
