//! The real image, in QEMU, broken in every way we know.
//!
//! One boot serves several assertions where the faults don't disturb each other. What a failed case
//! leaves is in `target/tests/<case>/`.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use appliance::{Boot, Card, Case, Firmware, Machine, Vm, disk};
use image::layout::MIB;
use image::{Outputs, Profile, Request};

mod boot;
mod bus;
mod config;
mod confinement;
mod data;
mod fault;
mod network;
mod service;

/// The smallest disk that the image is made for has 2 GB.
const DISK_BYTES: u64 = 1907 * MIB;
/// From power-on to health; a host with one busy processor per machine takes a third of it.
const BOOT: Duration = Duration::from_secs(60);

/// The image with the fault agent, built once.
fn image() -> Result<Outputs> {
    static BUILT: Mutex<Option<Outputs>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.is_none() {
        *built = Some(build(Profile::Test)?);
    }
    built.clone().context("it was built")
}

fn build(profile: Profile) -> Result<Outputs> {
    let root = appliance::root()
        .canonicalize()
        .context("find the checkout")?;
    let request = Request::of(&root, &appliance::cache(), profile);
    image::build(&request).with_context(|| format!("build the {profile:?} image"))
}

/// A machine with a fresh copy of the image, firmware without Secure Boot, and two cards: the first
/// with QEMU's DHCP server, the second with nobody behind it.
fn machine(case: &Case) -> Result<Machine> {
    machine_of(&image()?, case)
}

fn machine_of(outputs: &Outputs, case: &Case) -> Result<Machine> {
    let disk = case.path("disk.img");
    disk::copy(&outputs.image(), &disk, DISK_BYTES)?;
    let boot = Boot::Firmware(Firmware::plain(case.path("variables.fd"))?);
    let accelerator = appliance::accelerator(&appliance::cache())?;
    let mut machine = Machine::new(accelerator, boot, disk);
    machine.cards = vec![Card::User, Card::Silent];
    Ok(machine)
}

/// Starts `machine` with its logs in the case's folder.
fn start(machine: &Machine, case: &Case) -> Result<Vm> {
    Vm::start(machine.clone(), case.folder(), None)
}

/// Attaches a provisioning volume with `document` to `machine`.
fn provision(machine: &mut Machine, case: &Case, document: &[u8]) -> Result<()> {
    let volume = case.path("x0-config.img");
    disk::provisioning_volume(&volume, document)?;
    machine.disks.push(volume);
    Ok(())
}

/// The place of `needle` in the partition `name`, looked for in its first `length` bytes.
fn find(machine: &Machine, name: &str, length: usize, needle: &[u8]) -> Result<u64> {
    let bytes = disk::read(&machine.disks[0], name, 0, length)?;
    let place = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .with_context(|| format!("{name} does not hold {:?}", String::from_utf8_lossy(needle)))?;
    Ok(place as u64)
}

#[test]
fn the_release_image_has_no_fault_agent() {
    appliance::case("no-agent", |_| {
        let root = appliance::root()
            .canonicalize()
            .context("find the checkout")?;
        let request = Request::of(&root, &appliance::cache(), Profile::Release);
        let release = image::build(&request).context("build the image")?;
        let names = |outputs: &Outputs| -> Result<String> {
            let path = outputs.root().display().to_string();
            let listing = appliance::tool("dump.erofs", &["--ls", "--path=/usr/lib/x0", &path])?;
            let sbom = fs::read_to_string(outputs.sbom()).context("read the SBOM")?;
            Ok(format!("{listing}\n{sbom}"))
        };
        anyhow::ensure!(
            names(&image()?)?.contains("agent"),
            "the test image has none either"
        );
        anyhow::ensure!(
            !names(&release)?.contains("agent"),
            "the agent would be flashed"
        );
        Ok(())
    });
}
