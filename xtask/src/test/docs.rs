//! The suite `docs`: the pages and their links, the alerts as Prometheus reads them, the fixtures as Flux and Argo CD
//! read them.

use anyhow::Result;

use super::{artifact, tally::Tally};
use crate::run;

pub fn run(filter: &[String]) -> Result<Tally> {
    let mut command = run::cargo()?;
    command
        .arg("test")
        .args(artifact::EVERYTHING)
        .args(["--test", "docs", "--"])
        .args(filter);
    let mut tally = Tally::default();
    let well = run::follow(&command, |line| tally.line(line))?;
    Ok(tally.ended(well))
}
