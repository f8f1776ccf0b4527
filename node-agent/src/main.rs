//! `culvert-node-agent`.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use culvert_crds::gateway_node::Backend;
use culvert_node_agent::args::Args;
use culvert_node_agent::clock::Clocks;
use culvert_node_agent::firewall::Nft;
use culvert_node_agent::flows::Flows;
use culvert_node_agent::harden::{harden, may_program};
use culvert_node_agent::kernel::{Both, Kernel, Userspace};
use culvert_node_agent::keystore::Keystore;
use culvert_node_agent::metrics::Metrics;
use culvert_node_agent::privacy::{self, Node};
use culvert_node_agent::program;
use culvert_node_agent::run::{Parts, look_through, run};
use culvert_node_agent::serve::Agent;
use culvert_startup::serve::{Health, State};
use culvert_startup::stop::Stop;
use culvert_startup::{cluster, logs};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    // Rights are a thread's, so this comes before there is another one.
    let left = harden()?;
    let args = Args::parse();
    logs::start(&args.logs)?;
    if !left.is_empty() {
        tracing::warn!(?left, "unable to give up everything that the agent does not need");
    }
    if !may_program() {
        tracing::warn!(
            "the agent lacks CAP_NET_ADMIN, so it can neither make an interface nor see one: run it as root, or give its unit or container this capability"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(open(args))
}

async fn open(args: Args) -> anyhow::Result<()> {
    let stop = Stop::listen().context("failed to listen for signals")?;
    let programs = Userspace::open(&args.wireguard_go).context("failed to reach the node's links")?;
    let kernel = Both::open(args.backend, programs, Nft::new(&args.nft))
        .context("failed to reach WireGuard in the node's kernel")?;
    if kernel.backend() == Backend::Kernel && !kernel.has_wireguard() {
        tracing::warn!(
            "the node has no WireGuard in its kernel, and the agent is told to use nothing else: load the kernel's module `wireguard`, as in `modprobe wireguard`"
        );
    }
    if kernel.backend() == Backend::Userspace && !program::is_there(&args.wireguard_go) {
        tracing::warn!(
            program = %args.wireguard_go.display(),
            "the node has no WireGuard in its kernel, or is told not to use it, and the program that takes its place is missing: install wireguard-go, say where it is with --wireguard-go, or load the kernel's module `wireguard`"
        );
    }
    serve(args, kernel, stop).await
}

async fn serve(args: Args, mut kernel: impl Kernel, stop: Stop) -> anyhow::Result<()> {
    // Before anything else is looked for: whatever is missing, nobody is remembered for it.
    let keystore = Keystore::new(args.state_dir);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let gateways = look_through(&mut kernel, &keystore, &metrics)
        .await
        .context("failed to look for the interfaces of an earlier agent")?;
    // Before the cluster is, so that a port in use is said at once.
    let ports = args.serve.bind().await?;
    let client = cluster::client().await?;
    let health = Arc::<Health>::default();
    // The clock is the node's, not the program's: before the first beat it would seem dead.
    health.beat(Clocks::read().mono);
    let state = State {
        health: Arc::clone(&health),
        program: Arc::new(Agent {
            metrics: Arc::clone(&metrics),
        }),
    };
    let _server = ports.start(&state, &client);
    let node = Node::new(kernel.backend());
    let (udp_ports, of_gateways) = watch::channel(HashSet::new());
    let first = node.look(&HashSet::new()).await;
    let (findings, privacy) = watch::channel(first.finding());
    let _looking = tokio::spawn(privacy::run(
        node,
        first,
        findings,
        of_gateways,
        Arc::clone(&metrics),
    ));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = args.node_name,
        backend = ?kernel.backend(),
        "culvert-node-agent starts"
    );
    if let Err(error) = keystore.clean() {
        // The gateways are more important.
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "unable to clean up the folder of the keys");
    }
    let parts = Parts {
        client,
        node: args.node_name,
        keystore,
        kernel,
        gateways,
        health,
        metrics,
        privacy,
        flows: Flows::start(),
        ports: udp_ports,
    };
    run(parts, stop.asked()).await;
    Ok(())
}
