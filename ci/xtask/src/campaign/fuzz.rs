//! `ci/campaign fuzz`: hostile bytes at every parser, for as long as asked.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::fuzz::{Limit, TARGETS};
use anyhow::{Context, Result, bail, ensure};

use crate::bench::Results;
use crate::checkout;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this parser; `list` names them all
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Time for each parser
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
    /// Where the random numbers start [default: the clock]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    if args.target.as_deref() == Some("list") {
        for target in TARGETS {
            println!("{}", target.name);
        }
        return Ok(());
    }
    let wanted = |name: &str| args.target.as_deref().is_none_or(|target| target == name);
    let targets: Vec<_> = TARGETS
        .iter()
        .filter(|target| wanted(target.name))
        .collect();
    ensure!(
        !targets.is_empty(),
        "there is no such target; `--target list` names them all"
    );
    let seed = match args.seed {
        Some(seed) => seed,
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("ask the clock")?
            .as_secs(),
    };
    println!("seed {seed}");
    let mut results = Results::new("fuzz")?;
    for target in targets {
        let limit = Limit::Time(Duration::from_secs(args.seconds));
        match ::fuzz::run(target, seed, limit) {
            Ok(outcome) => {
                #[expect(clippy::cast_precision_loss, reason = "nobody fuzzes 2^52 inputs")]
                let inputs = outcome.inputs as f64;
                results.add(&format!("{}.inputs", target.name), inputs, "count");
                let slowest = outcome.slowest.as_secs_f64() * 1000.0;
                results.add(&format!("{}.slowest_ms", target.name), slowest, "ms");
            }
            Err(failure) => {
                let folder = checkout::target().join("fuzz");
                fs::create_dir_all(&folder).context("create target/fuzz")?;
                let path = folder.join(format!("{}-{seed}.bin", failure.target));
                fs::write(&path, &failure.input)
                    .with_context(|| format!("write {}", path.display()))?;
                bail!(
                    "{}: {}; the input is {}",
                    failure.target,
                    failure.reason,
                    path.display()
                );
            }
        }
    }
    results.publish().map(drop)
}
