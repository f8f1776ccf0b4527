//! Measures the operator against a real apiserver: `cargo xtask bench operator` runs this.
//!
//! ```text
//! idle     one key at a time: latency, writes                 small API
//! burst    10,000 keys at once, against a bare client         grows by 20,000 each round
//!          and once with a gateway: writes
//! size     the API filled up: restart, memory                 100,000 keys
//! ```
//!
//! Machines differ and are shared, so what counts are ratios: each figure of the operator's is measured beside a bare
//! client that sends the same requests to the same apiserver in the same run, in turns. The operator and that client
//! are users of their own, both of `system:masters`: the apiserver's queues and authorizers treat them alike.
//!
//! The first argument is the number of keys at the end; others name the parts that are measured, all of them otherwise.
//! Standard output is one JSON array, `[{"name","value","unit","goal"}]`; what goes on is told on standard error.

mod agent;
mod audit;
mod bare;
mod burst;
mod fields;
mod idle;
mod keys;
mod observer;
mod operator;
mod size;
mod stage;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use culvert_e2e::figure::{self, Figures};
use stage::Stage;

/// Fewer make no burst that is worth its name: eight hundred are measured one by one.
const LEAST: usize = 2000;

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(figures) => {
            println!("{}", figures.json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<Figures> {
    let keys = std::env::args()
        .nth(1)
        .context("say how many keys, for instance 100000")?;
    let keys: usize = keys.parse().context("the number of keys is no number")?;
    ensure!(keys >= LEAST, "at least {LEAST} keys are needed");
    let wanted: Vec<String> = std::env::args().skip(2).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let mut figures = Figures::default();
    let mut stage = Stage::start().await?;
    let empty = size::empty(&stage).await?;
    if wants("idle") {
        idle::measure(&mut stage, &mut figures).await?;
    }
    if wants("burst") {
        burst::measure(&mut stage, keys, &mut figures).await?;
    }
    if wants("size") {
        size::measure(&mut stage, keys, empty, &mut figures).await?;
    }
    Ok(figures)
}
