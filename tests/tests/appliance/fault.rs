//! Whatever keeps a slot from getting healthy ends in the other slot within three tries, and the
//! reason can be read there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{HealthState, Power, Status};
use appliance::{Agent, Case, Machine, Request, Vm, case, disk, tool, wait_for};
use bootstate::{ReasonCode, SlotId};
use image::Outputs;
use image::layout::Slot;

use crate::{BOOT, find, machine, start};

/// Three boots that fail on their own, and one that gets healthy.
const FOUR_BOOTS: Duration = Duration::from_secs(150);
/// The same, where the watchdog has to notice each time.
const FOUR_BOOTS_WITH_HANGS: Duration = Duration::from_secs(400);
const SIGSEGV: i32 = 11;

#[test]
fn a_corrupted_root_block_ends_in_the_other_slot() {
    case("root-block", |case| {
        let machine = machine(case)?;
        // In EROFS's superblock: the first block that is read.
        disk::flip(&machine.disks[0], "ROOT-A", 1024 + 16)?;
        let mut vm = start(&machine, case)?;
        ends_in_b(&mut vm, FOUR_BOOTS, 3).map(drop)
    });
}

#[test]
fn a_corrupted_kernel_image_ends_in_the_other_slot_at_once() {
    case("kernel-image", |case| {
        let machine = machine(case)?;
        let header = find(&machine, "BOOT-A", 4096, b"PE\0\0")?;
        disk::flip(&machine.disks[0], "BOOT-A", header)?;
        let mut vm = start(&machine, case)?;
        let reason = ends_in_b(&mut vm, BOOT, 0)?;
        ensure!(reason == ReasonCode::CORRUPT, "the reason is {reason:?}");
        Ok(())
    });
}

#[test]
fn a_kernel_panic_before_health_ends_in_the_other_slot() {
    case("panic", |case| {
        strike_out(case, FOUR_BOOTS, "panic", |agent| {
            agent.tell(&Request::Write {
                path: "/proc/sysrq-trigger".into(),
                text: "c".into(),
            })
        })
    });
}

#[test]
fn pid_1_killed_before_health_ends_in_the_other_slot() {
    case("pid-1-killed", |case| {
        // It comes back from the first.
        strike_out(case, FOUR_BOOTS, "PID 1", |agent| {
            agent.signal(1, SIGSEGV)?;
            agent.tell(&Request::Signal {
                pid: 1,
                signal: SIGSEGV,
            })
        })
    });
}

#[test]
fn pid_1_is_replaced_and_crashes_without_cost_to_any_service() {
    case("pid-1-comes-back", |case| {
        let mut vm = start(&machine(case)?, case)?;
        let before = vm.wait_healthy("a", BOOT)?;
        vm.session()?.reexec().context("re-execute PID 1")?;
        let after = vm.wait_status("an answer", BOOT, |status| status.reexecs == 1)?;
        same_life(&before, &after)?;
        vm.agent()?.signal(1, SIGSEGV)?;
        let after = vm.wait_status("PID 1's return", BOOT, |status| status.crash.is_some())?;
        same_life(&before, &after)?;
        vm.power(Power::SoftReboot)?;
        let anew = vm.wait_status("a new userspace", BOOT, |status| {
            status.soft_reboots == 1 && status.health.state == HealthState::Healthy
        })?;
        ensure!(
            anew.boot_count == before.boot_count && anew.uptime_ms > before.uptime_ms,
            "the kernel was restarted: {anew:#?}"
        );
        for (old, new) in before.services.iter().zip(&anew.services) {
            ensure!(old.pid != new.pid, "{} was not restarted", old.name);
        }
        Ok(())
    });
}

/// Whether the same processes run in the same healthy boot.
fn same_life(before: &Status, after: &Status) -> Result<()> {
    ensure!(
        after.boot_count == before.boot_count && after.health.state == HealthState::Healthy,
        "not the same healthy boot: {after:#?}"
    );
    for (old, new) in before.services.iter().zip(&after.services) {
        ensure!(
            (&old.name, old.pid, old.restarts) == (&new.name, new.pid, new.restarts),
            "{old:?} became {new:?}"
        );
    }
    Ok(())
}

#[test]
fn pid_1_that_hangs_before_health_ends_in_the_other_slot() {
    case("pid-1-hangs", |case| {
        strike_out(case, FOUR_BOOTS_WITH_HANGS, "watchdog", |agent| {
            let groups = agent.read("/proc/1/cgroup")?;
            let group = groups
                .trim()
                .strip_prefix("0::")
                .context("PID 1 has a control group")?;
            let path = format!("/sys/fs/cgroup{group}/cgroup.freeze");
            agent.tell(&Request::Write {
                path,
                text: "1".into(),
            })
        })
    });
}

