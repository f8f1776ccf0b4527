//! The suite `kernel`: the contracts with a real kernel, the WireGuard crate's and the node agent's, each program in a
//! machine of its own.
//!
//! Time does not travel in it: these tests keep the kernel busy without a pause, and where processor work takes no
//! time, the kernel's deferred work (freeing removed peers, above all) never gets its turn, until memory is gone.

use std::process::Command;

use anyhow::Result;
use culvert_e2e::{Machine, programs::Tool};

use super::{
    artifact::{self, Artifact},
    tally::Tally,
};
use crate::run;

/// Variables of ours that a test may want to see.
const PASSED_ON: [&str; 8] = [
    "RUST_LOG",
    "RUST_BACKTRACE",
    "PROPTEST_CASES",
    "KUBEBUILDER_ASSETS",
    "CULVERT_CACHE",
    "XDG_CACHE_HOME",
    "CULVERT_KEEP",
    "CULVERT_SEED",
];

/// Where tests find wireguard-go.
pub const WIREGUARD_GO: &str = "CULVERT_WIREGUARD_GO";

/// The programs that hold a contract against the kernel. One more, `most`, fills an interface, for `cargo xtask soak` alone.
pub const PROGRAMS: [&str; 2] = ["kernel", "contract_machine"];

pub fn run(filter: &[String]) -> Result<Tally> {
    let mut sum = Tally::default();
    for name in PROGRAMS {
        sum.add(run_in(&machine()?, &artifact::test(name)?, filter)?);
    }
    Ok(sum)
}

/// Runs a program's tests in this machine, with these arguments.
pub fn run_in(machine: &Machine, artifact: &Artifact, arguments: &[String]) -> Result<Tally> {
    let mut command = command(artifact);
    command
        .arg("--test-threads=1")
        .args(arguments)
        .env(WIREGUARD_GO, Tool::WireguardGo.find()?);
    let mut tally = Tally::default();
    let outcome = machine.run(&command, |line| {
        run::show(line);
        tally.line(&String::from_utf8_lossy(line));
    })?;
    if outcome.status >= 128 {
        println!(
            "the test program was killed (status {}); kernel messages:\n{}",
            outcome.status, outcome.messages
        );
    }
    Ok(tally.ended(outcome.status == 0))
}

/// The machine that tests run in, with the variables they may want to see.
pub fn machine() -> Result<Machine> {
    Ok(passing_on(Machine::new()?))
}

/// The same machine, with the variables that tests may want to see.
pub fn passing_on(machine: Machine) -> Machine {
    PASSED_ON
        .iter()
        .fold(machine, |machine, name| machine.pass_env(name))
}

/// A test program as cargo would run it.
pub fn command(artifact: &Artifact) -> Command {
    let mut command = Command::new(&artifact.executable);
    // It writes to a terminal there, of which nobody knows whether it ends at one.
    command.arg("--color=never");
    command
        .current_dir(&artifact.package)
        .env("CARGO_MANIFEST_DIR", &artifact.package);
    command
}
