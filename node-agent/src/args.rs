//! Flags and environment variables.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, ValueEnum};

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

    /// How logs are written.
    #[arg(long, env = "CULVERT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged, as in `info` or `info,culvert_node_agent=debug`. Keys, addresses and endpoints appear at no
    /// level.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}
