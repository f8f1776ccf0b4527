//! `cargo xtask soak`: the proofs of the suites in their long mode, one program after the other.
//!
//! They are the same tests, with larger numbers: those of `operator/tests/model/bounds.rs`, of the two `scale.rs` in
//! `e2e/tests`, and of the tests of `wireguard` and `node-agent` themselves. What each has counted is on the terminal, and the last line is
//! `N passed, N failed`. All of them together take hours; a word picks some.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    run,
    setup::{self, Need},
    test::{
        artifact::{self, Artifact},
        kernel, system,
        tally::Tally,
    },
};

/// The variable that asks a test for its long mode.
pub const SOAK: &str = "CULVERT_SOAK";

/// Where the tests of a program run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Here.
    Host,
    /// All of them in one machine.
    Machine,
    /// Each in a machine of its own.
    Machines,
}

/// How the names of a program's tests begin that have a long mode.
const LONG: [(&str, Place, &[&str]); 7] = [
    ("model", Place::Host, &["whatever_fails"]),
    ("faults", Place::Host, &["every_failure_"]),
    ("corpus", Place::Host, &["no_"]),
    (
        "api",
        Place::Host,
        &["soak::", "outage::", "restore::", "crowd::"],
    ),
    ("kernel", Place::Machine, &["looks::ten_thousand_"]),
    ("most", Place::Machine, &["the_most_peers_"]),
    (
        "system",
        Place::Machines,
        &["agent::agent_killed_", "crowd::", "drain::drain_of_many_"],
    ),
];

/// What the largest of the kernel's tests takes: 2^20 peers.
const MEMORY: &str = "6G";

/// How long they may take.
const HOURS: u64 = 3;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run the tests whose name contains one of these, or the programs of that name (model, api, kernel, system); all
    /// that have a long mode when none is given.
    filter: Vec<String>,
}

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(&[Need::ControlPlane, Need::Machine, Need::UserspaceWireGuard])?;
    let mut sum = Tally::default();
    for (program, place, begin) in LONG {
        let asked = |name: &str| {
            let filter = &arguments.filter;
            filter.is_empty()
                || filter
                    .iter()
                    .any(|part| name.contains(part) || part.as_str() == program)
        };
        if place == Place::Machines {
            sum.add(system::soak(begin, asked)?);
            continue;
        }
        for binary in artifact::tests(program)? {
            let mut names = names(&binary, begin)?;
            names.retain(|name| asked(name));
            if !names.is_empty() {
                sum.add(run_long(&binary, place, names)?);
            }
        }
    }
    ensure!(
        sum != Tally::default(),
        "no test with a long mode fits {:?}",
        arguments.filter
    );
    println!("{sum}");
    Ok(if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_long(binary: &Artifact, place: Place, names: Vec<String>) -> Result<Tally> {
    let mut words = vec!["--exact".to_owned(), "--nocapture".to_owned()];
    words.extend(names);
    if place == Place::Machine {
        let machine = kernel::machine()?
            .memory(MEMORY)
            .within(Duration::from_hours(HOURS))
            .env(SOAK, "1");
        return kernel::run_in(&machine, binary, &words);
    }
    let mut command = kernel::command(binary);
    command
        .arg("--test-threads=1")
        .args(words)
        .envs(artifact::programs()?)
        .env(SOAK, "1");
    let mut tally = Tally::default();
    let well = run::follow(&command, |line| tally.line(line))?;
    Ok(tally.ended(well))
}

/// The names of a program's tests that begin with one of these.
fn names(binary: &Artifact, begin: &[&str]) -> Result<Vec<String>> {
    let text = run::output(Command::new(&binary.executable).args(["--list", "--format=terse"]))?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let names = names.filter(|name| begin.iter().any(|part| name.starts_with(part)));
    Ok(names.map(str::to_owned).collect())
}
