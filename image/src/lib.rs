//! Builds the appliance's disk image from a checkout.
//!
//! Responsible for: compiling userland, laying out the root tree, EROFS and verity, the signed
//! unified kernel images, the disk, the flash image with its block map, and the records of what
//! is in it (manifest, SBOM). The same commit gives the same bytes, on any machine and path.
//! Not responsible for: how the kernel is configured (crate `kernel-config`), what a service's
//! manifest may say (crate `manifest`), what the selector does with the slots.
//! Talks to: cargo, the host's image tools, dpkg.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

mod assemble;
mod bmap;
mod crates;
mod debian;
mod disk;
mod error;
mod esp;
pub mod firmware;
mod fresh;
mod gpt;
mod keys;
pub mod layout;
mod materials;
mod parts;
mod pe;
mod probes;
mod record;
mod root;
mod sbom;
pub mod selector;
mod shared;
mod source;
mod tool;
mod tree;
mod uki;
mod userland;

pub use bmap::{BlockMap, ParseBlockMapError, Range};
pub use error::Error;
pub use gpt::Guid;
pub use keys::Keys;
pub use source::Source;
pub use tool::{FileError, ToolError};

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What is flashed.
    Release,
    /// The same with the fault-injection service of `tests/agent` in it.
    Test,
    /// The test image with, beside each service, one that tries to leave the same sandbox. Kept
    /// apart because so many services more make each boot slower.
    Probe,
}

/// What to build, and where.
#[derive(Debug, Clone)]
pub struct Request {
    /// Release or test image.
    pub profile: Profile,
    /// Top of the checkout.
    pub workspace: PathBuf,
    /// Folder of the results.
    pub out: PathBuf,
    /// Cargo's folder for userland, best not shared with other builds: the flags differ.
    pub target: PathBuf,
    /// What outlives checkouts, kernels above all.
    pub cache: PathBuf,
    /// Folder of the Secure Boot key pair; a development pair is made if it holds none.
    pub keys: PathBuf,
}

impl Request {
    /// The usual places for a checkout: `target/x0` or `target/x0-test`, and `target/x0-keys`.
    pub fn of(workspace: &Path, cache: &Path, profile: Profile) -> Self {
        let target = workspace.join("target");
        let out = match profile {
            Profile::Release => "x0",
            Profile::Test => "x0-test",
            Profile::Probe => "x0-probe",
        };
        Self {
            profile,
            workspace: workspace.to_owned(),
            out: target.join(out),
            target: target.join("userland"),
            cache: cache.to_owned(),
            keys: target.join("x0-keys"),
        }
    }
}

/// The results of a build; all of them lie in one folder.
#[derive(Debug, Clone)]
pub struct Outputs {
    folder: PathBuf,
    /// The Secure Boot key pair that signed it.
    pub keys: Keys,
}

impl Outputs {
    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The whole disk, raw and sparse.
    pub fn image(&self) -> PathBuf {
        self.folder.join("x0.img")
    }

    /// The whole disk for flashing; unpacks with `zstd -d --long=30`.
    pub fn flash_image(&self) -> PathBuf {
        self.folder.join("x0.img.zst")
    }

    /// Which blocks of the disk to write.
    pub fn block_map(&self) -> PathBuf {
        self.folder.join("x0.img.bmap")
    }

    /// EROFS and its hash tree, as they lie in both root partitions.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.erofs")
    }

    /// The kernel alone, for direct boots.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("bzImage")
    }

    /// The signed selector.
    pub fn selector(&self) -> PathBuf {
        self.folder.join("selector.efi")
    }

    /// The signed kernel image of a slot.
    pub fn uki(&self, slot: layout::Slot) -> PathBuf {
        self.folder.join(format!("uki-{}.efi", slot.letter()))
    }

    /// The command line of a slot as text, for direct boots.
    pub fn command_line(&self, slot: layout::Slot) -> PathBuf {
        self.folder.join(format!("cmdline-{}", slot.letter()))
    }

    /// Every result with size and checksum.
    pub fn manifest(&self) -> PathBuf {
        self.folder.join("manifest.json")
    }

    /// Every crate and Debian package in the image, CycloneDX.
    pub fn sbom(&self) -> PathBuf {
        self.folder.join("sbom.cdx.json")
    }
}

/// Builds what is missing or outdated in `request.out`. Two calls at a time take turns.
pub fn build(request: &Request) -> Result<Outputs, Error> {
    tool::make_directory(&request.out)?;
    // Cargo's folder rather than ours: both profiles put their programs there.
    tool::make_directory(&request.target)?;
    let lock_path = request.target.join(".image-lock");
    let lock = std::fs::File::create(&lock_path).map_err(tool::at("create", &lock_path))?;
    lock.lock().map_err(tool::at("lock", &lock_path))?;

    let parts = parts::collect(request)?;
    let outputs = Outputs {
        folder: request.out.clone(),
        keys: parts.keys.clone(),
    };
    let stamp = fresh::Stamp::of(&parts, request)?;
    if !stamp.is_current(&request.out) {
        fresh::Stamp::forget(&request.out);
        assemble::assemble(&parts, &request.out, request.profile)?;
        stamp.record(&request.out)?;
    }
    Ok(outputs)
}
