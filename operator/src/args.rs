//! Flags and environment variables.

use clap::Parser;
use culvert_startup::logs::LogArgs;

/// Draws a random tunnel address for every WireGuardKey and binds it with a WireGuardPeer.
///
/// Finds the cluster through KUBECONFIG (or ~/.kube/config), or through its service account when it
/// runs in a pod.
#[derive(Clone, Debug, Parser)]
#[command(name = "culvert-operator", version)]
pub struct Args {
    /// What every program has.
    #[command(flatten)]
    pub logs: LogArgs,

    /// How many writes may be under way at the same time.
    #[arg(long, env = "CULVERT_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
}
