//! Compiles PID 1 and the services for the image.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::tool::{Tool, make_directory};

/// What userland is compiled for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`.
const FLAG_SEPARATOR: &str = "\x1f";

/// Compiles `packages` and returns the folder that holds their programs.
pub(crate) fn build(
    workspace: &Path,
    target: &Path,
    packages: &[String],
) -> Result<PathBuf, Error> {
    let mut cargo = Tool::new(cargo())
        .directory(workspace)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "image",
            "--bins",
        ])
        .args(["--target", TARGET])
        .arg("--target-dir")
        .arg(target)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags(workspace, target).join(FLAG_SEPARATOR),
        )
        // The same for every commit: build scripts that look at it would have all their dependants
        // compiled anew, and nothing compiled may depend on the time.
        .env("SOURCE_DATE_EPOCH", "1")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET");
    for package in packages {
        cargo = cargo.args(["--package", package]);
    }
    cargo.run_visibly()?;
    Ok(target.join(TARGET).join("image"))
}

/// The cargo that started us, or else the one in PATH.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Copies `program` without its symbols to `stripped`, and the symbols to `symbols`.
pub(crate) fn split_symbols(program: &Path, stripped: &Path, symbols: &Path) -> Result<(), Error> {
    for path in [stripped, symbols] {
        make_directory(path.parent().unwrap_or(Path::new(".")))?;
    }
    Tool::new("objcopy")
        .arg("--only-keep-debug")
        .args([program, symbols])
        .run()?;
    Tool::new("objcopy")
        .arg("--strip-all")
        .args([program, stripped])
        .run()?;
    Ok(())
}

/// Static, because the image has no libraries for it, and without any path of this machine.
fn flags(workspace: &Path, target: &Path) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo")
        });
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Clink-arg=-Wl,--build-id=sha1".to_owned(),
        // The last rule that fits is taken, and the target folder often lies in the workspace.
        remap(&home, "/cargo"),
        remap(workspace, "/x0"),
        remap(target, "/target"),
    ]
}
