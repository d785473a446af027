//! `ci/bench init`: PID 1 by itself over thousands of re-executions and restarts ([`endurance`]), and
//! beside other supervisors: the same services, the same clock, in turns.
//!
//! A service counts as started when its program runs, seen from outside in `/proc`; nobody's own
//! word is taken for it. Each supervisor is PID 1 of a PID namespace, so that nothing outlives it.
//!
//! The peer that the figures are named after is dinit. No suite of Debian has it (as of trixie and
//! sid), so it is measured where it is installed, and Debian's runit is measured everywhere.

mod sandbox;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use appliance::tool;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Results, median};
use crate::checkout;

mod endurance;

/// As many services as a full appliance has.
const FEW: usize = 30;
const MANY: usize = 200;
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds; the figures are medians over all of them
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only re-executions and restarts, without the other supervisors
    #[arg(long)]
    endurance: bool,
    /// The dinit to measure beside, when it is not on PATH
    #[arg(long, value_name = "PROGRAM")]
    dinit: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let programs = build()?;
    let mut results = Results::new("init")?;
    endurance::run(&programs, &mut results)?;
    if args.endurance {
        return results.publish().map(drop);
    }
    let sandbox_ms = sandbox::extra_ms(&programs.init, args.runs)?;
    results.add("sandbox_start_extra_ms", sandbox_ms, "ms");
    let mut contestants = vec![Contestant::new(Supervisor::Init(programs.init))];
    match args.dinit.or_else(|| on_path("dinit")) {
        Some(dinit) => contestants.push(Contestant::new(Supervisor::Dinit(dinit))),
        None => eprintln!(
            "no dinit: Debian has no package of it. Install it or name it with --dinit to get \
             init.start_ratio_to_dinit and init.restart_ratio_to_dinit."
        ),
    }
    contestants.push(Contestant::new(Supervisor::Runit(runit()?)));
    for _ in 0..args.runs {
        for contestant in &mut contestants {
            contestant.measure()?;
        }
    }
    let mut figures = contestants.iter_mut().map(Contestant::figures);
    let ours = figures.next().context("our own PID 1 is measured first")?;
    results.add("rss_kib", ours.rss_kib, "kib");
    results.add("start_per_s", ours.start_per_s, "per_s");
    results.add("restart_p50_ms", ours.restart_p50_ms, "ms");
    let peers: Vec<Figures> = figures.collect();
    for (theirs, name) in peers
        .iter()
        .zip(contestants[1..].iter().map(|c| c.supervisor.name()))
    {
        results.add(&format!("{name}_rss_kib"), theirs.rss_kib, "kib");
        results.add(&format!("{name}_start_per_s"), theirs.start_per_s, "per_s");
        results.add(
            &format!("{name}_restart_p50_ms"),
            theirs.restart_p50_ms,
            "ms",
        );
        let start = ours.start_per_s / theirs.start_per_s;
        results.add(&format!("start_ratio_to_{name}"), start, "ratio");
        let restart = ours.restart_p50_ms / theirs.restart_p50_ms;
        results.add(&format!("restart_ratio_to_{name}"), restart, "ratio");
    }
    results.publish().map(drop)
}

struct Contestant {
    supervisor: Supervisor,
    rss_kib: Vec<f64>,
    start_per_s: Vec<f64>,
    restart_ms: Vec<f64>,
}

struct Figures {
    rss_kib: f64,
    start_per_s: f64,
    restart_p50_ms: f64,
}

impl Contestant {
    fn new(supervisor: Supervisor) -> Self {
        Self {
            supervisor,
            rss_kib: vec![],
            start_per_s: vec![],
            restart_ms: vec![],
        }
    }

    fn measure(&mut self) -> Result<()> {
        let (running, seconds) = Running::start(&self.supervisor, MANY)?;
        self.start_per_s.push(count(MANY) / seconds);
        drop(running);
        let (mut running, _) = Running::start(&self.supervisor, FEW)?;
        // runit restarts at once only what has run for a second; the others get that time as well.
        std::thread::sleep(Duration::from_millis(1500));
        self.rss_kib.push(running.rss_kib()?);
        for service in 0..FEW {
            self.restart_ms.push(running.restart_ms(service)?);
        }
        Ok(())
    }

    fn figures(&mut self) -> Figures {
        let [rss_kib, start_per_s, restart_p50_ms] = [
            &mut self.rss_kib,
            &mut self.start_per_s,
            &mut self.restart_ms,
        ]
        .map(|samples| median(samples).expect("there is at least one run"));
        Figures {
            rss_kib,
            start_per_s,
            restart_p50_ms,
        }
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("a few hundred"))
}

