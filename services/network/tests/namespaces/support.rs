//! Network namespaces with cables between them, and the service's real binary in one of them.

use std::cell::RefCell;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use network_api::Status;
use tempfile::TempDir;

use crate::told::Store;

/// Long enough for a busy machine; nothing waits this long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// A namespace; goes with everything in it.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(label: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("x0t{}-{number}-{label}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self(name);
        namespace.ip("link set lo up");
        namespace
    }

    /// A cable between two namespaces, with a card on each end.
    pub(crate) fn cable(&self, card: &str, other: &Self, other_card: &str) {
        self.ip(&format!(
            "link add {card} type veth peer name {other_card} netns {}",
            other.0
        ));
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Runs `ip` inside, and gives what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.try_ip(arguments)
            .unwrap_or_else(|error| panic!("ip {arguments}: {error}"))
    }

    pub(crate) fn try_ip(&self, arguments: &str) -> Result<String, String> {
        let mut command = Command::new("ip");
        command
            .args(["-netns", &self.0])
            .args(arguments.split_whitespace());
        let output = command.output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    /// Waits until a host answers; the first packets may meet addresses that are still checked.
    pub(crate) fn ping(&self, to: &str) {
        wait(&format!("{to} answers"), || {
            let mut ping = self.command("ping");
            ping.args(["-c1", "-W1", to])
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            ping.status().unwrap().success().then_some(())
        });
    }

    /// Runs a function inside.
    pub(crate) fn enter<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                // Only this thread moves, and it ends here.
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)
                    .unwrap();
                function()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// The service with its files.
pub(crate) struct Router {
    pub(crate) directory: TempDir,
    child: Option<Child>,
    /// Whether it asks a store, and not a file.
    asks_store: bool,
    notify: UnixDatagram,
    /// Every line that it has sent.
    told: RefCell<Vec<String>>,
}

impl Router {
    /// Prepares a configuration; nothing runs yet.
    pub(crate) fn new(document: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("run")).unwrap();
        fs::write(directory.path().join("x0.toml"), document).unwrap();
        let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        notify.set_nonblocking(true).unwrap();
        Self {
            directory,
            child: None,
            asks_store: false,
            notify,
            told: RefCell::default(),
        }
    }

    /// A store for it, which hands out this document; nothing runs yet.
    pub(crate) fn with_store(document: &str) -> (Self, Store) {
        let mut router = Self::new("");
        router.asks_store = true;
        let store = router.store(document);
        (router, store)
    }

    /// Makes it ask a store, and gives the socket that it asks at.
    pub(crate) fn asks_store(&mut self) -> PathBuf {
        self.asks_store = true;
        self.path("store.sock")
    }

    /// Starts a store anew.
    pub(crate) fn store(&self, document: &str) -> Store {
        Store::start(&self.path("store.sock"), document)
    }

    /// Starts the service and waits until it says that it is ready.
    pub(crate) fn start(&mut self, namespace: &Namespace) {
        let _ = fs::remove_file(self.path("run/status.json"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let source = match self.asks_store {
            true => ["--store".into(), self.path("store.sock")],
            false => ["--config".into(), self.path("x0.toml")],
        };
        let child = namespace
            .command(env!("CARGO_BIN_EXE_network"))
            .args(source)
            .arg("--run")
            .arg(self.path("run"))
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env("WATCHDOG_USEC", "10000000")
            .env("X0_LOG", "debug")
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.told.borrow_mut().clear();
        self.notified("READY=1");
    }

    /// Waits for a message to PID 1 that begins like this, or gives the last one that did.
    pub(crate) fn notified(&self, start: &str) -> String {
        wait_or(
            &format!("the service tells {start}"),
            || {
                let mut buffer = [0; 4096];
                let mut told = self.told.borrow_mut();
                while let Ok(len) = self.notify.recv(&mut buffer) {
                    told.extend(
                        String::from_utf8_lossy(&buffer[..len])
                            .lines()
                            .map(str::to_owned),
                    );
                }
                told.iter()
                    .rev()
                    .find(|line| line.starts_with(start))
                    .cloned()
            },
            || self.log(),
        )
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// As PID 1 would; the service ends well.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.log());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    pub(crate) fn configure(&self, document: &str) {
        fs::write(self.path("x0.toml"), document).unwrap();
    }

    pub(crate) fn status(&self) -> Option<Status> {
        serde_json::from_str(&fs::read_to_string(self.path("run/status.json")).ok()?).ok()
    }

    /// Waits until the status is as wanted.
    pub(crate) fn wait_status(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        wait_or(
            what,
            || self.status().filter(&wanted),
            || format!("{:#?}\n{}", self.status(), self.log()),
        )
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    pub(crate) fn log(&self) -> String {
        self.read("log")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Debian's dnsmasq as an independent DHCP server.
pub(crate) struct DhcpServer(Child);

impl DhcpServer {
    pub(crate) fn start(namespace: &Namespace, card: &str) -> Self {
        let mut command = namespace.command("dnsmasq");
        command.args([
            "--conf-file=/dev/null",
            "--no-daemon",
            "--port=0",
            "--leasefile-ro",
            "--dhcp-authoritative",
            "--dhcp-range=192.0.2.50,192.0.2.59,120",
            "--dhcp-option=6,192.0.2.53",
            "--dhcp-option=15,example.net",
            "--dhcp-option=121,198.51.100.0/24,192.0.2.7,0.0.0.0/0,192.0.2.1",
        ]);
        command
            .arg(format!("--interface={card}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().expect("dnsmasq-base is installed"))
    }
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn wait<T>(what: &str, poll: impl FnMut() -> Option<T>) -> T {
    wait_or(what, poll, String::new)
}

/// Looks again and again until there is something, or the deadline has passed.
pub(crate) fn wait_or<T>(
    what: &str,
    mut poll: impl FnMut() -> Option<T>,
    details: impl FnOnce() -> String,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "waited in vain until {what}\n{}",
            details()
        );
        thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn addresses(status: &Status, link: &str) -> Vec<String> {
    let links = status.links.iter().filter(|status| status.name == link);
    links
        .flat_map(|link| {
            link.addresses
                .iter()
                .map(|a| format!("{} {}", a.address, a.origin))
        })
        .collect()
}

/// A DHCP server's socket that answers by broadcast.
pub(crate) fn server_socket(card: &str) -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.bind_device(Some(card.as_bytes())).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let address: std::net::SocketAddr = "0.0.0.0:67".parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket.into()
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(
        status.success(),
        "{command:?}: {status}; these tests need root and iproute2"
    );
}
