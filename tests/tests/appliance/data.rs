//! Whatever is wrong with DATA, the provisioning volume or the hardware: a clear message and a
//! console.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{HealthState, Status};
use appliance::{Request, Vm, case, disk};
use bootstate::SlotId;

use crate::{BOOT, machine, provision, start};

/// The least that gets healthy; 112 MiB do not suffice to unpack the kernel.
const ENOUGH_MIB: u32 = 128;
const DOWN: Duration = Duration::from_secs(30);

#[test]
fn a_garbled_configuration_and_no_card_leave_a_console_that_says_so() {
    case("garbled-configuration", |case| {
        let mut machine = machine(case)?;
        machine.cards.clear();
        provision(
            &mut machine,
            case,
            b"[network.link.eth0]\nipv4 = { method = \"dhpc\" }\n\xff\xfe",
        )?;
        let mut vm = start(&machine, case)?;
        let status = running(&mut vm, |status| told(status, "provision", "x0.toml"))?;
        let network = status
            .service("network")
            .context("there is a network service")?;
        ensure!(
            network.status_text.contains("no network card"),
            "without a card network says `{}`",
            network.status_text
        );
        vm.wait_screen("provision", DOWN)
    });
}

#[test]
fn an_unreadable_volume_is_named() {
    case("unreadable-volume", |case| {
        let mut machine = machine(case)?;
        provision(&mut machine, case, b"")?;
        // The boot sector stays, so that the volume is still found by its label; the rest goes.
        let volume = machine.disks[1].clone();
        let mut bytes = std::fs::read(&volume)?;
        bytes[11..36].fill(0xff);
        bytes[512..].fill(0xa5);
        std::fs::write(&volume, bytes)?;
        let mut vm = start(&machine, case)?;
        running(&mut vm, |_| true)?;
        vm.wait_screen("provision", DOWN)
    });
}

#[test]
fn a_full_data_partition_still_boots_and_is_named() {
    case("full-data", |case| {
        let machine = machine(case)?;
        let mut vm = start(&machine, case)?;
        let before = vm.wait_healthy("a", BOOT)?;
        vm.agent()?.ask(&Request::Fill {
            path: "/data/fill".into(),
        })?;
        vm.power(api::Power::Reboot)?;
        vm.wait_status("the next boot", BOOT, |status| {
            status.boot_count > before.boot_count
                && matches!(
                    status.health.state,
                    HealthState::Healthy | HealthState::Degraded
                )
                && told(status, "data", "full")
        })?;
        vm.wait_screen("data", DOWN)
    });
}

#[test]
fn a_corrupt_data_partition_stays_as_it_is_and_is_named() {
    case("corrupt-data", |case| {
        let machine = machine(case)?;
        let mut vm = start(&machine, case)?;
        vm.wait_healthy("a", BOOT)?;
        vm.power_button()?;
        vm.wait_off(DOWN)?;
        drop(vm);
        // Superblock, descriptors and the first inodes; the magic number stays. What is behind does
        // not suffice to get everything back.
        let garbage = vec![0xa5; 16 << 20];
        let disk = &machine.disks[0];
        disk::write(disk, "DATA", 1024, &garbage[..0x38])?;
        disk::write(disk, "DATA", 1024 + 0x3a, &garbage)?;
        let mut vm = start(&machine, case)?;
        running(&mut vm, names_data)?;
        vm.wait_screen("data", DOWN)?;
        // e2fsck has put the superblock back before it gave up; nobody has formatted anything.
        let behind = disk::read(disk, "DATA", 4 << 20, 8 << 20)?;
        let left = behind == garbage[..behind.len()];
        ensure!(
            left,
            "a file system that could not be repaired was written to"
        );
        Ok(())
    });
}

#[test]
fn foreign_content_on_data_stays_as_it_is_and_is_named() {
    case("foreign-data", |case| {
        let machine = machine(case)?;
        disk::write(
            &machine.disks[0],
            "DATA",
            0,
            b"LUKS\xba\xbe\x00\x02somebody else's secrets",
        )?;
        let left = untouched(&machine.disks[0], || {
            let mut vm = start(&machine, case)?;
            running(&mut vm, names_data)?;
            vm.wait_screen("data", DOWN)
        })?;
        ensure!(left, "somebody else's data was written to");
        Ok(())
    });
}

#[test]
fn too_little_memory_is_named_on_the_console_and_blames_no_slot() {
    case("memory", |case| {
        let mut machine = machine(case)?;
        machine.memory_mib = ENOUGH_MIB;
        let mut vm = start(&machine, case)?;
        vm.wait_healthy("a", BOOT)?;
        drop(vm);
        machine.memory_mib = ENOUGH_MIB - 64;
        let mut vm = start(&machine, case)?;
        vm.wait_serial("x0: too little memory", 0, BOOT)?;
        // It tries again, for ever: memory may have been added.
        appliance::wait_for("the next attempt", BOOT, || {
            Ok((vm.resets() > 0).then_some(()))
        })?;
        let state = vm.boot_state()?;
        ensure!(
            !state[SlotId::A].banned && !state[SlotId::B].banned,
            "a slot was blamed"
        );
        Ok(())
    });
}

/// Waits until the boot has settled one way or the other and `wanted` holds.
fn running(vm: &mut Vm, mut wanted: impl FnMut(&Status) -> bool) -> Result<Status> {
    vm.wait_status("a settled boot with the message", BOOT, |status| {
        matches!(
            status.health.state,
            HealthState::Healthy | HealthState::Degraded
        ) && wanted(status)
    })
}

fn told(status: &Status, service: &str, text: &str) -> bool {
    status
        .service(service)
        .is_some_and(|service| service.status_text.contains(text))
}

fn names_data(status: &Status) -> bool {
    let reasons = status.health.reasons.join(" ");
    told(status, "data", "DATA") || reasons.contains("DATA")
}

/// Whether the first MiB of DATA is the same after `boot` as before.
fn untouched(disk: &std::path::Path, boot: impl FnOnce() -> Result<()>) -> Result<bool> {
    let before = disk::read(disk, "DATA", 0, 1 << 20)?;
    boot()?;
    Ok(disk::read(disk, "DATA", 0, 1 << 20)? == before)
}
