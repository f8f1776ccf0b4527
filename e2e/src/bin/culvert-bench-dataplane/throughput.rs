//! How much goes through the tunnel: one TCP stream, out and back.

use anyhow::{Context, Result};
use culvert_e2e::{Program, figure::Figures, wait};
use serde_json::Value;

use crate::stage::{SERVER, Stage};

/// How long one measurement takes, in seconds.
const SECONDS: &str = "2";

/// Measures both ways.
pub async fn measure(stage: &mut Stage, figures: &mut Figures) -> Result<()> {
    let mut command = stage.server.command("iperf3");
    // What it says is in a file, so it must be told not to keep it.
    command.args(["--server", "--forceflush", "--bind", SERVER]);
    let server = Program::start("iperf3", &command, stage.folder.path())?;
    wait::until("iperf3 to listen", culvert_e2e::bed::SOON, || async {
        Ok(server.output()?.contains("Server listening").then_some(()))
    })
    .await?;
    for (way, flag) in [("out", None), ("back", Some("--reverse"))] {
        let compared = stage.in_turns(way, |stage| stream(stage, flag)).await?;
        compared.tell(figures, &format!("throughput {way}"), "Mbit/s");
    }
    server.kill()
}

/// Megabits a second that arrive.
fn stream(stage: &Stage, flag: Option<&str>) -> Result<f64> {
    let mut words = vec![
        "iperf3", "--client", SERVER, "--json", "--time", SECONDS, "--omit", "1",
    ];
    words.extend(flag);
    let text = stage.client.run(&words)?;
    let report: Value = serde_json::from_str(&text).context("iperf3 prints no JSON")?;
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("iperf3 tells no throughput")? / 1e6)
}
