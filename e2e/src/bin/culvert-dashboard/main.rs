//! A picture of the chart's dashboard from numbers that were really scraped: `cargo xtask dashboard` runs this in a machine with a
//! kernel WireGuard, where the quarter of an hour that it shows takes less.
//!
//! Operator, agent and clients are real, Prometheus scrapes both programs, and every expression of the dashboard is asked of
//! it. Grafana is not there: the panels are drawn here, plainly.

mod draw;
mod panel;
mod prometheus;
mod story;

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use culvert_e2e::{Bed, documents};

use panel::Panel;
use prometheus::Prometheus;

/// Where the programs answer; the operator is beside the apiserver, the agent on its node.
const OPERATOR: &str = "127.0.0.1:8080";
const AGENT: &str = "192.0.2.2:8080";

#[tokio::main]
async fn main() -> ExitCode {
    match show().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show() -> Result<()> {
    let out = PathBuf::from(env::var_os("CULVERT_OUT").context("CULVERT_OUT names no folder")?);
    let file = documents::checkout().join("charts/culvert/files/dashboard.json");
    let panels = Panel::all(&documents::read(&file)?)?;
    let mut bed = Bed::empty().await?;
    bed.operator_flags(&[&format!("--listen={OPERATOR}"), "--metrics-plain"]);
    bed.agent_flags(&[&format!("--listen={AGENT}"), "--metrics-plain"]);
    bed.serve_examples().await?;
    let prometheus = Prometheus::start(&out, OPERATOR, AGENT).await?;
    story::play(&bed).await?;
    let end = prometheus.now()?;
    let mut drawn = Vec::new();
    for panel in &panels {
        let series = panel.ask(&prometheus, end)?;
        println!("{}: {} series", panel.title, series.len());
        drawn.push((panel, series));
    }
    let path = out.join("dashboard.svg");
    fs::write(&path, draw::picture(&drawn, end))
        .with_context(|| format!("failed to write {}", path.display()))?;
    prometheus.end().await?;
    bed.finish().await
}
