//! `ci/campaign NAME`: what takes too long for every test run. `ci/test` runs a fixed sample of
//! each.

mod fuzz;
mod power_cuts;
mod reproducible;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Debug, clap::Subcommand)]
enum Campaign {
    /// Throw hostile bytes at every parser
    Fuzz(fuzz::Args),
    /// Cut the power of the store's disk, at every flush and at random
    PowerCuts(power_cuts::Args),
    /// Build the image in two places and compare
    Reproducible(reproducible::Args),
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.campaign {
        Campaign::Fuzz(args) => fuzz::run(args),
        Campaign::PowerCuts(args) => power_cuts::run(args),
        Campaign::Reproducible(args) => reproducible::run(args),
    }
}
