//! The node agent, in a machine of its own and in real time: there processor work takes the time that it takes.
//!
//! One processor without preemption, as the test kernel is: ratios to wg(8), which runs beside it, are worth more than
//! times.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Result;
use culvert_e2e::wait::Stopwatch;

use super::{
    Part,
    machine::{FIGURES, figures, in_machine},
    show,
};
use crate::{
    run,
    setup::{self, Need},
    test::artifact,
};

/// Two interfaces with all peers, and all peers as an API has them.
const MEMORY: &str = "6G";

/// How long all parts may take; a few wait for a window of 180 s.
const WITHIN: Duration = Duration::from_mins(90);

pub fn measure(peers: u32, only: &[Part]) -> Result<ExitCode> {
    let fleet = only.is_empty() || only.contains(&Part::Fleet);
    let parts: Vec<&str> = only
        .iter()
        .filter(|part| **part != Part::Fleet)
        .filter_map(|part| part.name())
        .collect();
    setup::ensure(if fleet {
        &[Need::Machine, Need::ControlPlane]
    } else {
        &[Need::Machine]
    })?;
    println!("building with the release profile …");
    let built = artifact::released_agent()?;
    let watch = Stopwatch::start();
    let mut command = Command::new(&built.bench.executable);
    command
        .arg(peers.to_string())
        .env("CULVERT_NODE_AGENT", &built.agent.executable)
        .env("CULVERT_OPERATOR", &built.operator.executable);
    let mut found = Vec::new();
    if only.is_empty() || !parts.is_empty() {
        command.args(&parts);
        found = in_machine(&command, MEMORY, WITHIN)?;
    }
    if fleet {
        let mut command = Command::new(&built.bench.executable);
        command
            .args([peers.to_string().as_str(), "fleet"])
            .env("CULVERT_OPERATOR", &built.operator.executable);
        let text = run::output(&mut command)?;
        found.extend(figures(text.lines().find_map(|line| line.strip_prefix(FIGURES)))?);
    }
    show(found, "agent", !only.is_empty(), watch)
}
