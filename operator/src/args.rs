//! Flags and environment variables.

use clap::{Parser, ValueEnum};

/// Draws a random tunnel address for every WireGuardKey and binds it with a WireGuardPeer.
///
/// Finds the cluster through KUBECONFIG (or ~/.kube/config), or through its service account when it
/// runs in a pod.
#[derive(Clone, Debug, Parser)]
#[command(name = "culvert-operator", version)]
pub struct Args {
    /// How logs are written.
    #[arg(long, env = "CULVERT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged, as in `info` or `info,culvert_operator=debug`. Public keys and tunnel addresses appear at no
    /// level.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log: String,

    /// How many writes may be under way at the same time.
    #[arg(long, env = "CULVERT_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}
