//! Flags and environment variables.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use culvert_startup::logs::LogArgs;

use crate::kernel::choose::Choice;

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

    /// What moves the packets. Without a word of it, the kernel if it has WireGuard, and a program otherwise.
    #[arg(long, env = "CULVERT_BACKEND", value_enum, default_value_t = Choice::Auto)]
    pub backend: Choice,

    /// The program for nodes whose kernel has no WireGuard; a bare name is looked for in PATH.
    #[arg(long, env = "CULVERT_WIREGUARD_GO", default_value = "wireguard-go")]
    pub wireguard_go: PathBuf,

    /// What every program has.
    #[command(flatten)]
    pub logs: LogArgs,
}
