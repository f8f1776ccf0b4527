//! Flags and environment variables.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use culvert_startup::logs::LogArgs;

/// Programs WireGuard peers into this node's kernel and forgets where clients were.
///
/// Finds the cluster through KUBECONFIG (or ~/.kube/config), or through its service account when it
/// runs in a pod. Needs `CAP_NET_ADMIN` in the network namespace of the gateway.
#[derive(Clone, Debug, Parser)]
#[command(name = "culvert-node-agent", version)]
pub struct Args {
    /// Name of the Kubernetes node that this agent serves.
    #[arg(long, env = "NODE_NAME", value_parser = NonEmptyStringValueParser::new())]
    pub node_name: String,

    /// Folder for the private keys of gateways with `keyStorage: Node`. Nothing else is written anywhere.
    #[arg(long, env = "CULVERT_STATE_DIR", default_value = "/var/lib/culvert")]
    pub state_dir: PathBuf,

    /// What every program has.
    #[command(flatten)]
    pub logs: LogArgs,
}
