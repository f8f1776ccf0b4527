//! The suite `unit`: every crate's tests that need neither privilege nor network.

use anyhow::Result;

use super::{artifact, tally::Tally};
use crate::run;

/// The programs of a crate's tests folder that need nothing.
const TESTS: [&str; 8] = [
    "model",
    "contract_fake",
    "faults",
    "corpus",
    "help",
    "output",
    "shells",
    "terminal",
];

pub fn run(filter: &[String]) -> Result<Tally> {
    let mut command = run::cargo()?;
    command
        .arg("test")
        .args(artifact::EVERYTHING)
        .args(["--lib", "--bins"])
        .args(TESTS.iter().flat_map(|name| ["--test", name]))
        .args(["--no-fail-fast", "--"])
        .args(filter);
    let mut tally = Tally::default();
    let well = run::follow(&command, |line| tally.line(line))?;
    Ok(tally.ended(well))
}
