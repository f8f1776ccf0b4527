//! The suite `kernel`: the contracts with a real kernel, the WireGuard crate's and the node agent's, each program in a
//! machine of its own.
//!
//! Time does not travel in it: these tests keep the kernel busy without a pause, and where processor work takes no
//! time, the kernel's deferred work (freeing removed peers, above all) never gets its turn, until memory is gone.
//!
//! With `CULVERT_SOAK=1` numbers are large, and an interface is filled to its last peer, which takes a machine of 5 GB.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Error, Result};
use culvert_e2e::{Machine, programs::Tool};

use super::{
    artifact::{self, Artifact},
    tally::Tally,
};
use crate::run;

/// Variables of ours that a test may want to see.
const PASSED_ON: [&str; 9] = [
    "RUST_LOG",
    "RUST_BACKTRACE",
    "PROPTEST_CASES",
    "KUBEBUILDER_ASSETS",
    "CULVERT_CACHE",
    "XDG_CACHE_HOME",
    "CULVERT_KEEP",
    SOAK,
    "CULVERT_SEED",
];

/// Asks for the long mode.
const SOAK: &str = "CULVERT_SOAK";

/// Where tests find wireguard-go.
const WIREGUARD_GO: &str = "CULVERT_WIREGUARD_GO";

/// The programs that hold a contract against the kernel.
const PROGRAMS: [&str; 2] = ["kernel", "contract_machine"];

/// The one that fills an interface, in the long mode alone, and what it needs.
const MOST: (&str, &str) = ("most", "5G");
/// How long a machine may take in the long mode.
const PATIENCE: Duration = Duration::from_mins(90);

pub fn run(filter: &[String]) -> Result<Tally> {
    let mut sum = Tally::default();
    let machine = || {
        let machine = machine()?;
        Ok::<_, Error>(if is_long() {
            machine.within(PATIENCE)
        } else {
            machine
        })
    };
    for name in PROGRAMS {
        sum.add(run_one(&artifact::test(name)?, &machine()?, filter)?);
    }
    if is_long() {
        let (name, memory) = MOST;
        sum.add(run_one(
            &artifact::test(name)?,
            &machine()?.memory(memory),
            filter,
        )?);
    }
    Ok(sum)
}

/// Whether what is counted counts, and is shown.
fn is_long() -> bool {
    env::var_os(SOAK).is_some_and(|value| value == "1")
}

fn run_one(artifact: &Artifact, machine: &Machine, filter: &[String]) -> Result<Tally> {
    let mut command = command(artifact);
    command
        .arg("--test-threads=1")
        .args(is_long().then_some("--show-output"))
        .args(filter)
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
    Ok(PASSED_ON
        .iter()
        .fold(Machine::new()?, |machine, name| machine.pass_env(name)))
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
