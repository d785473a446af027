//! The configuration, changed by a person on the serial console, across power cuts.

use anyhow::Result;
use appliance::{Machine, Vm, case, wait_for};
use std::time::Duration;

use crate::{BOOT, machine, provision, start};

const DOCUMENT: &str = "\
[network.link.eth0]
role = \"wan\"
[network.link.eth1]
role = \"lan\"
ipv4 = { addresses = [\"192.168.77.1/24\"] }
";
const OLD: &str = "192.168.77.1";
const NEW: &str = "192.168.88.1";
const CHANGE: &str = "config set network.link.eth1.ipv4.addresses '[\"192.168.88.1/24\"]' \
                      --yes --confirm-within 3600 --reason moving";
/// A command at the prompt, on a host with one busy processor per machine.
const COMMAND: Duration = Duration::from_secs(30);
const PROMPT: &str = "x0> ";

#[test]
fn a_change_survives_a_power_cut_only_when_it_was_confirmed() {
    case("commit-confirm", |case| {
        let mut machine = machine(case)?;
        provision(&mut machine, case, DOCUMENT.as_bytes())?;

        let mut vm = start(&machine, case)?;
        log_in(&mut vm)?;
        type_command(&mut vm, CHANGE, "keep it with")?;
        has_address(&mut vm, NEW, OLD)?;
        type_command(&mut vm, "config status", "comes back")?;
        vm.cut_power()?;

        let mut vm = again(&machine, vm, case)?;
        log_in(&mut vm)?;
        has_address(&mut vm, OLD, NEW)?;
        type_command(&mut vm, "config history", "moving")?;
        type_command(&mut vm, CHANGE, "keep it with")?;
        has_address(&mut vm, NEW, OLD)?;
        type_command(&mut vm, "config confirm", "is confirmed")?;
        vm.cut_power()?;

        let mut vm = again(&machine, vm, case)?;
        log_in(&mut vm)?;
        has_address(&mut vm, NEW, OLD)?;
        type_command(&mut vm, "store verify", "as they were written")?;
        type_command(&mut vm, "config rollback 2 --yes", "keep it with")?;
        has_address(&mut vm, OLD, NEW)?;
        type_command(&mut vm, "config cancel", "taken back")?;
        has_address(&mut vm, NEW, OLD)
    });
}

/// The same machine after the power came back.
fn again(machine: &Machine, before: Vm, case: &appliance::Case) -> Result<Vm> {
    drop(before);
    start(machine, case)
}

fn log_in(vm: &mut Vm) -> Result<()> {
    vm.wait_healthy("a", BOOT)?;
    vm.wait_screen("log in", COMMAND)?;
    let position = vm.serial.position();
    vm.serial.send(b"l")?;
    vm.wait_serial(PROMPT, position, COMMAND)
}

/// Types `command` and waits until `told` is in what it prints, and the prompt is back.
fn type_command(vm: &mut Vm, command: &str, told: &str) -> Result<()> {
    let position = vm.serial.position();
    vm.serial.send(format!("{command}\r").as_bytes())?;
    vm.wait_serial(told, position, COMMAND)?;
    // The prompt takes bracketed paste while it waits, and only then.
    vm.wait_serial("\x1b[?2004h", position, COMMAND)
}

fn has_address(vm: &mut Vm, present: &str, absent: &str) -> Result<()> {
    let mut agent = vm.agent()?;
    wait_for(&format!("{present} without {absent}"), COMMAND, || {
        let table = agent.read("/proc/net/fib_trie")?;
        Ok((table.contains(present) && !table.contains(absent)).then_some(()))
    })
}
