//! `cargo xtask bench`: figures of programs as they are shipped, each beside its goal.
//!
//! ```text
//! planner         the operator's planner alone, without an API         operator/benches/planner.rs
//! culvert-bench   the operator against etcd and kube-apiserver         e2e/src/bin/culvert-bench
//! ```
//!
//! Each prints one JSON array; together they go to `bench/operator.json` in the target folder, and to the terminal as a
//! table. A goal that is missed fails nothing: a figure is for reading, and a machine that does something else besides
//! may miss one without anybody's fault.

mod table;

use std::{
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use culvert_e2e::wait::Stopwatch;
use serde_json::Value;

use crate::{
    run,
    setup::{self, Need},
    test::artifact,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What is measured.
    subject: Subject,

    /// How many keys there are at the end; the names of figures say it.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2000..))]
    keys: u32,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// The operator: throughput, latency, start, memory, writes, planner.
    Operator,
}

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    match arguments.subject {
        Subject::Operator => operator(arguments.keys),
    }
}

fn operator(keys: u32) -> Result<ExitCode> {
    setup::ensure(&[Need::ControlPlane])?;
    println!("building with the release profile …");
    let built = artifact::released()?;
    let watch = Stopwatch::start();
    // First: it is alone then, and its memory is a process's own.
    println!("the planner alone …");
    let mut figures = figures(&mut Command::new(built.planner.executable))?;
    let mut bench = Command::new(built.bench.executable);
    bench
        .arg(keys.to_string())
        .env("CULVERT_OPERATOR", built.operator.executable);
    figures.splice(0..0, self::figures(&mut bench)?);

    let folder = artifact::target()?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let path = folder.join("operator.json");
    let text = serde_json::to_string_pretty(&figures).context("failed to write the figures")?;
    fs::write(&path, text + "\n").with_context(|| format!("failed to write {}", path.display()))?;
    print!("\n{}", table::table(&figures));
    println!("{} s; figures: {}", watch.elapsed().as_secs(), path.display());
    Ok(ExitCode::SUCCESS)
}

/// Runs a program that prints figures.
fn figures(command: &mut Command) -> Result<Vec<Value>> {
    let text = run::output(command)?;
    serde_json::from_str(text.trim()).context("a benchmark printed no figures")
}
