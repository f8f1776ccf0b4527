//! `culvert-node-agent`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use culvert_node_agent::args::Args;
use culvert_node_agent::kernel::{Both, Kernel, Userspace};
use culvert_node_agent::keystore::Keystore;
use culvert_node_agent::run::{look_through, run};
use culvert_startup::stop::Stop;
use culvert_startup::{cluster, logs};

#[tokio::main(worker_threads = 2)]
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
    let programs = Userspace::open(&args.wireguard_go).context("failed to reach the node's links")?;
    let mut kernel = Both::open(args.backend, programs).context(
        "failed to reach WireGuard in the node's kernel; is the module loaded? try `modprobe wireguard`",
    )?;
    // Before anything else is looked for: whatever is missing, nobody is remembered for it.
    let gateways = look_through(&mut kernel)
        .await
        .context("failed to look for the interfaces of an earlier agent")?;
    let client = cluster::client().await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = args.node_name,
        backend = ?kernel.backend(),
        "culvert-node-agent starts"
    );
    let keystore = Keystore::new(args.state_dir);
    run(client, args.node_name, keystore, kernel, gateways, stop.asked()).await;
    Ok(())
}
