//! The suite `api`: tests against a real kube-apiserver on loopback. They start Culvert's programs as well.

use anyhow::Result;

use super::{artifact, tally::Tally};
use crate::run;

pub fn run(filter: &[String]) -> Result<Tally> {
    let programs = artifact::programs()?;
    let mut command = run::cargo()?;
    command
        .arg("test")
        .args(artifact::EVERYTHING)
        // What a test has counted is part of its result.
        .args(["--test", "api", "--", "--show-output"])
        .args(filter);
    command.envs(programs);
    let mut tally = Tally::default();
    let well = run::follow(&command, |line| tally.line(line))?;
    Ok(tally.ended(well))
}
