//! `ci/campaign reproducible`: two clones of the commit, at paths of different length, each with
//! a target folder of its own, must give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::image::{Profile, Request};
use anyhow::{Context, Result, bail, ensure};

use crate::bench::Results;
use crate::checkout;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build the kernel twice as well, which takes several times as long
    #[arg(long)]
    kernel: bool,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let places = ["one", "a/second/place/further/down"];
    let mut manifests = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let workspace = folder.path().join(place);
        clone(&workspace)?;
        let cache = if args.kernel && number > 0 {
            folder.path().join("cache")
        } else {
            checkout::cache()
        };
        let mut request = Request::of(&workspace, &cache, Profile::Release);
        // A signature depends on the key, which is no input of the commit.
        request.keys = folder.path().join("keys");
        eprintln!("building in {}", workspace.display());
        let outputs = ::image::build(&request)?;
        let path = outputs.manifest();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        manifests.push((outputs.folder().to_owned(), text));
    }
    let [(first, ours), (second, theirs)] = manifests.as_slice() else {
        bail!("two places give two manifests");
    };
    // The manifest has the checksum of every artefact.
    if ours != theirs {
        let kept = folder.keep();
        bail!(
            "the builds differ in {}; both are kept in {}",
            differing(first, second)?.join(", "),
            kept.display()
        );
    }
    let mut results = Results::new("reproducible")?;
    results.add("differing_artefacts", 0.0, "count");
    results.publish()?;
    Ok(())
}

/// Only what is committed: that is what the result claims to be made from.
fn clone(workspace: &Path) -> Result<()> {
    let status = Command::new("git")
        .args(["clone", "--quiet", "--shared"])
        .arg(checkout::root())
        .arg(workspace)
        .status()
        .context("run git")?;
    ensure!(
        status.success(),
        "git clone to {} failed",
        workspace.display()
    );
    Ok(())
}

fn differing(first: &Path, second: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = fs::read_dir(first).with_context(|| format!("list {}", first.display()))?;
    for entry in entries {
        let path: PathBuf = entry.context("list the results")?.path();
        let name = path.file_name().unwrap_or_default();
        let visible = !name.to_string_lossy().starts_with('.');
        if path.is_file() && visible && fs::read(&path).ok() != fs::read(second.join(name)).ok() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
