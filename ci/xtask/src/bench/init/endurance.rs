//! PID 1 replacing itself a thousand times in a row under load, and restarting services ten thousand
//! times. Times are those of a caller; what could get lost is looked for after each hand-over.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::{Client, Follow, ServiceState, Status};

use super::{LIMIT, Programs, children};
use crate::bench::{Results, median};

const REEXECS: u32 = 1000;
const RESTARTS: u64 = 10_000;
/// Restarts after which PID 1 has taken what it needs.
const WARM: u64 = 1000;
/// Services beside those that are looked at.
const IDLE: usize = 26;
const DOOR: &str = "/run/door/socket";

pub(super) fn run(programs: &Programs, results: &mut Results) -> Result<()> {
    let mut times_ms = reexecs(programs).context("re-execute PID 1")?;
    let max = times_ms.iter().copied().fold(0.0, f64::max);
    let p50 = median(&mut times_ms).context("there are samples")?;
    results.add("reexec_p50_ms", p50, "ms");
    results.add("reexec_max_ms", max, "ms");
    let growth_kib = restarts(programs).context("restart services")?;
    results.add("growth_kib", growth_kib, "kib");
    Ok(())
}

fn reexecs(programs: &Programs) -> Result<Vec<f64>> {
    let patient = "[restart]\nburst = 1000\n";
    let door = format!("sockets = [{{ name = \"door\", path = \"{DOOR}\" }}]\n");
    let mut services = vec![
        (
            "chatty".to_owned(),
            programs.puppet(&["notify=READY=1", "chat=300"], patient),
        ),
        (
            "chatty2".to_owned(),
            programs.puppet(&["notify=READY=1", "chat=300"], patient),
        ),
        (
            "door".to_owned(),
            programs.puppet(&["notify=READY=1", "serve=0"], &format!("{door}{patient}")),
        ),
        (
            "keeper".to_owned(),
            programs.puppet(
                &["store=memory:x", "notify=READY=1"],
                &format!("fd_store = 1\n{patient}"),
            ),
        ),
    ];
    services.extend((0..IDLE).map(|number| {
        let orders = ["notify=READY=1", "pet=100"];
        (
            format!("idle{number}"),
            programs.puppet(&orders, &format!("watchdog_s = 2\n{patient}")),
        )
    }));
    let machine = Contained::boot(&programs.init, &services)?;
    let before = machine.until(
        "every service is ready and stored what it stores",
        |status| {
            let ready = |service: &api::ServiceStatus| service.state == ServiceState::Ready;
            status.services.iter().all(ready)
                && status
                    .services
                    .iter()
                    .any(|service| service.stored_fds == 1)
        },
    )?;
    let door = machine.path(DOOR)?;
    let stop = AtomicBool::new(false);
    let (times, knocks) = std::thread::scope(|scope| -> Result<_> {
        let knocker = scope.spawn(|| -> std::io::Result<u64> {
            let mut knocks = 0;
            while !stop.load(Ordering::Relaxed) {
                std::io::copy(&mut UnixStream::connect(&door)?, &mut std::io::sink())?;
                knocks += 1;
                // Busy, without taking a processor away from those who are measured.
                std::thread::sleep(Duration::from_micros(200));
            }
            Ok(knocks)
        });
        let times = replace(&machine);
        stop.store(true, Ordering::Relaxed);
        let Ok(knocks) = knocker.join() else {
            bail!("the client of the socket panicked");
        };
        Ok((times?, knocks.context("a client was refused")?))
    })?;
    let after = machine.client()?.status()?;
    let stored = |status: &Status| {
        status
            .services
            .iter()
            .map(|service| service.stored_fds)
            .sum::<u32>()
    };
    ensure!(
        stored(&after) == stored(&before),
        "a stored descriptor was lost"
    );
    for (old, new) in before.services.iter().zip(&after.services) {
        ensure!(
            (&old.name, old.pid, new.restarts) == (&new.name, new.pid, 0),
            "{} was lost: {new:?}",
            old.name
        );
    }
    ensure!(after.crash.is_none(), "PID 1 crashed: {:?}", after.crash);
    ensure!(
        after.reexecs == u64::from(REEXECS),
        "{} re-executions",
        after.reexecs
    );
    eprintln!("{REEXECS} re-executions; meanwhile {knocks} clients of a service were served");
    Ok(times)
}

