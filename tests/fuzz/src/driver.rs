//! Runs a target on one mutated input after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::Target;
use crate::mutate::{Random, mutate};

/// No parser takes as long for an input of bounded size, on the slowest host with a debug build.
const SOON: Duration = Duration::from_secs(5);

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    Inputs(u64),
    Time(Duration),
}

/// What came of a run that found nothing.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub inputs: u64,
    pub slowest: Duration,
}

/// An input that a parser could not take.
#[derive(Debug)]
pub struct Failure {
    pub target: &'static str,
    pub reason: String,
    pub input: Vec<u8>,
}

/// Throws mutations of the target's seeds at it.
///
/// # Errors
/// At the first input that makes it panic, or takes too long.
pub fn run(target: &Target, seed: u64, limit: Limit) -> Result<Outcome, Box<Failure>> {
    let mut random = Random::new(seed);
    let seeds = (target.seeds)();
    let mut outcome = Outcome {
        inputs: 0,
        slowest: Duration::ZERO,
    };
    for input in &seeds {
        try_one(target, input, &mut outcome)?;
    }
    let started = Instant::now();
    // A mutated input is mutated further for a while: some states take several steps to reach.
    let mut input = Vec::new();
    loop {
        let enough = match limit {
            Limit::Inputs(count) => outcome.inputs >= count,
            Limit::Time(time) => started.elapsed() >= time,
        };
        if enough {
            return Ok(outcome);
        }
        if random.below(8) == 0 || input.is_empty() {
            input.clone_from(&seeds[random.below(seeds.len())]);
        }
        mutate(&mut input, &seeds[random.below(seeds.len())], &mut random);
        try_one(target, &input, &mut outcome)?;
    }
}

fn try_one(target: &Target, input: &[u8], outcome: &mut Outcome) -> Result<(), Box<Failure>> {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = started.elapsed();
    outcome.inputs += 1;
    outcome.slowest = outcome.slowest.max(took);
    let reason = match result {
        Err(_) => "it panicked".to_owned(),
        Ok(()) if took > SOON => format!("it took {:.1} s", took.as_secs_f32()),
        Ok(()) => return Ok(()),
    };
    Err(Box::new(Failure {
        target: target.name,
        reason,
        input: input.to_vec(),
    }))
}
