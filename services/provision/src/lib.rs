//! Brings a configuration that a person prepared on a USB stick (or a hypervisor on a disk) to
//! DATA.
//!
//! Responsible for: finding a FAT volume labelled `X0-CONFIG`, reading `x0.toml` from it, checking
//! it, keeping it as `/data/config/x0.toml`; the host name that the configuration asks for.
//! Not responsible for: what the configuration means (`network-api`), applying it (`network`), DATA
//! itself (`data`).
//! Talks to: block devices other than the boot disk, DATA. Trusts none of those devices.
//!
//! It never fails the boot: whatever is wrong with a volume or a file, the old configuration
//! stays, and the status line says what to do.
#![forbid(unsafe_code)]

pub mod device;
pub mod fat;
pub mod import;
pub mod reader;
pub mod volume;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use runtime::{Chain, notify};

use crate::device::Usb;
use crate::reader::Found;
use crate::volume::Checked;

/// A USB stick takes one or two seconds from power-on to its block device.
const USB_LIMIT: Duration = Duration::from_secs(3);
const USB_LOOK_EVERY: Duration = Duration::from_millis(50);
/// A healthy stick answers in milliseconds.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The configuration on DATA.
    pub document: PathBuf,
    pub sys: PathBuf,
    pub dev: PathBuf,
    /// This program, to be started once per volume.
    pub program: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            document: "/data/config/x0.toml".into(),
            sys: "/sys".into(),
            dev: "/dev".into(),
            program: "/proc/self/exe".into(),
        }
    }
}

/// Looks for a configuration, imports it, and names the machine.
///
/// # Errors
/// None: the boot goes on with what there is.
pub fn run(config: &Config) -> Result<(), Infallible> {
    let boot_disk = match disk::Disk::of_root() {
        Ok(disk) => Some(disk.name),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "all disks are searched for a configuration");
            None
        }
    };
    let (status, checked) = provide(config, boot_disk.as_deref());
    if let Some(hostname) = checked.and_then(|checked| checked.document.system.hostname)
        && let Err(error) = rustix::system::sethostname(hostname.as_str().as_bytes())
    {
        tracing::warn!(%error, hostname = hostname.as_str(), "the host name cannot be set");
    }
    notify::status(&status);
    notify::ready();
    Ok(())
}

/// Imports what there is to import. Returns a line for the status, and the configuration that
/// applies now, if any.
#[must_use]
pub fn provide(config: &Config, boot_disk: Option<&str>) -> (String, Option<Checked>) {
    let mut troubles = Vec::new();
    let current = match import::current(&config.document) {
        Ok(current) => current,
        Err(error) => {
            let trouble = format!("{} cannot be read: {error}", config.document.display());
            tracing::error!("{trouble}");
            troubles.push(trouble);
            None
        }
    };
    let offered = search(config, boot_disk, current.is_some(), &mut troubles);
    let (line, checked) = match offered {
        Some((device, checked)) => take(config, current, &device, checked, &mut troubles),
        None => keep(config, current, &mut troubles),
    };
    troubles.insert(0, line);
    (troubles.join("; "), checked)
}

/// The first usable document on a volume of ours, in the order of the devices' names.
fn search(
    config: &Config,
    boot_disk: Option<&str>,
    has_configuration: bool,
    troubles: &mut Vec<String>,
) -> Option<(PathBuf, Checked)> {
    let deadline = Instant::now() + USB_LIMIT;
    let mut seen = BTreeSet::new();
    loop {
        let usb = Usb::look(&config.sys);
        let devices = device::candidates(&config.sys, boot_disk).unwrap_or_else(|error| {
            tracing::warn!(%error, "the disks cannot be listed");
            device::Devices::new()
        });
        let new: Vec<PathBuf> = devices
            .into_keys()
            .filter(|name| seen.insert(name.clone()))
            .map(|name| config.dev.join(name))
            .collect();
        let is_calm = new.is_empty();
        let mut offered = None;
        for (device, found) in reader::read_all(&config.program, new, READ_LIMIT) {
            match found {
                Found::Nothing => tracing::debug!(device = %device.display(), "no configuration"),
                Found::Refused(reason) => {
                    let trouble = format!("{}: {reason}", device.display());
                    tracing::error!("{trouble}");
                    troubles.push(trouble);
                }
                Found::Document(checked) if offered.is_none() => offered = Some((device, checked)),
                Found::Document(_) => {
                    tracing::warn!(device = %device.display(), "a second configuration is ignored");
                }
            }
        }
        // A stick's partitions come right after itself; a machine without a configuration waits for
        // a stick wherever one could be plugged in, one that has a configuration only for a stick
        // that is there.
        let may_come = usb.is_pending || (usb.has_ports && (!is_calm || !has_configuration));
        if offered.is_some() || !may_come || !troubles.is_empty() || Instant::now() >= deadline {
            return offered;
        }
        thread::sleep(USB_LOOK_EVERY);
    }
}

fn take(
    config: &Config,
    current: Option<Vec<u8>>,
    device: &Path,
    checked: Checked,
    troubles: &mut Vec<String>,
) -> (String, Option<Checked>) {
    let shown = device.display();
    if current.as_deref() == Some(checked.text.as_bytes()) {
        let line = format!("configuration as on {shown}");
        return (line, Some(checked));
    }
    match import::store(&config.document, &checked.text) {
        Ok(()) => {
            tracing::info!(device = %shown, "configuration imported");
            (
                format!("configuration imported from {shown}"),
                Some(checked),
            )
        }
        Err(error) => {
            let trouble = format!("the configuration on {shown} cannot be stored: {error}");
            tracing::error!("{trouble}");
            troubles.push(trouble);
            keep(config, current, troubles)
        }
    }
}

fn keep(
    config: &Config,
    current: Option<Vec<u8>>,
    troubles: &mut Vec<String>,
) -> (String, Option<Checked>) {
    match current.map(volume::check) {
        Some(Ok(checked)) => ("configuration kept".into(), Some(checked)),
        Some(Err(error)) => {
            let trouble = format!("{}: {}", config.document.display(), Chain(&error));
            tracing::error!("{trouble}");
            troubles.push(trouble.replace('\n', "; "));
            ("the stored configuration is not valid".into(), None)
        }
        None => ("no configuration: the built-in one applies".into(), None),
    }
}

/// Reads hostile bytes as a volume; for fuzzing, must only return.
pub fn judge(bytes: &[u8]) {
    volume::read(bytes).ok();
}
