use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing that works takes longer, even on a busy host.
const DEADLINE: Duration = Duration::from_secs(30);

const POLICY: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=FOLDER/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow own="*"/><allow user="*"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/>
<allow receive_type="error"/><allow receive_type="signal"/></policy>
</busconfig>"#;

/// A router without a machine.
pub(crate) struct Bench {
    folder: TempDir,
    bus: Option<Child>,
    init: Child,
}

/// What x0ctl answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Other users take part, too.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let policy = POLICY.replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(folder.path().join("bus.conf"), policy).unwrap();
        std::fs::write(folder.path().join("services.json"), table()).unwrap();
        let init = start_init(folder.path());
        let mut bench = Self {
            folder,
            bus: None,
            init,
        };
        bench.start_bus();
        let config = admin::Config {
            bus: bench.address(),
            init: bench.path("run/init.sock"),
            store: bench.path("store.sock"),
        };
        std::thread::spawn(move || admin::run(&config));
        bench.eventually("admin is on the bus", || {
            // The services' objects come after PID 1 was heard for the first time.
            let answer = bench.x0ctl(&["service", "logs", "alpha"]);
            (answer.code == 0 && answer.err.is_empty()).then_some(())
        });
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.path("bus").display())
    }

    pub(crate) fn start_bus(&mut self) {
        let _ = std::fs::remove_file(self.path("bus"));
        let bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", self.path("bus.conf").display()))
            .args(["--nofork", "--nopidfile", "--nosyslog"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.bus = Some(bus);
        self.eventually("the bus listens", || {
            self.path("bus").exists().then_some(())
        });
    }

    pub(crate) fn stop_bus(&mut self) {
        if let Some(mut bus) = self.bus.take() {
            bus.kill().unwrap();
            bus.wait().unwrap();
        }
    }

    /// The store begins; before that the router has none.
    pub(crate) fn start_store(&self) {
        let folder = self.path("store");
        std::fs::create_dir(&folder).unwrap();
        let config = store::Config {
            folder,
            socket: self.path("store.sock"),
            services: self.path("services.json"),
        };
        std::thread::spawn(move || store::run(&config));
        self.eventually("the store answers", || {
            (self.x0ctl(&["store", "stats"]).code == 0).then_some(())
        });
    }

    pub(crate) fn x0ctl(&self, arguments: &[&str]) -> Answer {
        answer(self.command(arguments).output().unwrap())
    }

    pub(crate) fn x0ctl_as(&self, user: u32, arguments: &[&str]) -> Answer {
        answer(
            self.command(arguments)
                .uid(user)
                .gid(user)
                .output()
                .unwrap(),
        )
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_x0ctl"));
        command
            .args(arguments)
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.address())
            .arg("--init")
            .arg(self.path("run/init.sock"))
            .stdin(Stdio::null());
        command
    }

    /// What it prints where it must succeed.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let answer = self.x0ctl(arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {}", answer.err);
        answer.out
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&self.says(&arguments)).unwrap()
    }

    pub(crate) fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop_bus();
        self.init.kill().ok();
        self.init.wait().ok();
    }
}

fn answer(output: Output) -> Answer {
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn table() -> String {
    let source = |name: &str, keys: &str| {
        let text = format!(
            "description = \"Test\"\nuser = {{ name = \"root\", id = 0 }}\nbinary = \"/bin/sleep\"\n\
             arguments = [\"1000000\"]\n{keys}"
        );
        manifest::parse(&name.parse().unwrap(), name, &text).unwrap()
    };
    let alpha = source("alpha", "readiness = \"exec\"\n");
    let beta = source("beta", "readiness = \"exec\"\nneeds = [\"alpha\"]\n");
    manifest::compile_sources(vec![alpha, beta])
        .unwrap()
        .to_json()
}

/// The program comes from another package, which cargo builds here when it is not built yet.
fn start_init(folder: &Path) -> Child {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "init", "--bin", "init"])
        .status()
        .unwrap();
    assert!(built.success());
    let program = Path::new(env!("CARGO_BIN_EXE_x0ctl")).with_file_name("init");
    let said = std::fs::File::create(folder.join("init.log")).unwrap();
    Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--pid",
            "--mount",
            "--fork",
            "--kill-child",
        ])
        .arg(program)
        .arg("--services")
        .arg(folder.join("services.json"))
        .arg("--run-dir")
        .arg(folder.join("run"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .unwrap()
}
