//! `culvert-operator`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use culvert_operator::args::Args;
use culvert_operator::clock::Clock;
use culvert_operator::run::run;
use culvert_startup::stop::Stop;
use culvert_startup::{cluster, logs};

#[tokio::main]
async fn main() -> ExitCode {
    match start(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start(args: Args) -> anyhow::Result<()> {
    logs::start(&args.logs)?;
    let stop = Stop::listen().context("failed to listen for signals")?;
    let client = cluster::client().await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "culvert-operator starts");
    run(
        client,
        Clock::start(),
        usize::from(args.concurrency),
        stop.asked(),
    )
    .await;
    Ok(())
}
