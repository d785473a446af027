//! OVMF with variables of its own for each machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::Keys;
use image::firmware::secure_boot_vars;

const FOLDER: &str = "/usr/share/OVMF";

/// UEFI firmware and where its variables are kept.
#[derive(Clone, Debug)]
pub struct Firmware {
    pub(crate) code: PathBuf,
    pub(crate) variables: PathBuf,
    /// The variables can be written only from system management mode.
    pub(crate) secure_boot: bool,
}

impl Firmware {
    /// Without Secure Boot; variables start empty in `variables`, unless that file exists.
    pub fn plain(variables: PathBuf) -> Result<Self> {
        if !variables.exists() {
            let unused = unused();
            fs::copy(&unused, &variables)
                .with_context(|| format!("copy {} (ci/setup)", unused.display()))?;
        }
        let code = Path::new(FOLDER).join("OVMF_CODE_4M.fd");
        Ok(Self {
            code,
            variables,
            secure_boot: false,
        })
    }

    /// Ready to enforce Secure Boot, but trusts no key yet and so starts everything.
    pub(crate) fn guarded(variables: PathBuf) -> Result<Self> {
        let plain = Self::plain(variables)?;
        Ok(Self {
            code: Path::new(FOLDER).join("OVMF_CODE_4M.secboot.fd"),
            secure_boot: true,
            ..plain
        })
    }

    /// Enforces Secure Boot and trusts `keys` alone; variables are kept in `variables`.
    pub fn enforcing(variables: PathBuf, keys: &Keys) -> Result<Self> {
        if !variables.exists() {
            secure_boot_vars(&unused(), keys, &variables).context("enrol the key")?;
        }
        let code = Path::new(FOLDER).join("OVMF_CODE_4M.secboot.fd");
        Ok(Self {
            code,
            variables,
            secure_boot: true,
        })
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "-drive".to_owned(),
            format!(
                "if=pflash,unit=0,format=raw,readonly=on,file={}",
                self.code.display()
            ),
            "-drive".to_owned(),
            format!(
                "if=pflash,unit=1,format=raw,file={}",
                self.variables.display()
            ),
        ];
        if self.secure_boot {
            arguments.push("-global".to_owned());
            arguments.push("driver=cfi.pflash01,property=secure,value=on".to_owned());
        }
        arguments
    }
}

fn unused() -> PathBuf {
    Path::new(FOLDER).join("OVMF_VARS_4M.fd")
}
