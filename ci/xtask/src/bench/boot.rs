//! `ci/bench boot`: how long userland takes to get ready, beside Debian's systemd on the same
//! kernel in the same QEMU, and how long the whole appliance takes from power-on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ::image::Outputs;
use ::image::layout::{MIB, Slot};
use anyhow::{Context, Result, ensure};
use appliance::{Boot, Card, Firmware, Machine, Vm, disk};

use crate::bench::{Results, debian, median};
use crate::checkout;

const DISK_BYTES: u64 = 2048 * MIB;
/// No boot takes longer, not even Debian's on a busy host without KVM.
const LIMIT: Duration = Duration::from_secs(180);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Boots of each kind; the figures are their medians
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let outputs = ::image::build(&crate::image::request(::image::Profile::Release)?)
        .context("build the image")?;
    let debian = debian::root_image(&checkout::cache())?;
    let folder = checkout::target().join("bench/boot");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;

    // In turns, so that both sides meet the same weather on the host.
    let [mut ours, mut systemd, mut power_on] = [vec![], vec![], vec![]];
    for _ in 0..args.runs {
        ours.push(own_userspace_ms(&outputs, &folder)?);
        systemd.push(systemd_userspace_ms(&outputs, &debian, &folder)?);
        power_on.push(power_on_to_healthy_s(&outputs, &folder)?);
    }
    let middle = |samples: &mut Vec<f64>| median(samples).expect("there is at least one run");
    let [ours, systemd, power_on] = [&mut ours, &mut systemd, &mut power_on].map(middle);
    let mut results = Results::new("boot")?;
    results.add("userspace_ms", ours, "ms");
    results.add("systemd_userspace_ms", systemd, "ms");
    results.add("ratio_to_systemd", ours / systemd, "ratio");
    results.add("power_on_to_healthy_s", power_on, "s");
    results.publish()?;
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

/// From the start of our PID 1 to all services ready, by its own clock.
fn own_userspace_ms(outputs: &Outputs, folder: &Path) -> Result<f64> {
    let disk = folder.join("own.img");
    disk::copy(&outputs.image(), &disk, DISK_BYTES)?;
    let path = outputs.command_line(Slot::A);
    let command_line =
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut vm = Vm::start(machine(outputs, &disk, command_line.trim())?, folder, None)?;
    let status = vm.wait_status("every service to be ready", LIMIT, |status| {
        status.userspace_ready_ms.is_some()
    })?;
    let ready_ms = status
        .userspace_ready_ms
        .context("it was there a moment ago")?;
    Ok(f64::from(u32::try_from(ready_ms)?))
}

/// From systemd's own start to its default target, by its own clock.
fn systemd_userspace_ms(outputs: &Outputs, debian: &Path, folder: &Path) -> Result<f64> {
    let disk = folder.join("debian.img");
    disk::copy(debian, &disk, debian::ROOT_BYTES)?;
    let command_line = "console=ttyS0,115200 quiet loglevel=4 root=/dev/vda rootfstype=ext4 rw";
    let mut vm = Vm::start(machine(outputs, &disk, command_line)?, folder, None)?;
    vm.wait_serial(debian::REPORT_END, 0, LIMIT)?;
    let start_us = debian::reported(&vm.serial.since(0), "UserspaceTimestampMonotonic")?;
    let target_us = debian::reported(&vm.serial.since(0), "ActiveEnterTimestampMonotonic")?;
    ensure!(
        target_us > start_us,
        "systemd reached its target before it started"
    );
    Ok((target_us - start_us) / 1000.0)
}

/// From the first instruction of the firmware until PID 1 says that the machine is healthy.
fn power_on_to_healthy_s(outputs: &Outputs, folder: &Path) -> Result<f64> {
    let disk = folder.join("firmware.img");
    disk::copy(&outputs.image(), &disk, DISK_BYTES)?;
    let variables = folder.join("variables.fd");
    let _ = fs::remove_file(&variables);
    let mut machine = machine(outputs, &disk, "")?;
    machine.boot = Boot::Firmware(Firmware::plain(variables)?);
    let started = Instant::now();
    let mut vm = Vm::start(machine, folder, None)?;
    vm.wait_healthy("a", LIMIT)?;
    Ok(started.elapsed().as_secs_f64())
}

/// The same machine for both sides.
fn machine(outputs: &Outputs, disk: &Path, command_line: &str) -> Result<Machine> {
    let accelerator = appliance::accelerator(&checkout::cache())?;
    let boot = Boot::Direct {
        kernel: outputs.kernel(),
        command_line: command_line.to_owned(),
    };
    let mut machine = Machine::new(accelerator, boot, disk.to_owned());
    machine.cards = vec![Card::User, Card::Silent];
    Ok(machine)
}