enum Supervisor {
    Dinit(PathBuf),
    Init(PathBuf),
    Runit(PathBuf),
}

impl Supervisor {
    fn name(&self) -> &'static str {
        match self {
            Self::Dinit(_) => "dinit",
            Self::Init(_) => "init",
            Self::Runit(_) => "runit",
        }
    }

    /// Writes the services' definitions and says how to start all of them. Service `n` is
    /// `/bin/sleep` with the `n`th of `marks`, and is started again whenever it ends.
    fn prepare(&self, folder: &Path, marks: &[String]) -> Result<Command> {
        match self {
            Self::Dinit(program) => {
                let mut boot = "type = internal\n".to_owned();
                for (number, mark) in marks.iter().enumerate() {
                    boot.push_str(&format!("waits-for = s{number}\n"));
                    let service = format!(
                        "type = process\ncommand = /bin/sleep {mark}\nrestart = true\n\
                         restart-delay = 0\nrestart-limit-count = 1000\n"
                    );
                    write(&folder.join(format!("s{number}")), &service)?;
                }
                write(&folder.join("boot"), &boot)?;
                let mut command = Command::new(program);
                command
                    .args(["--container", "--quiet", "--services-dir"])
                    .arg(folder);
                command
                    .arg("--socket-path")
                    .arg(folder.join("socket"))
                    .arg("boot");
                Ok(command)
            }
            Self::Init(program) => {
                let manifests = marks.iter().enumerate().map(|(number, mark)| {
                    let text = format!(
                        "description = \"sleeps\"\nbinary = \"/bin/sleep\"\narguments = [\"{mark}\"]\n\
                         user = {{ name = \"root\", id = 0 }}\nreadiness = \"exec\"\n"
                    );
                    manifest::parse(&format!("s{number}").parse()?, "bench", &text)
                        .context("write a manifest")
                });
                let table = manifest::compile_sources(manifests.collect::<Result<_>>()?)?;
                write(&folder.join("services.json"), &table.to_json())?;
                let mut command = Command::new(program);
                command.arg("--services").arg(folder.join("services.json"));
                command.arg("--run-dir").arg(folder.join("run"));
                Ok(command)
            }
            Self::Runit(programs) => {
                for (number, mark) in marks.iter().enumerate() {
                    let service = folder.join(format!("s{number}"));
                    fs::create_dir(&service).context("make a service's folder")?;
                    let run = service.join("run");
                    write(&run, &format!("#!/bin/sh\nexec /bin/sleep {mark}\n"))?;
                    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))
                        .context("make a service executable")?;
                }
                let mut command = Command::new(programs.join("runsvdir"));
                // It finds its helper there; `unshare` and the shell are looked up there too.
                let path = format!("{}:/usr/bin:/bin", programs.display());
                command.arg(folder).env("PATH", path);
                Ok(command)
            }
        }
    }
}

/// A supervisor with all of its services.
struct Running {
    unshare: Child,
    marks: Vec<String>,
    /// The process of each service.
    services: Vec<Process>,
    _folder: tempfile::TempDir,
}

#[derive(Clone, Copy)]
struct Process {
    pid: u32,
    parent: u32,
}

impl Running {
    /// Starts it, and says how many seconds all its services took.
    fn start(supervisor: &Supervisor, count: usize) -> Result<(Self, f64)> {
        let folder = tempfile::tempdir().context("make a folder")?;
        // Nobody else on this host sleeps for so long.
        let base = u64::from(std::process::id()) * 1000;
        let marks: Vec<String> = (0..count)
            .map(|number| (1_000_000_000 + base + number as u64).to_string())
            .collect();
        let command = supervisor.prepare(folder.path(), &marks)?;
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare
            .args(["--pid", "--fork", "--kill-child=KILL"])
            .arg(command.get_program())
            .args(command.get_args())
            .envs(
                command
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut search = Search::new();
        let started = Instant::now();
        let unshare = unshare.spawn().context("run unshare")?;
        let mut running = Self {
            unshare,
            marks,
            services: vec![],
            _folder: folder,
        };
        let found = loop {
            let found = search.find(&running.marks);
            if found.len() == count {
                break found;
            }
            ensure!(
                started.elapsed() < LIMIT,
                "{} started {} of {count} services within {LIMIT:?}",
                supervisor.name(),
                found.len()
            );
            std::thread::sleep(Duration::from_millis(1));
        };
        let seconds = started.elapsed().as_secs_f64();
        for mark in &running.marks {
            let pid = *found.get(mark).context("all were found")?;
            let parent = parent(pid).context("a service ended by itself")?;
            running.services.push(Process { pid, parent });
        }
        Ok((running, seconds))
    }

    /// Resident memory of the supervisor, all its processes together.
    fn rss_kib(&self) -> Result<f64> {
        let root = children(self.unshare.id());
        let helpers = self.services.iter().map(|service| service.parent);
        let all: HashSet<u32> = root.into_iter().chain(helpers).collect();
        let rss = |pid: u32| -> Result<f64> {
            let status =
                fs::read_to_string(format!("/proc/{pid}/status")).context("read its size")?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.split_whitespace().next());
            Ok(number.context("it has no size")?.parse()?)
        };
        all.into_iter().map(rss).sum()
    }

