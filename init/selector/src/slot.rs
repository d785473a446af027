//! The kernel image of a slot: from a raw partition into the firmware's hands.

use core::fmt;

use bootstate::pe::{self, Layout, Machine, PeError, Verdict};
use bootstate::{Reason, ReasonCode, SlotId, Text};
use uefi::boot::{self, LoadImageSource};
use uefi::{Handle, Status};

use crate::console::say;
use crate::disk::{Disk, DiskError};
use crate::memory::Pages;

#[cfg(target_arch = "aarch64")]
const MACHINE: Machine = Machine::Aarch64;
#[cfg(target_arch = "x86_64")]
const MACHINE: Machine = Machine::X86_64;

/// Why a slot is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadError {
    Disk(DiskError),
    Firmware(Status),
    Image(PeError),
    Memory,
}

impl LoadError {
    pub(crate) fn reason(self) -> Reason {
        let code = match self {
            Self::Disk(_) => ReasonCode::UNREADABLE,
            Self::Firmware(Status::ACCESS_DENIED | Status::SECURITY_VIOLATION) => {
                ReasonCode::REFUSED
            }
            Self::Firmware(_) | Self::Memory => ReasonCode::LOAD_FAILED,
            Self::Image(_) => ReasonCode::CORRUPT,
        };
        Reason {
            code,
            text: Text::format(format_args!("{self}")),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "{error}"),
            Self::Firmware(status) => write!(f, "the firmware answers {status}"),
            Self::Image(error) => write!(f, "{error}"),
            Self::Memory => f.write_str("too little memory"),
        }
    }
}

/// Reads, checks and loads the image.
pub(crate) fn load(disk: &mut Disk, slot: SlotId) -> Result<Handle, LoadError> {
    let image = read(disk, slot)?;
    let source = LoadImageSource::FromBuffer {
        buffer: &image,
        file_path: None,
    };
    // The firmware copies the image, and checks its signature when Secure Boot is on.
    boot::load_image(boot::image_handle(), source)
        .map_err(|error| LoadError::Firmware(error.status()))
}

fn read(disk: &mut Disk, slot: SlotId) -> Result<Pages, LoadError> {
    let partition = disk
        .partition(slot.boot_partition())
        .map_err(LoadError::Disk)?;
    let limit = disk.partition_bytes(&partition);
    let mut head = pages(disk.whole_blocks(pe::HEAD_BYTES))?;
    disk.read(&partition, 0, &mut head)
        .map_err(LoadError::Disk)?;
    let layout = Layout::parse(&head, limit, MACHINE).map_err(LoadError::Image)?;
    let bytes = usize::try_from(layout.file_bytes).map_err(|_| LoadError::Memory)?;
    let mut image = pages(disk.whole_blocks(bytes))?;
    disk.read(&partition, 0, &mut image)
        .map_err(LoadError::Disk)?;
    image.truncate(bytes);
    match layout.verify(&image).map_err(LoadError::Image)? {
        Verdict::Intact => {}
        Verdict::Unsigned => say!("x0: slot {slot} is not signed, decay would not be noticed"),
    }
    Ok(image)
}

fn pages(bytes: usize) -> Result<Pages, LoadError> {
    Pages::new(bytes).map_err(|_| LoadError::Memory)
}
