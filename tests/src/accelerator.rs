//! Picks KVM only after the firmware has run under it: /dev/kvm may exist and yet hang every guest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::firmware::Firmware;
use crate::wait::wait_for;

/// How QEMU runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor's virtualisation.
    Kvm,
    /// Translation; works everywhere.
    Tcg,
}

impl Accelerator {
    /// QEMU's arguments for it.
    #[must_use]
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// The accelerator of this host. The verdict is kept in `cache` until the host reboots.
pub fn accelerator(cache: &Path) -> Result<Accelerator> {
    static VERDICT: OnceLock<Accelerator> = OnceLock::new();
    if let Some(verdict) = VERDICT.get() {
        return Ok(*verdict);
    }
    let verdict = remembered(cache)?;
    Ok(*VERDICT.get_or_init(|| verdict))
}

fn remembered(cache: &Path) -> Result<Accelerator> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot id")?;
    let path = cache.join("accelerator-by-firmware");
    let remembered = fs::read_to_string(&path).unwrap_or_default();
    for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
        if remembered == format!("{boot}{}", accelerator.name()) {
            return Ok(accelerator);
        }
    }
    let works = Path::new("/dev/kvm").exists() && kvm_runs_the_firmware(Duration::from_secs(10))?;
    let accelerator = if works {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    };
    fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
    fs::write(&path, format!("{boot}{}", accelerator.name()))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(accelerator)
}

/// Runs the firmware that enforces Secure Boot until it looks for something to boot. A single boot
/// sector says too little: there are hosts whose KVM runs that and then stops at the firmware's
/// first floating-point instruction, or lacks system management mode.
fn kvm_runs_the_firmware(limit: Duration) -> Result<bool> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let firmware = Firmware::guarded(folder.path().join("variables.fd"))?;
    let serial = folder.path().join("serial");
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(Accelerator::Kvm.arguments())
        .args(["-machine", "q35,smm=on", "-m", "256M", "-nodefaults"])
        .args(["-no-user-config", "-display", "none", "-no-reboot"])
        .args(firmware.arguments())
        .arg("-serial")
        .arg(format!("file:{}", serial.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start qemu-system-x86_64: is it installed? (ci/setup)")?;
    let works = wait_for("the firmware's boot manager", limit, || {
        let text = fs::read(&serial).unwrap_or_default();
        if text.windows(6).any(|window| window == b"BdsDxe") {
            return Ok(Some(true));
        }
        Ok(qemu.try_wait()?.map(|_| false))
    });
    // It may have ended already.
    let _ = qemu.kill();
    let _ = qemu.wait();
    Ok(works.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_asked_for_once_per_boot_of_the_host() {
        let cache = tempfile::tempdir().unwrap();
        let first = remembered(cache.path()).unwrap();
        let kept = fs::read_to_string(cache.path().join("accelerator-by-firmware")).unwrap();
        assert!(kept.ends_with(first.name()));
        assert_eq!(remembered(cache.path()).unwrap(), first);
    }
}
