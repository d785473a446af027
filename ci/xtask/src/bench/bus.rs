//! `ci/bench bus`: the system bus beside Debian's `dbus-daemon` with an equal policy, in turns: the
//! same clients, the same messages, the same machine.
//!
//! A client calls, a service of another user answers, and the time until the answer is there is one
//! sample. Both are as lean as can be, so that what is measured is the way through the broker and
//! the kernel, not a library.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use appliance::wait_for;
use peer::{Activated, Outgoing, Peer, User, Variant, run_as};

use crate::bench::{Results, median};
use crate::checkout;

const NAME: &str = "org.x0tta6bl4.Bench1";
/// `dbus-daemon` lets nobody in who is not in /etc/passwd, so both are users of every Debian.
const SERVICE: User<'static> = User { id: 0, groups: &[] };
const CLIENT: User<'static> = User {
    id: 1,
    groups: &[90],
};
/// Whom our bus runs as. `dbus-daemon` wants to find its user in /etc/passwd, and stays root.
const BUS: u32 = 206;
const LOADS: [Load; 3] = [
    Load {
        suffix: "",
        clients: 1,
        properties: 20,
    },
    Load {
        suffix: "_empty",
        clients: 1,
        properties: 0,
    },
    Load {
        suffix: "_8_clients",
        clients: 8,
        properties: 20,
    },
];
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds; the figures are medians over all of them
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Calls of each client in a round
    #[arg(long, default_value_t = 3000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..))]
    calls: u32,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder")?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777))?;
    let ours = Bus::ours(folder.path())?;
    let daemon = Bus::dbus_daemon(folder.path())?;
    let mut results = Results::new("bus")?;
    for load in LOADS {
        let mut rounds = Rounds::default();
        for _ in 0..args.rounds {
            let ours = ours.measure(load, args.calls).context("our bus")?;
            let daemon = daemon.measure(load, args.calls).context("dbus-daemon")?;
            rounds.add(ours, daemon);
        }
        rounds.publish(&mut results, load.suffix)?;
    }
    results.add("memory_kib", ours.memory_kib()?, "kib");
    results.add("dbus_daemon_memory_kib", daemon.memory_kib()?, "kib");
    results.publish().map(drop)
}

/// What is asked for, and by how many at once. The usual call of administration reads the
/// properties of an object; one without any contents is the least that can be asked.
#[derive(Clone, Copy, Debug)]
struct Load {
    suffix: &'static str,
    clients: usize,
    /// In the answer.
    properties: usize,
}

/// Times of all calls of a round.
#[derive(Clone, Copy, Debug)]
struct Percentiles {
    p50_us: f64,
    p99_us: f64,
}

#[derive(Debug, Default)]
struct Rounds {
    ours: Vec<Percentiles>,
    daemon: Vec<Percentiles>,
}

impl Rounds {
    fn add(&mut self, ours: Percentiles, daemon: Percentiles) {
        self.ours.push(ours);
        self.daemon.push(daemon);
    }

    fn publish(&self, results: &mut Results, suffix: &str) -> Result<()> {
        let middle = |values: &mut dyn Iterator<Item = f64>| {
            median(&mut values.collect::<Vec<f64>>()).context("there was a round")
        };
        type Of = fn(&Percentiles) -> f64;
        let of: [(&str, Of); 2] = [("", |p| p.p50_us), ("_p99", |p| p.p99_us)];
        for (percentile, of) in of {
            let ours = middle(&mut self.ours.iter().map(of))?;
            let daemon = middle(&mut self.daemon.iter().map(of))?;
            let pairs = self.ours.iter().zip(&self.daemon);
            // Within a round both met the same conditions.
            let ratio = middle(&mut pairs.map(|(ours, daemon)| of(ours) / of(daemon)))?;
            results.add(&format!("roundtrip{percentile}{suffix}_us"), ours, "us");
            let name = format!("dbus_daemon_roundtrip{percentile}{suffix}_us");
            results.add(&name, daemon, "us");
            let name = format!("ratio_to_dbus_daemon{percentile}{suffix}");
            results.add(&name, ratio, "ratio");
        }
        Ok(())
    }
}

/// A bus that is served.
struct Bus {
    socket: PathBuf,
    process: Process,
}

enum Process {
    Ours(Activated),
    Daemon(Child),
}

impl Bus {
    fn ours(folder: &Path) -> Result<Self> {
        let program = folder.join("bus");
        fs::copy(build()?, &program).context("copy the service")?;
        let manifest = |name: &str, id: u32, more: &str| {
            let text =
                format!("description = \"x\"\nuser = {{ name = \"{name}\", id = {id} }}\n{more}");
            Ok::<_, anyhow::Error>(manifest::parse(&name.parse()?, name, &text)?)
        };
        let own = format!("bus.own = [\"{NAME}\"]");
        let manifests = vec![
            manifest("bus", BUS, "")?,
            manifest("root", SERVICE.id, &own)?,
        ];
        let table = folder.join("services.json");
        fs::write(&table, manifest::compile_sources(manifests)?.to_json())?;
        let socket = folder.join("ours");
        let listener = UnixListener::bind(&socket).context("make a socket")?;
        fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
        let hour = Duration::from_secs(3600);
        let service = Activated::start(&program, &[&table], &listener, folder, BUS, hour)?;
        service
            .wait_for("READY=1", LIMIT)
            .context("start the bus")?;
        Ok(Self {
            socket,
            process: Process::Ours(service),
        })
    }

