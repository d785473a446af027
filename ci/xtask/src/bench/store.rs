//! `ci/bench store`: acknowledged small writes per second through the store's socket and client,
//! beside SQLite on the same disk and file system in the same run.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bench::Results;
use crate::checkout;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Callers at the same time; a single one is measured as well
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    callers: u32,
    /// How long each of them writes in each round
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    seconds: u32,
    /// Rounds; the figures are medians over all of them
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Where the files are; its disk and file system are what is measured
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let programs = build()?;
    let folder = args
        .folder
        .unwrap_or_else(|| checkout::target().join("bench"));
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let output = Command::new(programs.join("store-bench"))
        .arg(programs.join("store"))
        .arg(folder)
        .args([args.callers, args.seconds, args.runs].map(|number| number.to_string()))
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run the benchmark")?;
    ensure!(output.status.success(), "the benchmark failed");
    let mut results = Results::new("store")?;
    for line in String::from_utf8(output.stdout)?.lines() {
        let mut words = line.split_whitespace();
        let (name, value, unit) = (words.next(), words.next(), words.next());
        let (Some(name), Some(value), Some(unit)) = (name, value, unit) else {
            anyhow::bail!("the benchmark said {line:?}");
        };
        let unit = ["ms", "per_s", "ratio"]
            .into_iter()
            .find(|known| *known == unit)
            .with_context(|| format!("unknown unit {unit}"))?;
        results.add(name, value.parse().context("a figure")?, unit);
    }
    results.publish().map(drop)
}

/// The store as in the image but for link-time optimisation, and the benchmark with SQLite in it.
fn build() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(checkout::target, PathBuf::from);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "store", "--package", "store-bench"])
        .args(["--features", "store-bench/sqlite", "--target-dir"])
        .arg(&target)
        .current_dir(checkout::root())
        .status()
        .context("run cargo")?;
    ensure!(status.success(), "cargo could not build the store");
    Ok(target.join("release"))
}
