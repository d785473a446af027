//! Looks for a volume with a configuration, and waits for a stick that is on its way.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::Config;
use crate::device::{self, Usb};
use crate::reader::{self, Found};
use crate::volume::Checked;

/// A document that a volume offers.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) device: PathBuf,
    pub(crate) checked: Checked,
}

/// The first usable document on a volume of ours, in the order of the devices' names. What is wrong
/// with the others goes to `troubles`.
pub(crate) fn search(
    config: &Config,
    boot_disk: Option<&str>,
    has_configuration: bool,
    troubles: &mut Vec<String>,
) -> Option<Offer> {
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
        let mut offer = None;
        for (device, found) in reader::read_all(&config.program, new, READ_LIMIT) {
            match found {
                Found::Nothing => tracing::debug!(device = %device.display(), "no configuration"),
                Found::Refused(reason) => {
                    let trouble = format!("{}: {reason}", device.display());
                    tracing::error!("{trouble}");
                    troubles.push(trouble);
                }
                Found::Document(checked) if offer.is_none() => {
                    offer = Some(Offer { device, checked });
                }
                Found::Document(_) => {
                    tracing::warn!(device = %device.display(), "a second configuration is ignored");
                }
            }
        }
        // A stick's partitions come right after itself; a machine without a configuration waits for
        // a stick wherever one could be plugged in, one that has a configuration only for a stick
        // that is there.
        let may_come = usb.is_pending || (usb.has_ports && (!is_calm || !has_configuration));
        if offer.is_some() || !may_come || !troubles.is_empty() || Instant::now() >= deadline {
            return offer;
        }
        thread::sleep(USB_LOOK_EVERY);
    }
}

/// A USB stick takes one or two seconds from power-on to its block device.
const USB_LIMIT: Duration = Duration::from_secs(3);
const USB_LOOK_EVERY: Duration = Duration::from_millis(50);
/// A healthy stick answers in milliseconds.
const READ_LIMIT: Duration = Duration::from_secs(5);
