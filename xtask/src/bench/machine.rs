//! A program that measures in a machine, in real time: it prints a line of figures among others.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{run, test::kernel};

/// How the line of figures begins.
pub const FIGURES: &str = "FIGURES ";

/// Runs it as root in a machine with so much memory, and gives its figures.
pub fn in_machine(command: &Command, memory: &str, within: Duration) -> Result<Vec<Value>> {
    let mut json = None;
    let machine = kernel::machine()?.memory(memory).within(within);
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

/// The figures of that line.
pub fn figures(json: Option<&str>) -> Result<Vec<Value>> {
    let json = json.context("the benchmark printed no figures")?;
    serde_json::from_str(json).context("the figures are no JSON")
}
