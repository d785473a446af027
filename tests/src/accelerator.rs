//! Picks KVM only after a guest has run under it: /dev/kvm may exist and yet hang every guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};

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
    let path = cache.join("accelerator");
    let remembered = fs::read_to_string(&path).unwrap_or_default();
    for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
        if remembered == format!("{boot}{}", accelerator.name()) {
            return Ok(accelerator);
        }
    }
    let works = Path::new("/dev/kvm").exists() && kvm_runs_a_guest(Duration::from_secs(3))?;
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

/// Runs a boot sector that leaves QEMU through its debug exit.
fn kvm_runs_a_guest(limit: Duration) -> Result<bool> {
    const DEBUG_EXIT: u8 = 0xf4;
    const VALUE: u8 = 0x10;
    let mut sector = [0; 512];
    // mov al, VALUE; out DEBUG_EXIT, al; hlt
    sector[..5].copy_from_slice(&[0xb0, VALUE, 0xe6, DEBUG_EXIT, 0xf4]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let disk: PathBuf = folder.path().join("sector");
    fs::write(&disk, sector).context("write the probe's boot sector")?;
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args([
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-drive",
        ])
        .arg(format!("format=raw,file={}", disk.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start qemu-system-x86_64: is it installed? (ci/setup)")?;
    let ended = wait_for("the probe", limit, || Ok(qemu.try_wait()?));
    // It may have ended already.
    let _ = qemu.kill();
    let _ = qemu.wait();
    // isa-debug-exit ends QEMU with (value << 1) | 1.
    Ok(ended.is_ok_and(|status| status.code() == Some(i32::from(VALUE) << 1 | 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_asked_for_once_per_boot_of_the_host() {
        let cache = tempfile::tempdir().unwrap();
        let first = remembered(cache.path()).unwrap();
        let kept = fs::read_to_string(cache.path().join("accelerator")).unwrap();
        assert!(kept.ends_with(first.name()));
        assert_eq!(remembered(cache.path()).unwrap(), first);
    }
}