    fn dbus_daemon(folder: &Path) -> Result<Self> {
        let (socket, config) = (folder.join("daemon"), folder.join("daemon.conf"));
        fs::write(&config, daemon_config(&socket))?;
        let child = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--config-file"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .context("start dbus-daemon: is it installed? (ci/setup)")?;
        let bus = Self {
            socket,
            process: Process::Daemon(child),
        };
        wait_for("dbus-daemon", LIMIT, || Ok(bus.join(CLIENT).ok()))?;
        Ok(bus)
    }

    fn join(&self, user: User<'_>) -> Result<Peer> {
        run_as(user, || Peer::connect(&self.socket)).context("join the bus")
    }

    /// The round trips of all clients.
    fn measure(&self, load: Load, calls: u32) -> Result<Percentiles> {
        let mut service = self.join(SERVICE)?;
        service.driver("RequestName", &(NAME, 4_u32))?;
        let total = u32::try_from(load.clients)? * calls;
        let peers: Vec<Peer> = (0..load.clients)
            .map(|_| self.join(CLIENT))
            .collect::<Result<_>>()?;
        let mut times = thread::scope(|scope| {
            let service = scope.spawn(move || answer(service, total, load.properties));
            let clients: Vec<_> = (peers.into_iter())
                .map(|peer| scope.spawn(move || call(peer, calls)))
                .collect();
            let mut times = Vec::new();
            for client in clients {
                times.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
            }
            service
                .join()
                .map_err(|_| anyhow!("the service panicked"))??;
            Ok::<_, anyhow::Error>(times)
        })?;
        times.sort_unstable();
        let at = |percent: usize| {
            let time = times.get(times.len() * percent / 100);
            time.map(|time| time.as_secs_f64() * 1e6)
                .context("there were calls")
        };
        Ok(Percentiles {
            p50_us: at(50)?,
            p99_us: at(99)?,
        })
    }

    /// Memory of all its processes, each page shared out among those who share it.
    fn memory_kib(&self) -> Result<f64> {
        let pid = match &self.process {
            Process::Ours(service) => service.child.id(),
            Process::Daemon(child) => child.id(),
        };
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let mut total = 0.0;
        for pid in children.split_whitespace().chain([&*pid.to_string()]) {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let size = line.and_then(|line| line.split_whitespace().next());
            total += size.context("Pss in smaps_rollup")?.parse::<f64>()?;
        }
        Ok(total)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if let Process::Daemon(child) = &mut self.process {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The policy of our bus in the words of `dbus-daemon(1)`.
fn daemon_config(socket: &Path) -> String {
    let socket = socket.display();
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <deny send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  <policy user="root">
    <allow own="{NAME}"/>
    <allow send_type="signal"/>
  </policy>
  <policy user="daemon">
    <allow send_destination="{NAME}"/>
  </policy>
</busconfig>
"#
    )
}

/// All calls carry the same serial number, so those of one client are the same to the byte, and so
/// are the answers to them.
fn answer(mut service: Peer, count: u32, properties: usize) -> Result<()> {
    let property = |number: usize| {
        (
            format!("Property{number}"),
            Variant::from("a value of some length"),
        )
    };
    let properties: HashMap<String, Variant<'_>> = (0..properties).map(property).collect();
    let mut answers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut bytes = Vec::new();
    let mut answered = 0;
    while answered < count {
        service.receive_bytes(&mut bytes).context("no call")?;
        if !answers.iter().any(|(call, _)| *call == bytes) {
            let call = peer::Message::read(&mut &bytes[..])?;
            if call.kind != peer::Kind::Call as u8 {
                // The bus tells of names.
                continue;
            }
            let answer = Outgoing::Reply { to: &call }.encode(NonZeroU32::MIN, &properties)?;
            answers.push((bytes.clone(), answer));
        }
        let known = answers.iter().find(|(call, _)| *call == bytes);
        service.write(&known.context("it was just made")?.1)?;
        answered += 1;
    }
    Ok(())
}

fn call(mut client: Peer, count: u32) -> Result<Vec<Duration>> {
    let properties = "org.freedesktop.DBus.Properties";
    let call = Outgoing::call(NAME, "/org/x0tta6bl4/Bench", properties, "GetAll");
    let call = call.encode(NonZeroU32::MAX, &NAME)?;
    // What the bus tells of names comes before the answer to this.
    client.driver("GetId", &())?;
    let mut bytes = Vec::new();
    let mut times = Vec::with_capacity(usize::try_from(count)?);
    for _ in 0..count {
        let begin = Instant::now();
        client.write(&call)?;
        client.receive_bytes(&mut bytes).context("no answer")?;
        times.push(begin.elapsed());
    }
    let last = peer::Message::read(&mut &bytes[..])?.into_result()?;
    ensure!(
        last.reply_serial == Some(u32::MAX),
        "an answer to something else"
    );
    Ok(times)
}

/// The service as the image has it.
fn build() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(checkout::target, PathBuf::from);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--profile", "image"])
        .args(["--target", TARGET, "--package", "bus", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("RUSTFLAGS")
        .current_dir(checkout::root())
        .status()
        .context("run cargo")?;
    ensure!(status.success(), "cargo could not build the bus");
    Ok(target.join(TARGET).join("image/bus"))
}