/// Replaces PID 1 over and over while its log is followed; how long each took, in ms.
fn replace(machine: &Contained) -> Result<Vec<f64>> {
    let mut client = machine.client()?;
    let mut follow = machine.client()?.follow("chatty", 0)?;
    let mut next = None;
    let mut times_ms = Vec::new();
    for _ in 0..REEXECS {
        let begun = Instant::now();
        client.reexec()?;
        times_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        // All of them: who reads too slowly is dropped.
        while read(&mut follow, &mut next, Duration::from_micros(100))? {}
    }
    // What was written until now arrives without a gap.
    let last = next;
    let end = Instant::now() + LIMIT;
    while next == last {
        ensure!(Instant::now() < end, "the log that is followed fell silent");
        read(&mut follow, &mut next, Duration::from_millis(100))?;
    }
    Ok(times_ms)
}

/// Reads new lines; each must be the one after the last. Whether there were any.
fn read(follow: &mut Follow, next: &mut Option<u64>, wait: Duration) -> Result<bool> {
    let lines = follow.next_lines(wait)?;
    let some = !lines.is_empty();
    for line in lines {
        let Some(number) = line.text.strip_prefix("line ") else {
            continue;
        };
        let number: u64 = number.parse().context("a line is damaged")?;
        let expected = next.unwrap_or(number);
        ensure!(
            number == expected,
            "line {expected} was lost: {number} came"
        );
        *next = Some(number + 1);
    }
    Ok(some)
}

fn restarts(programs: &Programs) -> Result<f64> {
    let manifest = "binary = \"/bin/true\"\nreadiness = \"exec\"\n\
                    [restart]\nburst = 1000\nburst_window_s = 1\ndelay_max_ms = 0\n";
    let services: Vec<_> = (0..4)
        .map(|n| (format!("quick{n}"), manifest.to_owned()))
        .collect();
    let machine = Contained::boot(&programs.init, &services)?;
    let restarts = |status: &Status| status.services.iter().map(|s| s.restarts).sum::<u64>();
    machine.until("PID 1 is warm", |status| restarts(status) >= WARM)?;
    let before = machine.rss_kib()?;
    let goal = WARM + RESTARTS;
    machine.until("all restarts are done", |status| restarts(status) >= goal)?;
    Ok(machine.rss_kib()? - before)
}

/// Our PID 1 in namespaces of its own.
struct Contained {
    unshare: Child,
    folder: tempfile::TempDir,
}

impl Contained {
    fn boot(init: &Path, services: &[(String, String)]) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let manifests = services.iter().map(|(name, keys)| {
            let head = "description = \"x\"\nuser = { name = \"root\", id = 0 }\n";
            manifest::parse(&name.parse()?, name, &format!("{head}{keys}\n")).context("a manifest")
        });
        let table = manifest::compile_sources(manifests.collect::<Result<_>>()?)?;
        let path = folder.path().join("services.json");
        fs::write(&path, table.to_json()).context("write the table")?;
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare
            .args([
                "--pid",
                "--mount",
                "--mount-proc",
                "--fork",
                "--kill-child=KILL",
            ])
            .args([
                "/bin/sh",
                "-c",
                "mount -t tmpfs tmpfs /run && exec \"$@\"",
                "sh",
            ])
            .arg(init)
            .arg("--services")
            .arg(path)
            .arg("--run-dir")
            .arg(folder.path().join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).context("make a file")?);
        let unshare = unshare.spawn().context("run unshare")?;
        Ok(Self { unshare, folder })
    }

    fn client(&self) -> Result<Client> {
        let path = self.folder.path().join("run/init.sock");
        let end = Instant::now() + LIMIT;
        loop {
            match Client::connect(&path) {
                Ok(client) => return Ok(client.deadline(LIMIT)),
                Err(error) if Instant::now() > end => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
        let end = Instant::now() + LIMIT;
        let mut client = self.client()?;
        loop {
            let status = client.status()?;
            if wanted(&status) {
                return Ok(status);
            }
            if Instant::now() > end {
                let said = fs::read_to_string(self.folder.path().join("stderr"));
                let tail: String = said.unwrap_or_default().lines().rev().take(20).collect();
                bail!("waited in vain until {what}: {tail}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn pid(&self) -> Result<u32> {
        let children = children(self.unshare.id());
        children.first().copied().context("PID 1 is gone")
    }

    fn path(&self, inner: &str) -> Result<PathBuf> {
        Ok(format!("/proc/{}/root{inner}", self.pid()?).into())
    }

    fn rss_kib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?));
        let status = status.context("read its size")?;
        let fields: HashMap<&str, &str> =
            status.lines().filter_map(|l| l.split_once(':')).collect();
        let size = fields
            .get("VmRSS")
            .and_then(|text| text.split_whitespace().next());
        Ok(size.context("it has no size")?.parse()?)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // Takes the whole namespace along. It may be gone already.
        self.unshare.kill().ok();
        self.unshare.wait().ok();
    }
}
