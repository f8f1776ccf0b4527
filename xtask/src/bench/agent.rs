//! The node agent, in a machine of its own and in real time: there processor work takes the time that it takes.
//!
//! One processor without preemption, as the test kernel is: ratios to wg(8), which runs beside it, are worth more than
//! times.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait::Stopwatch;
use serde_json::Value;

use super::{Part, show};
use crate::{
    run,
    setup::{self, Need},
    test::{artifact, kernel},
};

/// Two interfaces with all peers, and all peers as an API has them.
const MEMORY: &str = "6G";

/// How long all parts may take; a few wait for a window of 180 s.
const WITHIN: Duration = Duration::from_mins(90);

/// How the line of figures begins.
const FIGURES: &str = "FIGURES ";

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
        found = in_machine(&command)?;
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

fn in_machine(command: &Command) -> Result<Vec<Value>> {
    let mut json = None;
    let machine = kernel::machine()?.memory(MEMORY).within(WITHIN);
    let outcome = machine.run(command, |line| {
        let text = String::from_utf8_lossy(line);
        match text.strip_prefix(FIGURES) {
            Some(figures) => json = Some(figures.trim().to_owned()),
            None => run::show(line),
        }
    })?;
    ensure!(
        outcome.status == 0,
        "the benchmark ended with status {}; kernel messages: {}",
        outcome.status,
        outcome.messages
    );
    figures(json.as_deref())
}

fn figures(json: Option<&str>) -> Result<Vec<Value>> {
    let json = json.context("the benchmark printed no figures")?;
    serde_json::from_str(json).context("the figures are no JSON")
}
