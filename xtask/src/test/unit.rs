//! The suite `unit`: every crate's tests that need neither privilege nor network.

use anyhow::Result;

use super::{artifact, tally::Tally};
use crate::run;

pub fn run(filter: &[String]) -> Result<Tally> {
    let mut command = run::cargo()?;
    command
        .arg("test")
        .args(artifact::EVERYTHING)
        .args(["--lib", "--bins"])
        .args(["--test", "model", "--test", "contract_fake"])
        .args(["--no-fail-fast", "--"])
        .args(filter);
    let mut tally = Tally::default();
    let well = run::follow(&command, |line| tally.line(line))?;
    Ok(tally.ended(well))
}
