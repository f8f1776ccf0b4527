//! `cargo xtask bench`: figures of programs as they are shipped, each beside its goal.
//!
//! ```text
//! planner         the operator's planner alone, without an API         operator/benches/planner.rs
//! culvert-bench   the operator against etcd and kube-apiserver         e2e/src/bin/culvert-bench
//! culvert-bench-agent   the agent beside wg(8), in a machine           e2e/src/bin/culvert-bench-agent
//! culvert-bench-connect   a client, from its start to the first ping, in a machine
//!                                                                      e2e/src/bin/culvert-bench-connect
//! culvert-bench-dataplane   what passes the gateway, with its table and without, in a machine
//!                                                                      e2e/src/bin/culvert-bench-dataplane
//! ```
//!
//! Each prints one JSON array; those of a subject go to `bench/operator.json`, `bench/agent.json`, `bench/connect.json` or
//! `bench/dataplane.json` in the target folder, and to the terminal as a table. A goal that is missed fails nothing: a figure is for reading, and a machine that does something else besides
//! may miss one without anybody's fault.

mod agent;
mod connect;
mod dataplane;
mod machine;
mod table;

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
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

    /// How many keys, or peers, there are at the end; the names of figures say it.
    #[arg(long, alias = "peers", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2000..))]
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
    /// The agent's memory.
    Memory,
    /// The agent: one peer added.
    Single,
    /// The agent: a whole look, and a tick without anything to do.
    Look,
    /// The agent: an empty interface becomes a full one.
    Setconf,
    /// The agent: one peer added while all are programmed.
    Resync,
    /// The agent: peers forgotten and made anew.
    Forget,
    /// The agent: how long nobody else can change a link.
    Lock,
    /// The agent: everybody goes stale at once.
    Stale,
    /// Up to 200 agents on one apiserver, with a tenth of the keys.
    Fleet,
    /// The gateway: one stream through the tunnel.
    Throughput,
    /// The gateway: small packets of many clients.
    Packets,
    /// The gateway: its table put in place.
    Apply,
}

impl Part {
    /// What the program calls it that measures it; the planner has one of its own.
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Planner => return None,
            Self::Idle => "idle",
            Self::Burst => "burst",
            Self::Size => "size",
            Self::Memory => "memory",
            Self::Single => "single",
            Self::Look => "look",
            Self::Setconf => "setconf",
            Self::Resync => "resync",
            Self::Forget => "forget",
            Self::Lock => "lock",
            Self::Stale => "stale",
            Self::Fleet => "fleet",
            Self::Throughput => "throughput",
            Self::Packets => "packets",
            Self::Apply => "apply",
        })
    }

    fn subject(self) -> Subject {
        match self {
            Self::Planner | Self::Idle | Self::Burst | Self::Size => Subject::Operator,
            Self::Throughput | Self::Packets | Self::Apply => Subject::Dataplane,
            _ => Subject::Agent,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// The operator: throughput, latency, start, memory, writes, planner.
    Operator,
    /// The node agent: programming, forgetting, looks and memory, beside wg(8).
    Agent,
    /// A client: from the start of `kubectl culvert connect` to the first ping that is answered.
    Connect,
    /// The gateway's table: what it costs the packets that pass it.
    Dataplane,
}

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let (subject, only) = (arguments.subject, &arguments.only);
    if let Some(part) = only.iter().find(|part| part.subject() != subject) {
        bail!("{part:?} is no part of {subject:?}");
    }
    match subject {
        Subject::Operator => operator(arguments.keys, only),
        Subject::Agent => agent::measure(arguments.keys, only),
        Subject::Connect => connect::measure(),
        Subject::Dataplane => dataplane::measure(only),
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

    show(found, "operator", !only.is_empty(), watch)
}

/// Keeps the figures of a subject, and shows them; `partly` says whether those of other parts stay as they were.
fn show(found: Vec<Value>, subject: &str, partly: bool, watch: Stopwatch) -> Result<ExitCode> {
    let folder = artifact::target()?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let path = folder.join(format!("{subject}.json"));
    let figures = if partly { merged(&path, found) } else { found };
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
