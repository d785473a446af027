//! A running machine.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::{CallError, Client, HealthState, Power, Status};
use serde_json::json;

use crate::agent::Agent;
use crate::disk;
use crate::machine::Machine;
use crate::qmp::Qmp;
use crate::serial::Serial;
use crate::wait::wait_for;

/// A call is answered at once or not at all: what waits longer asks again.
const CALL_LIMIT: Duration = Duration::from_secs(2);
/// For what is asked once, on a busy host.
const SESSION_LIMIT: Duration = Duration::from_secs(30);
/// QEMU itself, without the guest.
const QEMU_LIMIT: Duration = Duration::from_secs(10);

/// A machine in QEMU. It ends when this is dropped, and leaves its artefacts in the case's folder.
#[derive(Debug)]
pub struct Vm {
    machine: Machine,
    qemu: Child,
    folder: PathBuf,
    pub qmp: Qmp,
    pub serial: Serial,
    /// Holds the sockets.
    _sockets: tempfile::TempDir,
}

impl Vm {
    /// Starts `machine` in the network namespace `namespace`, if one is given. Logs go to `folder`.
    pub fn start(mut machine: Machine, folder: &Path, namespace: Option<&str>) -> Result<Self> {
        // Socket paths have 107 bytes; a checkout's may be longer.
        let sockets = tempfile::Builder::new()
            .prefix("x0-")
            .tempdir()
            .context("make a folder")?;
        machine.sockets = sockets.path().to_owned();
        machine.paused = true;
        let stderr_path = folder.join("qemu.stderr");
        let stderr = File::create(&stderr_path)
            .with_context(|| format!("create {}", stderr_path.display()))?;
        let mut qemu = command(&machine, namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .context("start qemu-system-x86_64: is it installed? (ci/setup)")?;
        let socket = machine.socket("qmp");
        let listening = wait_for("QEMU's monitor", QEMU_LIMIT, || {
            if let Some(status) = qemu.try_wait()? {
                let said = fs::read_to_string(&stderr_path).unwrap_or_default();
                bail!("QEMU ended ({status}): {}", said.trim());
            }
            Ok(UnixStream::connect(&socket).ok())
        });
        let attach = |stream| {
            let qmp = Qmp::over(stream, &folder.join("qmp.log"))?;
            let serial = Serial::connect(&machine.socket("serial"), &folder.join("serial.log"))?;
            Ok((qmp, serial))
        };
        let (qmp, serial) = match listening.and_then(attach) {
            Ok(ends) => ends,
            Err(error) => {
                // It may have ended already.
                let _ = qemu.kill();
                let _ = qemu.wait();
                let said = fs::read_to_string(&stderr_path).unwrap_or_default();
                return Err(error.context(format!("QEMU does not run: {}", said.trim())));
            }
        };
        let folder = folder.to_owned();
        let mut vm = Self {
            machine,
            qemu,
            folder,
            qmp,
            serial,
            _sockets: sockets,
        };
        vm.qmp.execute("cont", json!({}))?;
        Ok(vm)
    }

    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A session with PID 1.
    pub fn control(&self) -> Result<Client> {
        let client = Client::connect(self.machine.socket("control"))?;
        Ok(client.deadline(CALL_LIMIT))
    }

    /// A session with PID 1 that has answered once. The first request of a session is lost when it
    /// reaches the port before the guest has seen the last host leave.
    pub fn session(&self) -> Result<Client> {
        wait_for("an answer of PID 1", SESSION_LIMIT, || {
            let mut client = self.control()?;
            let answered = client.status().is_ok();
            Ok(answered.then(|| client.deadline(SESSION_LIMIT)))
        })
    }

    /// A session with the fault agent. Only test images have one.
    pub fn agent(&self) -> Result<Agent> {
        Agent::connect(&self.machine.socket("test"))
    }

    /// PID 1's status, or nothing while it can't be asked. Fails when QEMU has ended.
    pub fn status(&mut self) -> Result<Option<Status>> {
        self.expect_running()?;
        Ok(self
            .control()
            .ok()
            .and_then(|mut client| client.status().ok()))
    }

    /// Waits until the status is as `wanted`.
    pub fn wait_status(
        &mut self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&Status) -> bool,
    ) -> Result<Status> {
        let mut last = None;
        let found = wait_for(what, limit, || {
            let Some(status) = self.status()? else {
                return Ok(None);
            };
            if wanted(&status) {
                return Ok(Some(status));
            }
            last = Some(status);
            Ok(None)
        });
        found.with_context(|| match last {
            Some(status) => format!("the last status was {status:#?}"),
            None => "PID 1 never answered".to_owned(),
        })
    }

