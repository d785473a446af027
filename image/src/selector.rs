//! Compiles the slot selector for the firmware, with Debian's Rust.
//!
//! The toolchain of the rest has no standard library for UEFI and none can be assumed to be
//! downloadable; Debian's brings the source of `core`, which cargo builds along. That is a
//! nightly feature of cargo, hence `RUSTC_BOOTSTRAP`; Debian's package is what pins the version.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::tool::{FileError, Tool, at, make_directory, read_text, write};

const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const LINKER: &str = "lld-link-14";
/// Where Debian's rust-web-src has the standard library.
const LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";
/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`.
const FLAG_SEPARATOR: &str = "\x1f";

/// Processors that the selector compiles for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// arm64
    Aarch64,
    /// amd64
    X86_64,
}

impl Architecture {
    /// Rust's name of the target.
    pub fn target(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-uefi",
            Self::X86_64 => "x86_64-unknown-uefi",
        }
    }
}

/// Compiles `init/selector` and returns the unsigned EFI application, which lies somewhere in
/// the folder `target`.
pub fn build(
    workspace: &Path,
    target: &Path,
    architecture: Architecture,
) -> Result<PathBuf, Error> {
    let triple = architecture.target();
    let linker_variable = format!(
        "CARGO_TARGET_{}_LINKER",
        triple.to_uppercase().replace('-', "_")
    );
    Tool::new(CARGO)
        .directory(&gather(workspace, &target.join("workspace"))?)
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--target", triple, "-Zbuild-std=core,compiler_builtins"])
        .arg("--target-dir")
        .arg(target)
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env(&linker_variable, LINKER)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags(workspace, target).join(FLAG_SEPARATOR),
        )
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
        .run_visibly()?;
    Ok(target.join(triple).join("release/selector.efi"))
}

/// A workspace with the selector at its top and `bootstate` below, its sources links to the
/// checkout's.
///
/// cargo derives the names of symbols, and thereby the order of the code, from the place of a path
/// dependency: from its relative place when it is below the workspace, else from its absolute one,
/// which would make two checkouts give different bytes.
fn gather(workspace: &Path, folder: &Path) -> Result<PathBuf, Error> {
    make_directory(folder)?;
    let selector = workspace.join("init/selector");
    let shared = read_text(&workspace.join("Cargo.toml"))?;
    let own = read_text(&selector.join("Cargo.toml"))?
        .replace("[workspace]\n", "")
        .replace("\"../bootstate\"", "\"bootstate\"");
    write_if_changed(
        &folder.join("Cargo.toml"),
        &format!("{own}\n{}", shared_tables(&shared)),
    )?;
    let lock = read_text(&selector.join("Cargo.lock"))?;
    write_if_changed(&folder.join("Cargo.lock"), &lock)?;
    let records = workspace.join("init/bootstate");
    let manifest = read_text(&records.join("Cargo.toml"))?;
    make_directory(&folder.join("bootstate"))?;
    write_if_changed(
        &folder.join("bootstate/Cargo.toml"),
        &what_firmware_needs(&manifest),
    )?;
    for (name, to) in [
        ("src", selector.join("src")),
        ("bootstate/src", records.join("src")),
    ] {
        let link = folder.join(name);
        if fs::read_link(&link).ok().as_ref() != Some(&to) {
            let _ = fs::remove_file(&link);
            symlink(&to, &link).map_err(at("link", &link))?;
        }
    }
    Ok(folder.to_owned())
}

/// The tables of the checkout's manifest that its crates inherit from.
fn shared_tables(manifest: &str) -> String {
    let mut inherited = false;
    let mut tables = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inherited = line.starts_with("[workspace.");
        }
        if inherited {
            tables.push_str(line);
            tables.push('\n');
        }
    }
    tables
}

/// The manifest without what only tests and userland use: in this workspace the lock file would
/// have to list it.
fn what_firmware_needs(manifest: &str) -> String {
    let mut wanted = true;
    let mut kept = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            wanted = line != "[dev-dependencies]";
        }
        if line.starts_with("std = ") {
            kept.push_str("std = []\n");
        } else if wanted && !line.contains("optional = true") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Leaves the file's time alone where it can: cargo compiles everything again when it changes.
fn write_if_changed(path: &Path, content: &str) -> Result<(), FileError> {
    if fs::read_to_string(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    write(path, content)
}

/// A file of the source of `core` that is compiled into the selector, for the record of what is
/// in the image.
pub(crate) fn core_source() -> Result<PathBuf, Error> {
    let path = Path::new(LIBRARY).join("core/src/lib.rs");
    path.canonicalize().map_err(|_| Error::NotInDebian {
        file: path.display().to_string(),
    })
}

/// The same bytes on every machine: no path, no time.
fn flags(workspace: &Path, target: &Path) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo")
        });
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    vec![
        "-Clink-arg=/Brepro".to_owned(),
        "-Clink-arg=/DEBUG:NONE".to_owned(),
        // The last rule that fits is taken, and the target folder often lies in the workspace.
        remap(Path::new(LIBRARY), "library"),
        remap(&home, "cargo"),
        remap(workspace, "x0"),
        remap(target, "target"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keys;
    use bootstate::pe::{Layout, Machine, PeError, Verdict};

    /// Both processors compile, the checkout's place leaves no trace in the result, and what
    /// sbsign makes of it is what the selector takes for intact.
    #[test]
    fn compiles_for_both_processors_without_a_trace_of_this_machine() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("this crate lies in the workspace");
        let folder = tempfile::tempdir().unwrap();
        // Where images are built too: `core` takes long to compile.
        let target = workspace.join("target/userland/selector");
        let keys = Keys::ensure(&folder.path().join("keys")).unwrap();
        let processors = [
            (Architecture::Aarch64, Machine::Aarch64),
            (Architecture::X86_64, Machine::X86_64),
        ];
        for (architecture, machine) in processors {
            let path = build(workspace, &target, architecture).unwrap();
            let program = std::fs::read(&path).unwrap();
            for trace in [workspace, Path::new("/usr/src")] {
                let trace = trace.to_string_lossy();
                let trace = trace.as_bytes();
                assert!(
                    !program.windows(trace.len()).any(|window| window == trace),
                    "{architecture:?}"
                );
            }
            assert_eq!(verdict(&program, machine), Ok(Verdict::Unsigned));

            let signed = folder.path().join("signed.efi");
            keys.sign(&path, &signed, 1_700_000_000).unwrap();
            let mut signed = std::fs::read(signed).unwrap();
            assert_eq!(verdict(&signed, machine), Ok(Verdict::Intact));
            let middle = program.len() / 2;
            signed[middle] ^= 1;
            assert_eq!(verdict(&signed, machine), Err(PeError::Hash));
        }
    }

    fn verdict(program: &[u8], machine: Machine) -> Result<Verdict, PeError> {
        let length = program.len() as u64;
        let layout = Layout::parse(program, length, machine)?;
        assert_eq!(
            layout.file_bytes, length,
            "the length is found in the headers"
        );
        layout.verify(program)
    }
}
