//! Measures what the gateway's table costs the packets that pass it: `cargo xtask bench dataplane` runs this in a machine,
//! in real time.
//!
//! ```text
//! throughput   iperf3 through the tunnel, out and back                under the agent's table, masquerade alone, nothing, in turns
//! packets      small ones of a thousand clients, among 10,000 peers   the same
//! apply        how long the agent takes to put the table in place     with few ranges of the cluster and with most
//! ```
//!
//! The table is the agent's own, made and written by its code. Without it there is no table at all: the interface and the
//! routes are the same, and nothing is tracked or translated. Masquerade alone, one rule, is what no gateway to the internet
//! does without: what of the table's price is our own is what it costs beyond that. Client, gateway and server share one processor, which seals
//! each packet once and opens it once, so the table's share is less than it is on a gateway alone, and about half as large.
//! Arguments: the parts, all of them otherwise. What goes on is told on standard error; the figures are one line of standard
//! output that begins with `FIGURES`.

mod apply;
mod packets;
mod stage;
mod throughput;

use std::process::ExitCode;

use anyhow::Result;
use culvert_e2e::figure::Figures;
use stage::Stage;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    match measure(&parts).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(parts: &[String]) -> Result<()> {
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    let mut figures = Figures::default();
    let mut stage = Stage::new()?;
    if wants("throughput") {
        throughput::measure(&mut stage, &mut figures).await?;
    }
    if wants("packets") {
        packets::measure(&mut stage, &mut figures).await?;
    }
    if wants("apply") {
        apply::measure(&mut stage, &mut figures).await?;
    }
    println!("FIGURES {}", figures.json());
    Ok(())
}
