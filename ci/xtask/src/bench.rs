//! `ci/bench NAME`: dispatch, and the one shape in which every figure is printed and kept.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::checkout;

mod boot;
mod bus;
mod debian;
mod image;
mod init;
mod store;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// PID 1 start to all services ready, beside Debian's systemd
    Boot(boot::Args),
    /// Round trips over the system bus, beside Debian's dbus-daemon
    Bus(bus::Args),
    /// Sizes of the root file system, the kernel image and the flash image
    Image(image::Args),
    /// PID 1's size, start rate and restart time, beside other supervisors
    Init(init::Args),
    /// Acknowledged small writes of the store, beside SQLite
    Store(store::Args),
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.bench {
        Bench::Boot(args) => boot::run(args),
        Bench::Bus(args) => bus::run(args),
        Bench::Image(args) => image::run(args),
        Bench::Init(args) => init::run(args),
        Bench::Store(args) => store::run(args),
    }
}

/// The figures of one benchmark, collected and then published together.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    #[serde(skip)]
    bench: &'static str,
    commit: String,
    results: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Results {
    /// Figures of the benchmark `bench`: every name begins with it and a dot.
    pub(crate) fn new(bench: &'static str) -> anyhow::Result<Self> {
        Ok(Self {
            bench,
            commit: checkout::commit()?,
            results: Vec::new(),
        })
    }

    /// Adds `bench.name`. Unit: `us`, `ms`, `s`, `kib`, `mb`, `per_s`, `ratio`, `count`.
    pub(crate) fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        self.results.push(Figure {
            name: format!("{}.{name}", self.bench),
            value,
            unit,
        });
    }

    /// Prints `name value unit` lines and writes `target/bench/<bench>.json`.
    pub(crate) fn publish(&self) -> anyhow::Result<PathBuf> {
        for Figure { name, value, unit } in &self.results {
            println!("{name} {value:.4} {unit}");
        }
        let folder = checkout::target().join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.bench));
        let mut text = serde_json::to_string_pretty(self).context("encode the figures")?;
        text.push('\n');
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// The middle one of `samples`, which are put in order.
pub(crate) fn median(samples: &mut [f64]) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => None,
        length if length % 2 == 1 => Some(samples[middle]),
        _ => Some((samples[middle - 1] + samples[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn figures_have_the_shape_that_is_followed_from_commit_to_commit() {
        let results = Results {
            bench: "boot",
            commit: "c0ffee".to_owned(),
            results: vec![Figure {
                name: "boot.ratio".to_owned(),
                value: 0.12,
                unit: "ratio",
            }],
        };
        assert_eq!(
            serde_json::to_value(&results).unwrap(),
            serde_json::json!({
                "commit": "c0ffee",
                "results": [{"name": "boot.ratio", "value": 0.12, "unit": "ratio"}],
            })
        );
    }
}
