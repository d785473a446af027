//! Where things lie: the checkout, its target folder, the cache outside of it, the commit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The top of the checkout that this program was compiled from.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// `target/` of the checkout, where every result goes. Cargo's own output may lie elsewhere
/// (`CARGO_TARGET_DIR`).
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// What takes long to make and is keyed by its inputs: it outlives the checkout.
pub(crate) fn cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("X0_CACHE") {
        return dir.into();
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    PathBuf::from(home).join(".cache/x0")
}

/// The commit that is checked out, with `-dirty` when files differ from it.
pub(crate) fn commit() -> anyhow::Result<String> {
    let output = Command::new("git")
        .args([
            "describe",
            "--always",
            "--abbrev=40",
            "--exclude=*",
            "--dirty",
        ])
        .current_dir(root())
        .output()
        .context("run git: is it installed? (ci/setup)")?;
    ensure!(
        output.status.success(),
        "git describe in {}: {}",
        root().display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
