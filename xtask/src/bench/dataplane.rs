//! What the gateway's table costs the packets that pass it, in a machine of its own and in real time.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Result;
use culvert_e2e::wait::Stopwatch;

use super::{Part, machine::in_machine, show};
use crate::{
    setup::{self, Need},
    test::artifact,
};

/// Ten thousand peers, and what iperf3 has on its way.
const MEMORY: &str = "2G";

/// How long all parts may take.
const WITHIN: Duration = Duration::from_mins(30);

pub fn measure(only: &[Part]) -> Result<ExitCode> {
    setup::ensure(&[Need::Machine])?;
    println!("building with the release profile …");
    let built = artifact::released_dataplane()?;
    let watch = Stopwatch::start();
    let mut command = Command::new(built.executable);
    command.args(only.iter().filter_map(|part| part.name()));
    let found = in_machine(&command, MEMORY, WITHIN)?;
    show(found, "dataplane", !only.is_empty(), watch)
}
