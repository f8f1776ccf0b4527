//! `culvert-operator`.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Parser;
use culvert_operator::args::{Args, LogFormat};
use culvert_operator::clock::Clock;
use culvert_operator::run::run;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

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
    start_logs(&args)?;
    let mut config = Config::infer().await.map_err(|_| no_cluster())?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // Longer than a watch lives, shorter than a person waits.
    config.read_timeout = Some(Duration::from_secs(90));
    let client =
        Client::try_from(config).context("failed to make a client from the cluster's configuration")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "culvert-operator starts");
    run(client, Clock::start(), usize::from(args.concurrency), async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
    .await;
    Ok(())
}

/// Why there is no cluster. What the client says of it quotes the file, which holds credentials.
fn no_cluster() -> anyhow::Error {
    match std::env::var_os("KUBECONFIG") {
        Some(path) if Path::new(&path).exists() => {
            anyhow!(
                "`{}` (from KUBECONFIG) is not a usable kubeconfig; try `kubectl get nodes` with it",
                path.display()
            )
        }
        Some(path) => anyhow!("`{}` (from KUBECONFIG) does not exist", path.display()),
        None => anyhow!("no cluster found: set KUBECONFIG, or run in a pod whose service account is mounted"),
    }
}

fn start_logs(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).context("failed to read --log; try `info` or `debug`")?;
    // The client's own spans and warnings carry URLs and whole objects, and those carry addresses.
    let filter = [
        "kube_client=off",
        "kube_runtime=off",
        "tower=warn",
        "hyper=warn",
        "hyper_util=warn",
        "h2=warn",
        "rustls=warn",
    ]
    .iter()
    .try_fold(filter, |filter, directive| {
        anyhow::Ok(filter.add_directive(directive.parse()?))
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
