//! `cargo xtask image`: builds the disk image and says where everything is.

use std::path::PathBuf;

use ::image::{Profile, Request};
use anyhow::Context;

use crate::checkout;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the image is for
    #[arg(long, value_enum, default_value_t = Kind::Release)]
    profile: Kind,
    /// Folder of the results [default: target/x0, or target/x0-test for the test profile]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder with secure-boot.key and secure-boot.crt [default: a development pair]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// What is flashed
    Release,
    /// The same with a fault-injection service, for the tests
    Test,
    /// The test image with a probe in the sandbox of each service
    Probe,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let profile = match args.profile {
        Kind::Release => Profile::Release,
        Kind::Test => Profile::Test,
        Kind::Probe => Profile::Probe,
    };
    let mut request = request(profile)?;
    if let Some(out) = args.out {
        request.out = absolute(out)?;
    }
    if let Some(keys) = args.keys {
        request.keys = absolute(keys)?;
    }
    let outputs = ::image::build(&request).context("build the image")?;
    println!("{}", outputs.folder().display());
    Ok(())
}

/// What to build from this checkout into its usual place.
pub(crate) fn request(profile: Profile) -> anyhow::Result<Request> {
    let root = checkout::root()
        .canonicalize()
        .context("find the checkout")?;
    Ok(Request::of(&root, &checkout::cache(), profile))
}

fn absolute(path: PathBuf) -> anyhow::Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("make {} absolute", path.display()))
}
