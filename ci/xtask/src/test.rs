//! `ci/test`: every check that a change has to pass.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use image::Profile;

use crate::checkout;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Passed on to cargo test, e.g. `-p init` or a test's name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    if !args.arguments.is_empty() {
        return cargo("test", &["test"], &args.arguments);
    }
    let everything = [
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    cargo("formatting", &["fmt", "--all"], &["--check"])?;
    cargo("clippy", &["clippy", "--quiet"], &everything)?;
    deny()?;
    timed("kernel hardening", || {
        crate::kernel::hardened(&crate::kernel::request()).map(drop)
    })?;
    timed("image", || {
        for profile in [Profile::Release, Profile::Test, Profile::Probe] {
            image::build(&crate::image::request(profile)?)?;
        }
        Ok(())
    })?;
    cargo(
        "tests",
        &["test"],
        &["--locked", "--workspace", "--no-fail-fast"],
    )
}

/// Dependencies against .deny.toml. Compiling cargo-deny takes as long as half of everything else,
/// so that it is used where a person has installed it.
fn deny() -> Result<()> {
    let version = Command::new("cargo-deny").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        println!("== dependencies: skipped (cargo install --locked cargo-deny)");
        return Ok(());
    }
    cargo(
        "dependencies",
        &["deny", "check"],
        &["bans", "licenses", "sources"],
    )
}

fn cargo<S: AsRef<str>>(what: &str, arguments: &[&str], more: &[S]) -> Result<()> {
    timed(what, || {
        let status = Command::new(env!("CARGO"))
            .args(arguments)
            .args(more.iter().map(AsRef::as_ref))
            .current_dir(checkout::root())
            .status()
            .context("start cargo")?;
        ensure!(status.success(), "{what} failed: see above");
        Ok(())
    })
}

fn timed(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {what}");
    let started = Instant::now();
    work()?;
    println!("== {what}: {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}
