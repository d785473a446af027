//! The real binary as PID 1 of a PID namespace, without any privilege.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use api::{Client, ServiceState, ServiceStatus, Status};
use tempfile::TempDir;

/// Nothing that works takes longer, even on a busy host.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Machine {
    pub(crate) folder: TempDir,
    unshare: Child,
}

/// A service of the test program, with more keys for its manifest.
pub(crate) fn puppet(orders: &[&str], keys: &str) -> String {
    format!(
        "binary = {:?}\narguments = {orders:?}\n{keys}",
        env!("CARGO_BIN_EXE_init-puppet")
    )
}

impl Machine {
    pub(crate) fn boot(services: &[(&str, String)]) -> Self {
        Self::boot_program(services, |_| env!("CARGO_BIN_EXE_init").into())
    }

    /// With a PID 1 that the test may replace: `folder/init`.
    pub(crate) fn boot_replaceable(services: &[(&str, String)]) -> Self {
        Self::boot_program(services, |folder| {
            let program = folder.join("init");
            std::fs::copy(env!("CARGO_BIN_EXE_init"), &program).unwrap();
            program
        })
    }

    fn boot_program(services: &[(&str, String)], program: impl FnOnce(&Path) -> PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = services.iter().map(|(name, keys)| {
            let keys = keys.replace("FOLDER", folder.path().to_str().unwrap());
            let head = "description = \"x\"\nuser = { name = \"root\", id = 0 }\n";
            manifest::parse(&name.parse().unwrap(), name, &format!("{head}{keys}\n")).unwrap()
        });
        let table = manifest::compile_sources(manifests.collect()).unwrap();
        std::fs::write(folder.path().join("services.json"), table.to_json()).unwrap();
        let said = File::create(folder.path().join("stderr")).unwrap();
        let unshare = namespaces()
            .args([
                "/bin/sh",
                "-c",
                "mount -t tmpfs tmpfs /run && exec \"$@\"",
                "sh",
            ])
            .arg(program(folder.path()))
            .arg("--services")
            .arg(folder.path().join("services.json"))
            .arg("--run-dir")
            .arg(folder.path().join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        let machine = Self { folder, unshare };
        machine.eventually("PID 1 listens", || machine.socket().exists().then_some(()));
        machine
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("run/init.sock")
    }

    pub(crate) fn client(&self) -> Client {
        self.eventually("PID 1 takes a connection", || {
            Client::connect(self.socket()).ok()
        })
    }

    pub(crate) fn status(&self) -> Status {
        self.client().status().unwrap()
    }

    pub(crate) fn service(&self, name: &str) -> ServiceStatus {
        self.status().service(name).unwrap().clone()
    }

    pub(crate) fn log(&self, name: &str) -> Vec<String> {
        let lines = self.client().logs(name, 10_000).unwrap();
        lines.into_iter().map(|line| line.text).collect()
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Waits until `name` is in a state, and gives what PID 1 says about it then.
    pub(crate) fn until(&self, name: &str, state: ServiceState) -> ServiceStatus {
        self.eventually(&format!("{name} is {state}"), || {
            Some(self.service(name)).filter(|service| service.state == state)
        })
    }

    /// Waits until `name` has been restarted `restarts` times and is ready.
    pub(crate) fn until_restarted(&self, name: &str, restarts: u64) -> ServiceStatus {
        self.eventually(&format!("{name} is back, restart {restarts}"), || {
            let service = self.service(name);
            (service.restarts >= restarts && service.state == ServiceState::Ready)
                .then_some(service)
        })
    }

    pub(crate) fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                Instant::now() < end,
                "waited in vain until {what}; PID 1 said:\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal to a process that PID 1 knows by its own number.
    pub(crate) fn signal(&self, pid: u32, signal: rustix::process::Signal) {
        let pid = self.outer_pid(pid).expect("the process is alive");
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// A path of PID 1's mount namespace, as this host sees it.
    pub(crate) fn path(&self, inner: &str) -> PathBuf {
        let init = self.outer_pid(1).unwrap().as_raw_nonzero();
        format!("/proc/{init}/root{inner}").into()
    }

    /// What this host calls a process of the namespace.
    pub(crate) fn outer_pid(&self, inner: u32) -> Option<rustix::process::Pid> {
        let init = processes().find(|process| process.parent == self.unshare.id())?;
        let mut all = processes().filter(|process| process.namespace == init.namespace);
        let outer = all.find(|process| process.inner == inner)?.outer;
        rustix::process::Pid::from_raw(i32::try_from(outer).unwrap())
    }

    /// Resident memory of PID 1.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(self.path("/proc/1/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Processes of the namespace that are dead and not buried.
    pub(crate) fn zombies(&self) -> usize {
        let init = processes()
            .find(|process| process.parent == self.unshare.id())
            .unwrap();
        let all = processes().filter(|process| process.parent == init.outer);
        all.filter(|process| process.zombie).count()
    }

    /// Waits until PID 1 has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.unshare.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "PID 1 does not end; it said:\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Takes the whole namespace along.
        self.unshare.kill().ok();
        self.unshare.wait().ok();
        if std::thread::panicking() {
            eprintln!("PID 1 said:\n{}", self.said());
        }
    }
}

fn namespaces() -> Command {
    let base = [
        "--pid",
        "--mount",
        "--mount-proc",
        "--fork",
        "--kill-child=KILL",
    ];
    let user = ["--user", "--map-root-user"];
    let works = |arguments: &[&str]| {
        let status = Command::new("unshare").args(arguments).arg("true").output();
        status.is_ok_and(|output| output.status.success())
    };
    let rootless: Vec<&str> = user.iter().chain(&base).copied().collect();
    let mut command = Command::new("unshare");
    if works(&rootless) {
        command.args(rootless);
    } else if works(&base) {
        eprintln!("no user namespaces on this host: PID 1 is tested with the rights of root");
        command.args(base);
    } else {
        panic!(
            "this host permits neither user namespaces nor, to this user, PID namespaces: run as root or set kernel.unprivileged_userns_clone=1"
        );
    }
    command
}

struct Process {
    outer: u32,
    inner: u32,
    parent: u32,
    zombie: bool,
    namespace: PathBuf,
}

fn processes() -> impl Iterator<Item = Process> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| read_process(&entry.path()))
}

fn read_process(folder: &Path) -> Option<Process> {
    let outer = folder.file_name()?.to_str()?.parse().ok()?;
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    Some(Process {
        outer,
        inner: field("NSpid:")?.split_whitespace().last()?.parse().ok()?,
        parent: field("PPid:")?.trim().parse().ok()?,
        zombie: field("State:")?.trim().starts_with('Z'),
        namespace: std::fs::read_link(folder.join("ns/pid")).unwrap_or_default(),
    })
}
