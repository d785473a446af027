//! `cargo xtask kernel`: the kernel in the cache, built when it is not there yet.

use std::fs;

use anyhow::{Context, bail};
use kernel_config::{Config, Hardening, KernelBuild, KernelRequest};

use crate::checkout;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print nothing but the path of the bzImage on standard output
    #[arg(long)]
    print_path: bool,
    /// Hold the finished configuration against the recommendations (kspp.toml, deviations.toml)
    #[arg(long)]
    check_hardening: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let request = request();
    let build = if args.check_hardening {
        hardened(&request)?
    } else {
        build(&request)?
    };
    if args.print_path {
        println!("{}", build.bzimage.display());
    } else {
        let size = fs::metadata(&build.bzimage)
            .with_context(|| format!("read the size of {}", build.bzimage.display()))?
            .len();
        println!("release {} ({})", build.release, build.source_version);
        println!("bzImage {} ({} KiB)", build.bzimage.display(), size / 1024);
        println!("config  {}", build.config.display());
    }
    Ok(())
}

/// The kernel of this checkout.
pub(crate) fn request() -> KernelRequest {
    KernelRequest::new(checkout::cache())
}

/// The kernel, built if need be, and its configuration held against the recommendations.
pub(crate) fn hardened(request: &KernelRequest) -> anyhow::Result<KernelBuild> {
    let build = build(request)?;
    let text = fs::read_to_string(&build.config)
        .with_context(|| format!("read {}", build.config.display()))?;
    let verdict = Hardening::read(&request.fragments)
        .context("the tables of the hardening check")?
        .check(&Config::parse(&text));
    eprintln!(
        "hardening: {} recommendations followed, {} not, with a reason, {} to mend",
        verdict.followed,
        verdict.explained.len(),
        verdict.findings.len()
    );
    for finding in &verdict.findings {
        eprintln!("  {finding}");
    }
    if !verdict.findings.is_empty() {
        bail!("the kernel is not as hardened as its tables say");
    }
    Ok(build)
}

fn build(request: &KernelRequest) -> anyhow::Result<KernelBuild> {
    kernel_config::ensure(request).context("the kernel could not be built")
}
