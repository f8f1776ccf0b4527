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
    path::Path,
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

    /// Only these parts; the figures of the others are left as they were.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The planner alone.
    Planner,
    /// One key at a time.
    Idle,
    /// Many keys at once.
    Burst,
    /// A full API: start and memory.
    Size,
}

impl Part {
    /// What `culvert-bench` calls it.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Planner => None,
            Self::Idle => Some("idle"),
            Self::Burst => Some("burst"),
            Self::Size => Some("size"),
        }
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// The operator: throughput, latency, start, memory, writes, planner.
    Operator,
}

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    match arguments.subject {
        Subject::Operator => operator(arguments.keys, &arguments.only),
    }
}

fn operator(keys: u32, only: &[Part]) -> Result<ExitCode> {
    setup::ensure(&[Need::ControlPlane])?;
    println!("building with the release profile …");
    let built = artifact::released()?;
    let watch = Stopwatch::start();
    let parts: Vec<&str> = only.iter().filter_map(|part| part.name()).collect();
    let mut found = Vec::new();
    // First: it is alone then, and its memory is a process's own.
    if only.is_empty() || only.contains(&Part::Planner) {
        println!("the planner alone …");
        found = figures(&mut Command::new(built.planner.executable))?;
    }
    if only.is_empty() || !parts.is_empty() {
        let mut bench = Command::new(built.bench.executable);
        bench
            .arg(keys.to_string())
            .args(parts)
            .env("CULVERT_OPERATOR", built.operator.executable);
        found.splice(0..0, figures(&mut bench)?);
    }

    let folder = artifact::target()?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let path = folder.join("operator.json");
    let figures = if only.is_empty() {
        found
    } else {
        merged(&path, found)
    };
    let text = serde_json::to_string_pretty(&figures).context("failed to write the figures")?;
    fs::write(&path, text + "\n").with_context(|| format!("failed to write {}", path.display()))?;
    print!("\n{}", table::table(&figures));
    println!("{} s; figures: {}", watch.elapsed().as_secs(), path.display());
    Ok(ExitCode::SUCCESS)
}

/// The figures of an earlier run, with those of this one in their places.
fn merged(path: &Path, found: Vec<Value>) -> Vec<Value> {
    let earlier = fs::read_to_string(path).ok();
    let mut all: Vec<Value> = earlier
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    for figure in found {
        match all.iter_mut().find(|known| known["name"] == figure["name"]) {
            Some(known) => *known = figure,
            None => all.push(figure),
        }
    }
    all
}

/// Runs a program that prints figures.
fn figures(command: &mut Command) -> Result<Vec<Value>> {
    let text = run::output(command)?;
    serde_json::from_str(text.trim()).context("a benchmark printed no figures")
}
