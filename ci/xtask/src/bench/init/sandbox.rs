//! What a sandbox costs at the start of a service: the same services one after the other, with and
//! without.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bench::median;

/// Each waits for the one before, so that their starts add up.
const CHAIN: u32 = 100;
const LIMIT: Duration = Duration::from_secs(60);

/// How many milliseconds more a start takes in a sandbox, as the median of `runs` pairs. Needs root.
pub(super) fn extra_ms(init: &Path, runs: u32) -> Result<f64> {
    let mut differences = Vec::new();
    for _ in 0..runs {
        let free = chain_ms(init, false)?;
        let confined = chain_ms(init, true)?;
        differences.push((confined - free) / f64::from(CHAIN));
    }
    median(&mut differences).context("there was a run")
}

/// How long all of them took.
fn chain_ms(init: &Path, confined: bool) -> Result<f64> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let manifests = (0..CHAIN).map(|number| {
        let needs = number.checked_sub(1).map(|before| format!("\"s{before}\""));
        // What a service of the appliance typically declares.
        let text = format!(
            "description = \"x\"\nkind = \"oneshot\"\nbinary = \"/bin/true\"\nneeds = [{}]\n\
             user = {{ name = \"root\", id = 0 }}\nsyscalls = [\"network-io\", \"netlink\"]\n\
             [files]\nread = [\"/sys\", \"/proc/self\", \"/run\"]\nwrite = [\"/tmp\"]\n\
             [net]\naccess = \"unix\"\n",
            needs.unwrap_or_default()
        );
        manifest::parse(&format!("s{number}").parse()?, "bench", &text).context("write a manifest")
    });
    let table = manifest::compile_sources(manifests.collect::<Result<_>>()?)?;
    std::fs::write(folder.path().join("services.json"), table.to_json())
        .context("write the table")?;
    let run = folder.path().join("run");
    let mut unshare = Command::new("unshare")
        .args([
            "--pid",
            "--mount",
            "--mount-proc",
            "--fork",
            "--kill-child=KILL",
        ])
        .arg(init)
        .arg("--services")
        .arg(folder.path().join("services.json"))
        .arg("--run-dir")
        .arg(&run)
        .args(confined.then_some("--confine"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("run unshare")?;
    let ready = ready_ms(&run.join("init.sock"));
    unshare.kill().context("end PID 1")?;
    unshare.wait().context("wait for its end")?;
    ready
}

fn ready_ms(socket: &Path) -> Result<f64> {
    let end = Instant::now() + LIMIT;
    loop {
        let status = api::Client::connect(socket)
            .ok()
            .and_then(|mut init| init.status().ok());
        if let Some(ms) = status.and_then(|status| status.userspace_ready_ms) {
            return Ok(f64::from(u32::try_from(ms).context("less than a month")?));
        }
        ensure!(Instant::now() < end, "not all services have started");
        std::thread::sleep(Duration::from_millis(20));
    }
}