#[test]
fn a_kernel_that_hangs_before_pid_1_ends_in_the_other_slot() {
    case("kernel-hangs", |case| {
        let machine = machine(case)?;
        // The kernel waits for ever for a root that will not come.
        let image = hanging_image(case, &crate::image()?)?;
        disk::write(&machine.disks[0], "BOOT-A", 0, &image)?;
        let mut vm = start(&machine, case)?;
        ends_in_b(&mut vm, FOUR_BOOTS_WITH_HANGS, 3).map(drop)
    });
}

#[test]
fn a_panic_of_a_healthy_slot_is_survived_and_kept_for_reading() {
    case("panic-healthy", |case| {
        let mut vm = start(&machine(case)?, case)?;
        let before = vm.wait_healthy("a", BOOT)?;
        let mut agent = vm.agent()?;
        agent.tell(&Request::Write {
            path: "/proc/sysrq-trigger".into(),
            text: "c".into(),
        })?;
        let status = vm.wait_status("the boot after the panic", BOOT, |status| {
            status.boot_count > before.boot_count && status.health.state == HealthState::Healthy
        })?;
        ensure!(
            status.slot.as_deref() == Some("a"),
            "one panic cost slot A: {status:?}"
        );
        let end = status.previous_end.unwrap_or_default();
        ensure!(
            end.contains("panic"),
            "the end of the boot before reads `{end}`"
        );
        let records = agent.ask(&Request::List {
            path: "/data/crash".into(),
        })?;
        ensure!(
            !records.is_empty(),
            "the panic's last messages are not in /data/crash"
        );
        Ok(())
    });
}

/// Lets `fault` happen in each boot of slot A before it is healthy, and expects slot B to tell that
/// the boot before it ended with `end`.
fn strike_out(
    case: &Case,
    limit: Duration,
    end: &str,
    mut fault: impl FnMut(&mut Agent) -> Result<()>,
) -> Result<()> {
    let machine: Machine = machine(case)?;
    let mut vm = start(&machine, case)?;
    for boot in 1..=3 {
        let struck = wait_for(&format!("boot {boot} of slot A"), BOOT, || {
            let Some(status) = vm.status()? else {
                return Ok(None);
            };
            let counted = status.boot_count == Some(boot);
            ensure!(
                !(counted && status.health.state == HealthState::Healthy),
                "boot {boot} got healthy before the fault"
            );
            Ok(counted.then_some(()))
        });
        struck.with_context(|| format!("the screen shows\n{}", vm.serial.screen()))?;
        let resets = vm.resets();
        // Held until the reset: what a host has sent is forgotten when it leaves.
        let mut agent = vm.agent()?;
        fault(&mut agent)?;
        wait_for("the reset", limit / 4, || {
            Ok((vm.resets() > resets).then_some(()))
        })?;
    }
    ends_in_b(&mut vm, BOOT, 3)?;
    // A request is lost when it reaches the port before the guest saw the last host leave.
    let status = vm.wait_status("the end of the boot before", BOOT, |status| {
        status.previous_end.is_some()
    })?;
    let told = status.previous_end.unwrap_or_default();
    ensure!(
        told.contains(end),
        "the end of the boot before reads `{told}`, not `{end}`"
    );
    Ok(())
}

/// Slot A's image, properly signed, with a command line that names a root which no disk has.
fn hanging_image(case: &Case, outputs: &Outputs) -> Result<Vec<u8>> {
    let path = outputs.uki(Slot::A);
    let mut image = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let needle = b"waitfor=PARTUUID=";
    let place = image
        .windows(needle.len())
        .position(|window| window == needle)
        .context("the command line waits for a partition")?;
    let id = place + needle.len();
    image[id..id + 8].copy_from_slice(b"ffffffff");
    let [changed, signed] = ["changed.efi", "signed.efi"].map(|name| case.path(name));
    fs::write(&changed, image).context("write the changed image")?;
    let text = |path: &Path| path.display().to_string();
    tool("sbattach", &["--remove", &text(&changed)])?;
    let (key, certificate) = (text(&outputs.keys.key), text(&outputs.keys.certificate));
    tool(
        "sbsign",
        &[
            "--key",
            &key,
            "--cert",
            &certificate,
            "--output",
            &text(&signed),
            &text(&changed),
        ],
    )?;
    fs::read(&signed).context("read the signed image")
}

/// Waits for health in slot B, after `resets` resets, and for the ban of slot A with a reason.
fn ends_in_b(vm: &mut Vm, limit: Duration, resets: usize) -> Result<ReasonCode> {
    vm.wait_healthy("b", limit)?;
    let slot = vm.boot_state()?[SlotId::A];
    ensure!(slot.banned, "slot A is not banned: {slot:?}");
    ensure!(!slot.reason.is_none(), "slot A is banned without a reason");
    ensure!(
        vm.resets() == resets,
        "{} resets instead of {resets}",
        vm.resets()
    );
    Ok(slot.reason.code)
}
