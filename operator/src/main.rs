//! `culvert-operator`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use culvert_operator::args::Args;
use culvert_operator::clock::Clock;
use culvert_operator::lease::{self, Election};
use culvert_operator::metrics::Metrics;
use culvert_operator::run::{Parts, run};
use culvert_operator::serve::Operator;
use culvert_startup::serve::{Health, State};
use culvert_startup::stop::Stop;
use culvert_startup::{cluster, logs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    // Before anything else, so that a port in use is said at once.
    let ports = args.serve.bind().await?;
    let client = cluster::client().await?;
    let clock = Clock::start();
    let health = Arc::<Health>::default();
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let state = State {
        health: Arc::clone(&health),
        program: Arc::new(Operator {
            clock,
            metrics: Arc::clone(&metrics),
        }),
    };
    let _server = ports.start(&state, &client);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "culvert-operator starts");
    let election = if args.leader_elect {
        let namespace = args.lease_namespace;
        let config = lease::Config {
            namespace: namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
            name: args.lease_name,
            identity: lease::identity(),
        };
        lease::start(client.clone(), clock, config)
    } else {
        Election::uncontested()
    };
    let parts = Parts {
        client,
        clock,
        concurrency: usize::from(args.concurrency),
        election,
        health,
        metrics,
    };
    run(parts, stop.asked()).await;
    Ok(())
}
