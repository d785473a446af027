//! The store beside SQLite on the same disk: each caller writes one small value after the other, and
//! counts it when it was told that it is durable.
//!
//! The store runs as a process of its own and is called through its socket and client. SQLite runs
//! in the callers' process without any socket, each caller with a connection of its own: write-ahead
//! log, `synchronous=FULL`, one transaction per write.
//!
//! Usage: `store-bench STORE-PROGRAM FOLDER CALLERS SECONDS ROUNDS`; prints `name value unit` lines.
#![forbid(unsafe_code)]

mod contest;
mod sqlite;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::contest::{Contest, Figures, median};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &'static str| arguments.next().context(what);
    let program = PathBuf::from(next("STORE-PROGRAM")?);
    let folder = PathBuf::from(next("FOLDER")?);
    let callers = next("CALLERS")?.parse().context("CALLERS")?;
    let time = Duration::from_secs(next("SECONDS")?.parse().context("SECONDS")?);
    let rounds: usize = next("ROUNDS")?.parse().context("ROUNDS")?;

    let mut ratios = Vec::new();
    for (name, callers) in [("", callers), ("single_", 1)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let contest = Contest { callers, time };
            // In turns, so that a disk that grows slower is not held against one of them.
            if round % 2 == 0 {
                ours.push(store::measure(&program, &folder, contest)?);
                theirs.push(sqlite::measure(&folder, contest)?);
            } else {
                theirs.push(sqlite::measure(&folder, contest)?);
                ours.push(store::measure(&program, &folder, contest)?);
            }
        }
        print(&format!("{name}write"), &ours);
        print(&format!("sqlite_{name}write"), &theirs);
        let ratio = rate(&ours) / rate(&theirs);
        ratios.push(format!("{name}write_ratio_to_sqlite {ratio} ratio"));
    }
    for ratio in ratios {
        println!("{ratio}");
    }
    Ok(())
}

fn rate(rounds: &[Figures]) -> f64 {
    median(rounds.iter().map(|figures| figures.per_s).collect())
}

fn print(name: &str, rounds: &[Figures]) {
    println!("{name}_per_s {} per_s", rate(rounds));
    let p50 = median(rounds.iter().map(|figures| figures.p50_ms).collect());
    let p99 = median(rounds.iter().map(|figures| figures.p99_ms).collect());
    println!("{name}_p50_ms {p50} ms");
    println!("{name}_p99_ms {p99} ms");
}
