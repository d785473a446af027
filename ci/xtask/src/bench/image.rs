//! `ci/bench image`: how much flash the image takes, and how much has to be brought to it.

use std::fs;
use std::path::Path;

use ::image::Profile;
use anyhow::Context;

use super::Results;

const BYTES_PER_MB: f64 = 1e6;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: Args) -> anyhow::Result<()> {
    let outputs = ::image::build(&crate::image::request(Profile::Release)?)?;
    let mut results = Results::new("image")?;
    results.add("root_mb", megabytes(&outputs.root())?, "mb");
    results.add(
        "uki_mb",
        megabytes(&outputs.uki(::image::layout::Slot::A))?,
        "mb",
    );
    results.add("flash_mb", megabytes(&outputs.flash_image())?, "mb");
    results.publish()?;
    Ok(())
}

fn megabytes(path: &Path) -> anyhow::Result<f64> {
    let bytes = fs::metadata(path)
        .with_context(|| format!("look at {}", path.display()))?
        .len();
    #[expect(
        clippy::cast_precision_loss,
        reason = "sizes of files are far below 2^52 bytes"
    )]
    let bytes = bytes as f64;
    Ok(bytes / BYTES_PER_MB)
}
