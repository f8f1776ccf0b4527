//! Measures the node agent beside wg(8): `cargo xtask bench agent` runs this in a machine, in real time.
//!
//! ```text
//! memory    the program as it is shipped, resident memory         a child of its own
//! single    one added peer, at 1,000 peers and at all of them     the loop, from the event's bytes to the kernel's answer
//! look      a whole look, and a tick with nothing to do           beside `wg show dump` and `wg syncconf`
//! setconf   an empty interface becomes a full one                 beside `wg setconf`, in turns
//! resync    one added peer while all are programmed anew
//! forget    1,000 peers forgotten and made anew                   beside wg(8) in two shapes
//! lock      how long the kernel's links are held meanwhile        a second process
//! stale     every client makes a handshake and is silent
//! fleet     many agents on one apiserver                          on the host, with kernels in memory
//! ```
//!
//! The agent's whole loop runs in this process over the machine's kernel; its API is [`api`], which is bytes and nothing
//! else. Arguments: how many peers, then the parts, all of them otherwise. What goes on is told on standard error; the
//! figures are one line of standard output that begins with `FIGURES`.

mod agent;
mod api;
mod clients;
mod converge;
mod fleet;
mod forget;
mod lock;
mod memory;
mod objects;
mod outside;
mod probe;
mod single;
mod stage;
mod wg;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use culvert_e2e::figure::Figures;
use stage::Stage;

/// As the agent's program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fewer say nothing.
const LEAST: u32 = 2_000;

/// What the second process is called.
const LOCK: &str = "--measure-lock";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = if arguments.first().is_some_and(|first| first == LOCK) {
        lock::second_process().await
    } else {
        measure(&arguments).await
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &[String]) -> Result<()> {
    let (peers, parts) = arguments.split_first().context("say how many peers")?;
    let peers: u32 = peers.parse().context("the number of peers is no number")?;
    ensure!(peers >= LEAST, "at least {LEAST} peers are needed");
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    let mut figures = Figures::default();
    if parts == ["fleet"] {
        fleet::measure(peers / 10, &mut figures).await?;
        println!("FIGURES {}", figures.json());
        return Ok(());
    }
    let mut stage = Stage::new()?;
    if wants("memory") {
        memory::measure(&mut stage, peers, &mut figures).await?;
        stage = Stage::new()?;
    }
    if wants("single") {
        single::measure(&mut stage, peers, &mut figures).await?;
    }
    if wants("look") || wants("setconf") {
        converge::measure(&mut stage, peers, wants("look"), wants("setconf"), &mut figures).await?;
    }
    if wants("resync") {
        single::during_resync(&mut stage, peers, &mut figures).await?;
    }
    if wants("forget") {
        forget::some(&mut stage, peers, &mut figures).await?;
    }
    if wants("lock") {
        lock::measure(&mut stage, peers, &mut figures).await?;
    }
    if wants("stale") {
        forget::everybody(&mut stage, peers, &mut figures).await?;
    }
    stage.stop().await?;
    println!("FIGURES {}", figures.json());
    Ok(())
}