    /// Waits for health in the slot `slot`.
    pub fn wait_healthy(&mut self, slot: &str, limit: Duration) -> Result<Status> {
        self.wait_status(&format!("health in slot {slot}"), limit, |status| {
            status.health.state == HealthState::Healthy && status.slot.as_deref() == Some(slot)
        })
    }

    /// Waits for `text` on the serial line, after `position`.
    pub fn wait_serial(&mut self, text: &str, position: usize, limit: Duration) -> Result<()> {
        wait_for(&format!("`{text}` on the serial line"), limit, || {
            self.expect_running()?;
            Ok(self.serial.since(position).contains(text).then_some(()))
        })
        .with_context(|| format!("the screen shows\n{}", self.serial.screen()))
    }

    /// Waits until the terminal on the serial line shows `text`.
    pub fn wait_screen(&mut self, text: &str, limit: Duration) -> Result<()> {
        wait_for(&format!("`{text}` on the screen"), limit, || {
            self.expect_running()?;
            Ok(self.serial.screen().contains(text).then_some(()))
        })
        .with_context(|| format!("the screen shows\n{}", self.serial.screen()))
    }

    /// How often the machine was reset.
    #[must_use]
    pub fn resets(&self) -> usize {
        self.qmp.count("RESET")
    }

    /// Has PID 1 stop everything. Its answer may be lost: the channel stops too.
    pub fn power(&self, action: Power) -> Result<()> {
        match self.session()?.power(action) {
            Err(CallError::HungUp | CallError::Deadline) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Presses the power button.
    pub fn power_button(&mut self) -> Result<()> {
        self.qmp.execute("system_powerdown", json!({})).map(drop)
    }

    /// Presses Ctrl, Alt and Delete on the keyboard.
    pub fn ctrl_alt_delete(&mut self) -> Result<()> {
        let keys = ["ctrl", "alt", "delete"].map(|key| json!({"type": "qcode", "data": key}));
        self.qmp
            .execute("send-key", json!({"keys": keys}))
            .map(drop)
    }

    /// Waits until QEMU ends by itself: the guest switched the machine off.
    pub fn wait_off(&mut self, limit: Duration) -> Result<()> {
        let status = wait_for("power-off", limit, || Ok(self.qemu.try_wait()?))?;
        ensure!(status.success(), "QEMU failed: {status}");
        Ok(())
    }

    /// Ends QEMU as a power cut would end the machine.
    pub fn cut_power(&mut self) -> Result<ExitStatus> {
        self.qemu.kill().context("kill QEMU")?;
        self.qemu.wait().context("wait for QEMU")
    }

    /// The records that the selector and PID 1 keep, from the disk.
    pub fn boot_state(&self) -> Result<bootstate::State> {
        disk::boot_state(&self.machine.disks[0])
    }

    fn expect_running(&mut self) -> Result<()> {
        if let Some(status) = self.qemu.try_wait().context("look after QEMU")? {
            bail!(
                "QEMU has ended ({status}); the screen shows\n{}",
                self.serial.screen()
            );
        }
        Ok(())
    }

    fn keep_artefacts(&self) -> Result<()> {
        fs::write(self.folder.join("screen.txt"), self.serial.screen())?;
        fs::write(
            self.folder.join("bootstate.txt"),
            format!("{:#?}\n", self.boot_state()),
        )?;
        let events: Vec<String> = self.qmp.events().iter().map(ToString::to_string).collect();
        fs::write(self.folder.join("events.txt"), events.join("\n"))?;
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // It may have ended already; and a case that succeeded needs no artefacts.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = self.keep_artefacts();
    }
}

/// QEMU with the arguments of `machine`. It dies with the thread that starts it.
#[must_use]
pub fn command(machine: &Machine, namespace: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    if let Some(namespace) = namespace {
        command
            .arg("nsenter")
            .arg(format!("--net=/run/netns/{namespace}"))
            .arg("--");
    }
    command.arg("qemu-system-x86_64").args(machine.arguments());
    command
}
