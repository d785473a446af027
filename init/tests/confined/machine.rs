//! PID 1 with namespaces of its own, whose services run the probe.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::{Client, ServiceState};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Machine {
    pub(crate) folder: TempDir,
    unshare: Child,
}

/// What every service of these tests has; the rest is what a test is about.
pub(crate) fn manifest(name: &str, keys: &str, attempts: &[&str]) -> manifest::Manifest {
    let id = 250 + name.bytes().map(u32::from).sum::<u32>() % 50;
    let user = format!("user = {{ name = {name:?}, id = {id} }}\n");
    let user = if keys.contains("user = ") { "" } else { &user };
    let text = format!(
        "description = \"x\"\nkind = \"oneshot\"\nbinary = {:?}\narguments = {attempts:?}\n{user}{keys}\n",
        env!("CARGO_BIN_EXE_init-probe")
    );
    manifest::parse(&name.parse().unwrap(), name, &text).unwrap()
}

impl Machine {
    /// Starts the services, in their sandboxes or, to see that the attempts mean something, without.
    pub(crate) fn boot(confined: bool, services: Vec<manifest::Manifest>) -> Self {
        Self::boot_with(&["--net"], confined, services)
    }

    /// The same in the network of this host, and of this test.
    pub(crate) fn boot_on_host_network(confined: bool, services: Vec<manifest::Manifest>) -> Self {
        Self::boot_with(&[], confined, services)
    }

    fn boot_with(network: &[&str], confined: bool, services: Vec<manifest::Manifest>) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "run this test as root: sandboxes are built by root"
        );
        let folder = tempfile::tempdir().unwrap();
        let table = manifest::compile_sources(services).unwrap();
        let run = folder.path().join("run").display().to_string();
        let table = table
            .to_json()
            .replace("DATA", &format!("{run}/data"))
            .replace("RUN", &run);
        std::fs::write(folder.path().join("services.json"), table).unwrap();
        let said = std::fs::File::create(folder.path().join("stderr")).unwrap();
        let unshare = Command::new("unshare")
            .args(["--pid", "--mount", "--uts", "--mount-proc", "--fork"])
            .args(network)
            .arg("--kill-child=KILL")
            // A network in which a port can be bound.
            .args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_init"))
            .arg("--services")
            .arg(folder.path().join("services.json"))
            .arg("--run-dir")
            .arg(folder.path().join("run"))
            .args(confined.then_some("--confine"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        let machine = Self { folder, unshare };
        machine.eventually("PID 1 listens", || machine.socket().exists().then_some(()));
        machine
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/init.sock")
    }

    pub(crate) fn client(&self) -> Client {
        self.eventually("PID 1 takes a connection", || {
            Client::connect(self.socket()).ok()
        })
    }

    /// An attempt as the probe names it.
    pub(crate) fn told(&self, attempt: &str) -> String {
        let run = self.folder.path().join("run").display().to_string();
        attempt
            .replace("DATA", &format!("{run}/data"))
            .replace("RUN", &run)
    }

    /// What the probe of `name` printed, when it has ended.
    pub(crate) fn result(&self, name: &str) -> Vec<String> {
        self.eventually(&format!("{name} has ended"), || {
            let state = self.client().status().unwrap().service(name).unwrap().state;
            matches!(state, ServiceState::Done | ServiceState::Failed).then_some(())
        });
        let lines = self.client().logs(name, 10_000).unwrap();
        lines.into_iter().map(|line| line.text).collect()
    }

    pub(crate) fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let said = || std::fs::read_to_string(self.folder.path().join("stderr")).unwrap();
            assert!(
                Instant::now() < end,
                "waited in vain until {what}; PID 1 said:\n{}",
                said()
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
    }
}
