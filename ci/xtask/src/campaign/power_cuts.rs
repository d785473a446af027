//! `ci/campaign power-cuts`: the store's file on a disk whose power fails, at random instants and at
//! every flush. After each cut the file must open, hold what the last acknowledged transaction left
//! or what the one under way would have (never half of it), and have an unbroken event log and the
//! right generation of the configuration.

mod disk;
mod work;

use anyhow::{Result, ensure};

use crate::bench::Results;
use disk::{Cut, Random};
use work::Work;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Cuts at random instants, besides those at every flush
    #[arg(long, default_value_t = 1000, value_name = "N")]
    cuts: u32,
    /// Where the random numbers begin
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let report = campaign(args.cuts, args.seed, usize::MAX)?;
    let mut results = Results::new("power-cuts")?;
    results.add("random_cuts", f64::from(report.random), "count");
    results.add("flush_cuts", f64::from(report.at_flushes), "count");
    results.add("kept_the_one_under_way", f64::from(report.kept), "count");
    // Any of these ends the campaign with an error.
    results.add("lost_acknowledged_writes", 0.0, "count");
    results.publish().map(drop)
}

struct Report {
    random: u32,
    at_flushes: u32,
    /// How often the transaction under way had become durable already.
    kept: u32,
}

fn campaign(cuts: u32, seed: u64, flushes_at_most: usize) -> Result<Report> {
    let work = Work::plan()?;
    let mut report = Report {
        random: 0,
        at_flushes: 0,
        kept: 0,
    };
    let mut random = Random::new(seed);
    // Before a flush took effect, while it did, and after it but before anybody was told.
    for flush in (0..work.flushes).take(flushes_at_most) {
        for cut in [Cut::BeforeFlush(flush), Cut::AfterFlush(flush)] {
            report.kept += u32::from(work.survives(cut, random.fork())?);
            report.at_flushes += 1;
        }
    }
    for _ in 0..cuts {
        let cut = Cut::AtOperation(random.below(work.operations));
        report.kept += u32::from(work.survives(cut, random.fork())?);
        report.random += 1;
    }
    ensure!(work.operations > work.flushes, "the store wrote nothing");
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::Disk;

    #[test]
    fn a_sample_of_power_cuts_loses_nothing() {
        let report = campaign(40, 7, 10).unwrap();
        assert_eq!((report.random, report.at_flushes), (40, 20));
        // Both outcomes of a transaction under way were seen: the cuts do cut.
        assert!(report.kept > 0 && report.kept < 60, "{}", report.kept);
    }

    #[test]
    fn a_disk_that_forgets_a_flush_is_found_out() {
        // The campaign itself can fail: without flushes acknowledged writes are lost.
        let work = Work::plan().unwrap();
        let mut random = Random::new(3);
        let lost = (0..20).filter(|_| {
            let cut = Cut::AtOperation(work.operations - 1);
            work.survives_on(Disk::forgetful(cut, random.fork()))
                .is_err()
        });
        assert!(lost.count() > 0);
    }
}
