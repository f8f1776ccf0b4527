//! The suite `api`: tests against a real kube-apiserver on loopback. They start Culvert's programs as well.

use std::{num::NonZero, thread::available_parallelism};

use anyhow::Result;

use super::{artifact, tally::Tally};
use crate::run;

/// As many tests run at the same time at least: mostly they wait for somebody's clock.
const LEAST_AT_ONCE: usize = 4;

/// A fifth of what a short-lived apiserver computes is the tidying up of its memory, of which there is enough outside of
/// machines. Every Go program reads it.
const GARBAGE: (&str, &str) = ("GOGC", "400");

pub fn run(filter: &[String]) -> Result<Tally> {
    let programs = artifact::programs()?;
    let at_once = available_parallelism().map_or(1, NonZero::get).max(LEAST_AT_ONCE);
    let mut command = run::cargo()?;
    command
        .arg("test")
        .args(artifact::EVERYTHING)
        // What a test has counted is part of its result.
        .args(["--test", "api", "--", "--show-output"])
        .args(filter);
    // As a variable: `-- --test-threads=1` still has the last word.
    command
        .envs(programs)
        .env("RUST_TEST_THREADS", at_once.to_string())
        .env(GARBAGE.0, GARBAGE.1);
    let mut tally = Tally::default();
    let well = run::follow(&command, |line| tally.line(line))?;
    Ok(tally.ended(well))
}
