//! Power on, get healthy, go down in order: from both slots, by button, keys and command.

use std::time::Duration;

use anyhow::ensure;
use api::{Power, ServiceState};
use appliance::{Boot, Firmware, case, disk};
use bootstate::{ReasonCode, SlotId};

use crate::{BOOT, find, image, machine, start};

/// Every service stops within its own deadline, and the machine soon after.
const DOWN: Duration = Duration::from_secs(30);

#[test]
fn firmware_boots_each_slot_to_health_and_every_way_down_is_in_order() {
    case("boot", |case| {
        let mut machine = machine(case)?;
        let mut vm = start(&machine, case)?;
        let status = vm.wait_healthy("a", BOOT)?;
        for service in &status.services {
            let up = matches!(service.state, ServiceState::Ready | ServiceState::Done);
            ensure!(up, "{} is {}", service.name, service.state);
        }
        vm.wait_serial("x0: healthy", 0, Duration::from_secs(5))?;
        let state = vm.boot_state()?;
        ensure!(
            state[SlotId::A].good && state[SlotId::A].tries == 3,
            "not committed: {state:?}"
        );
        vm.wait_screen("HEALTHY", Duration::from_secs(10))?;
        let machine_id = vm.agent()?.read("/data/machine-id")?;

        vm.power(Power::Reboot)?;
        let again = vm.wait_status("the second boot", BOOT, |now| {
            now.boot_count > status.boot_count && now.health.state == api::HealthState::Healthy
        })?;
        ensure!(
            again.slot.as_deref() == Some("a"),
            "a reboot changed the slot: {again:?}"
        );
        ensure!(
            vm.agent()?.read("/data/machine-id")? == machine_id,
            "the machine id changed"
        );

        let resets = vm.resets();
        vm.ctrl_alt_delete()?;
        appliance::wait_for("the reset", DOWN, || {
            Ok((vm.resets() > resets).then_some(()))
        })?;
        vm.wait_healthy("a", BOOT)?;
        vm.power_button()?;
        vm.wait_off(DOWN)?;
        drop(vm);

        disk::change_boot_state(&machine.disks[0], |state| state[SlotId::B].priority = 30)?;
        machine.no_reboot = true;
        let mut vm = start(&machine, case)?;
        let status = vm.wait_healthy("b", BOOT)?;
        let end = status.previous_end;
        ensure!(
            end.is_none(),
            "after ways down in order it complains: {end:?}"
        );
        vm.power(Power::Poweroff)?;
        vm.wait_off(DOWN)
    });
}

#[test]
fn secure_boot_starts_what_is_signed_and_refuses_one_changed_byte() {
    case("secure-boot", |case| {
        let mut machine = machine(case)?;
        let variables = case.path("enforcing.fd");
        machine.boot = Boot::Firmware(Firmware::enforcing(variables, &image()?.keys)?);
        // In the kernel's text on the disk, which nothing looks at before it runs.
        let place = find(&machine, "BOOT-A", 1 << 20, b"HdrS")?;
        disk::flip(&machine.disks[0], "BOOT-A", place + 0x10000)?;
        let mut vm = start(&machine, case)?;
        vm.wait_healthy("b", BOOT)?;
        let refused = vm.boot_state()?[SlotId::A];
        let code = refused.reason.code;
        ensure!(
            refused.banned && matches!(code, ReasonCode::REFUSED | ReasonCode::CORRUPT),
            "slot A: {refused:?}"
        );
        let enforced = vm
            .agent()?
            .read("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        ensure!(
            enforced.map_or(true, |value| value.ends_with('\u{1}')),
            "it does not enforce"
        );
        drop(vm);

        disk::flip(&machine.disks[0], "BOOT-A", place + 0x10000)?;
        disk::change_boot_state(&machine.disks[0], |state| {
            let slot = &mut state[SlotId::A];
            (slot.banned, slot.tries, slot.priority) = (false, 3, 30);
        })?;
        let mut vm = start(&machine, case)?;
        vm.wait_healthy("a", BOOT).map(drop)
    });
}
