//! How long a client takes to connect, in a machine of its own and in real time.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Result;
use culvert_e2e::wait::Stopwatch;

use super::{machine::in_machine, show};
use crate::{
    setup::{self, Need},
    test::artifact,
};

/// Control plane, operator, agent and client.
const MEMORY: &str = "3G";

/// How long all rounds may take.
const WITHIN: Duration = Duration::from_mins(20);

pub fn measure() -> Result<ExitCode> {
    setup::ensure(&[Need::Machine, Need::ControlPlane])?;
    println!("building with the release profile …");
    let built = artifact::released_client()?;
    let watch = Stopwatch::start();
    let mut command = Command::new(built.bench.executable);
    command
        .env("CULVERT_NODE_AGENT", built.agent.executable)
        .env("CULVERT_OPERATOR", built.operator.executable)
        .env("CULVERT_PLUGIN", built.plugin.executable);
    let found = in_machine(&command, MEMORY, WITHIN)?;
    show(found, "connect", false, watch)
}
