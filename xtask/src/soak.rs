//! `cargo xtask soak`: the model of the claim protocol and the fault proofs of the suite `api` in their long mode, one after
//! the other.
//!
//! They are the same tests, with larger numbers, which stand in `operator/tests/model/bounds.rs` and
//! `e2e/tests/api/scale.rs`. What each has counted is on
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
    let (model, api) = (artifact::test("model")?, artifact::test("api")?);
    let asked = |name: &&String| {
        let filter = &arguments.filter;
        filter.is_empty() || filter.iter().any(|part| name.contains(part))
    };
    let mut sum = Tally::default();
    let mut ran = false;
    for (binary, names) in [
        (&model, names(&model, &["whatever_fails"])?),
        (&api, names(&api, &LONG)?),
    ] {
        let names: Vec<&String> = names.iter().filter(asked).collect();
        if names.is_empty() {
            continue;
        }
        ran = true;
        let mut command = kernel::command(binary);
        command
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .args(&names)
            .envs(programs.iter().map(|(variable, path)| (variable, path)))
            .env("CULVERT_SOAK", "1");
        let mut tally = Tally::default();
        let well = run::follow(&command, |line| tally.line(line))?;
        sum.add(tally.ended(well));
    }
    ensure!(ran, "no test with a long mode fits {:?}", arguments.filter);
    println!("{sum}");
    Ok(if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The names of a program's tests that begin with one of these.
fn names(binary: &Artifact, begin: &[&str]) -> Result<Vec<String>> {
    let text = run::output(Command::new(&binary.executable).args(["--list", "--format=terse"]))?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let names = names.filter(|name| begin.iter().any(|part| name.starts_with(part)));
    Ok(names.map(str::to_owned).collect())
}
