//! What a volume that may carry a configuration turns out to hold.

use config::{Document, Problems};

use crate::fat::{FatError, Source, Volume};

/// The label of a volume that is meant for us.
pub const LABEL: &str = "X0-CONFIG";
/// The file in its root folder.
pub const FILE: &str = "x0.toml";

/// A document that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// As it was written, comments included.
    pub text: String,
}

/// Why a document, or the volume that should hold one, is of no use.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Not an error: the volume has nothing to do with us.
    #[error("it is not labelled {LABEL}")]
    NotOurs,
    #[error("the volume {LABEL} is of no use")]
    Fat(#[source] FatError),
    #[error("the volume {LABEL} has no file {FILE} in its root folder")]
    Missing,
    #[error("{FILE} is not UTF-8 text (byte {at})")]
    NotText { at: usize },
    #[error("{FILE}")]
    Document(#[source] Problems),
}

/// Reads and checks the document on a volume.
///
/// # Errors
/// [`VolumeError::NotOurs`] for any volume without our label, and whatever is wrong with one that
/// bears it.
pub fn read<S: Source + ?Sized>(source: &S) -> Result<Checked, VolumeError> {
    let volume = Volume::open(source).map_err(|_| VolumeError::NotOurs)?;
    // The label in the root folder counts, where there is one: it is what people change.
    let in_boot_sector = volume.is_labelled(LABEL);
    let listing = match volume.list(FILE) {
        Ok(listing) => listing,
        Err(error) if in_boot_sector => return Err(VolumeError::Fat(error)),
        Err(_) => return Err(VolumeError::NotOurs),
    };
    if !listing.is_labelled(LABEL).unwrap_or(in_boot_sector) {
        return Err(VolumeError::NotOurs);
    }
    let entry = listing.file.ok_or(VolumeError::Missing)?;
    let bytes = volume
        .read(entry, config::SIZE_MAX_BYTES as u64)
        .map_err(VolumeError::Fat)?;
    check(bytes)
}

/// Checks the bytes of a document.
///
/// # Errors
/// When they are no text, or not a document.
pub fn check(bytes: Vec<u8>) -> Result<Checked, VolumeError> {
    let text = String::from_utf8(bytes).map_err(|error| VolumeError::NotText {
        at: error.utf8_error().valid_up_to(),
    })?;
    Document::parse(&text).map_err(|problems| VolumeError::Document(Problems(problems)))?;
    Ok(Checked { text })
}