    /// Kills a service; how long until its successor's program runs.
    fn restart_ms(&mut self, service: usize) -> Result<f64> {
        let Process { pid: old, parent } = self.services[service];
        let mark = &self.marks[service];
        let raw = Pid::from_raw(i32::try_from(old)?).context("0 is no process")?;
        let killed = Instant::now();
        kill_process(raw, Signal::KILL).context("kill a service")?;
        loop {
            let new = children(parent)
                .into_iter()
                .find(|pid| *pid != old && is_sleep(*pid, mark));
            if let Some(pid) = new {
                let ms = killed.elapsed().as_secs_f64() * 1000.0;
                self.services[service].pid = pid;
                return Ok(ms);
            }
            if killed.elapsed() > LIMIT {
                bail!("a killed service did not come back within {LIMIT:?}");
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Takes the whole namespace along. It may be gone already.
        self.unshare.kill().ok();
        self.unshare.wait().ok();
    }
}

/// Looks for services in `/proc` without reading everything again and again.
struct Search {
    strangers: HashSet<u32>,
    found: HashMap<String, u32>,
}

impl Search {
    fn new() -> Self {
        Self {
            strangers: pids().collect(),
            found: HashMap::new(),
        }
    }

    fn find(&mut self, marks: &[String]) -> &HashMap<String, u32> {
        let first = marks.first().map_or("", String::as_str);
        let known: HashSet<u32> = self.found.values().copied().collect();
        for pid in pids().filter(|pid| !known.contains(pid) && !self.strangers.contains(pid)) {
            if let Some(mark) = sleeps_for(pid).filter(|mark| mark.len() == first.len()) {
                self.found.insert(mark, pid);
            }
        }
        self.found.retain(|mark, _| marks.contains(mark));
        &self.found
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// What a process that is `/bin/sleep` sleeps for.
fn sleeps_for(pid: u32) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let rest = command.strip_prefix(b"/bin/sleep\0")?;
    Some(String::from_utf8_lossy(rest.strip_suffix(b"\0")?).into_owned())
}

fn is_sleep(pid: u32, mark: &str) -> bool {
    sleeps_for(pid).is_some_and(|found| found == mark)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Compiled as for the image.
struct Programs {
    init: PathBuf,
    /// The service of PID 1's own tests.
    puppet: PathBuf,
}

impl Programs {
    fn puppet(&self, orders: &[&str], keys: &str) -> String {
        format!("binary = {:?}\narguments = {orders:?}\n{keys}", self.puppet)
    }
}

fn build() -> Result<Programs> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(checkout::target, PathBuf::from);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "image",
            "--target",
            TARGET,
        ])
        .args(["--package", "init", "--bins", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("RUSTFLAGS")
        .current_dir(checkout::root())
        .status()
        .context("run cargo")?;
    ensure!(status.success(), "cargo could not build init");
    let folder = target.join(TARGET).join("image").canonicalize();
    let folder = folder.context("find what cargo built")?;
    Ok(Programs {
        init: folder.join("init"),
        puppet: folder.join("init-puppet"),
    })
}

/// Debian's runit, unpacked in the cache and not installed: its package would take over the host.
fn runit() -> Result<PathBuf> {
    let folder = checkout::cache().join("runit-bookworm");
    let programs = folder.join("usr/bin");
    if programs.join("runsvdir").exists() {
        return Ok(programs);
    }
    let download = tempfile::tempdir().context("make a folder")?;
    let status = Command::new("apt-get")
        .args(["download", "-qq", "-o", "APT::Sandbox::User=", "runit"])
        .current_dir(download.path())
        .status()
        .context("run apt-get")?;
    ensure!(
        status.success(),
        "apt-get could not download runit: is the network up? (apt-get update)"
    );
    let package = fs::read_dir(download.path())?.flatten().next();
    let package = package.context("apt-get downloaded nothing")?.path();
    let (package, folder) = (package.to_str(), folder.to_str());
    let paths = package.zip(folder).context("the cache's path is no text")?;
    tool("dpkg-deb", &["--extract", paths.0, paths.1])?;
    Ok(programs)
}
