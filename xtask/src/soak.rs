//! `cargo xtask soak`: the fault proofs of the suite `api` in their long mode, one after the other.
//!
//! They are the same tests, with larger numbers, which stand in `e2e/tests/api/scale.rs`. What each has counted is on
//! the terminal, and the last line is `N passed, N failed`. All of them together take the better part of an hour.

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::{
    run,
    setup::{self, Need},
    test::{
        artifact::{self, Artifact},
        kernel,
        tally::Tally,
    },
};

/// The modules of tests that have a long mode.
const LONG: [&str; 4] = ["soak::", "outage::", "restore::", "crowd::"];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run the tests whose name contains one of these; all that have a long mode when none is given.
    filter: Vec<String>,
}

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(&[Need::ControlPlane])?;
    let programs = artifact::programs()?;
    let binary = artifact::test("api")?;
    let names = names(&binary, &arguments.filter)?;
    ensure!(
        !names.is_empty(),
        "no test with a long mode fits {:?}",
        arguments.filter
    );
    let mut command = kernel::command(&binary);
    command
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .args(&names)
        .envs(programs)
        .env("CULVERT_SOAK", "1");
    let mut tally = Tally::default();
    let well = run::follow(&command, |line| tally.line(line))?;
    let tally = tally.ended(well);
    println!("{tally}");
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The names of the tests to run.
fn names(binary: &Artifact, filter: &[String]) -> Result<Vec<String>> {
    let text = run::output(Command::new(&binary.executable).args(["--list", "--format=terse"]))?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let names = names.filter(|name| LONG.iter().any(|module| name.starts_with(module)));
    let names = names.filter(|name| filter.is_empty() || filter.iter().any(|part| name.contains(part)));
    Ok(names.map(str::to_owned).collect())
}
