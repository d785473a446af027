//! What an image is made of, gathered for the bill of materials.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::crates::{self, Crate, CrateId};
use crate::debian::{self, Packages};
use crate::parts::Parts;
use crate::selector::Architecture;
use crate::source::Source;
use crate::tool::Tool;
use crate::{Error, selector, userland};

/// A program of ours and the cargo package that it is from.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: String,
    pub(crate) file: PathBuf,
    pub(crate) package: CrateId,
}

/// What the bill lists.
#[derive(Debug)]
pub(crate) struct Materials<'a> {
    pub(crate) source: &'a Source,
    pub(crate) programs: Vec<Program>,
    pub(crate) crates: BTreeMap<CrateId, Crate>,
    pub(crate) packages: Packages,
    /// Version of the Rust compiler, whose standard library is in every program.
    pub(crate) rust: String,
}

impl<'a> Materials<'a> {
    /// Asks cargo and dpkg about everything in `parts`. `shipped` has our programs as they are
    /// in the image, by their path there; `selector` is the one on the ESP.
    pub(crate) fn of(
        parts: &'a Parts,
        shipped: &BTreeMap<String, PathBuf>,
        selector: &Path,
    ) -> Result<Self, Error> {
        let names: Vec<String> = parts.packages.values().cloned().collect();
        let mut crates = crates::shipped(&parts.workspace, &names, userland::TARGET)?;
        let selector_folder = parts.workspace.join("init/selector");
        let target = Architecture::X86_64.target();
        crates.extend(crates::shipped(
            &selector_folder,
            &["selector".to_owned()],
            target,
        )?);

        let program = |path: &str, file: &Path, package: &str| {
            let package = crates.keys().find(|(name, _)| name == package).cloned();
            let package = package.ok_or(Error::Answer {
                program: "cargo tree",
                subject: path.to_owned(),
            })?;
            Ok::<_, Error>(Program {
                path: path.to_owned(),
                file: file.to_owned(),
                package,
            })
        };
        let mut programs = Vec::new();
        for (path, package) in &parts.packages {
            programs.push(program(path, &shipped[path], package)?);
        }
        programs.push(program("/EFI/BOOT/BOOTX64.EFI", selector, "selector")?);

        let mut files: Vec<PathBuf> = parts.debian.files.values().cloned().collect();
        files.extend(debian::linked_files()?);
        files.extend([
            parts.stub.clone(),
            parts.kernel.source.clone(),
            selector::core_source()?,
        ]);
        Ok(Self {
            source: &parts.source,
            programs,
            crates,
            packages: debian::packages_of(files)?,
            rust: rust_version()?,
        })
    }
}

fn rust_version() -> Result<String, Error> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let text = Tool::new(rustc).arg("--version").run()?;
    let version = text.split_whitespace().nth(1).map(str::to_owned);
    version.ok_or(Error::Answer {
        program: "rustc",
        subject: "its version".to_owned(),
    })
}
