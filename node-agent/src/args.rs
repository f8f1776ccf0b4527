//! Flags and environment variables.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use culvert_startup::logs::LogArgs;
use culvert_startup::serve::ServeArgs;

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

    /// nftables' program, for the tables that keep clients where they belong; a bare name is looked for in PATH.
    #[arg(long, env = "CULVERT_NFT", default_value = "nft")]
    pub nft: PathBuf,

    /// Where it answers.
    #[command(flatten)]
    pub serve: ServeArgs,

    /// What every program has.
    #[command(flatten)]
    pub logs: LogArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_fit_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_of_the_example_unit_are_the_agents() {
        let unit = include_str!("../../examples/culvert-node-agent.service");
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let words = line.unwrap().split_ascii_whitespace().chain(["--node-name=a"]);
        let args = Args::try_parse_from(words).unwrap();
        assert_eq!(args.state_dir, PathBuf::from("/var/lib/culvert"));
        assert!(unit.contains("\nStateDirectory=culvert\n"));
    }

    #[test]
    fn nothing_is_served_unasked() {
        let args = Args::parse_from(["culvert-node-agent", "--node-name=a"]);
        assert_eq!(args.serve.listen, None);
        let asked = Args::parse_from(["culvert-node-agent", "--node-name=a", "--listen=[::1]:8080"]);
        assert_eq!(asked.serve.listen, "[::1]:8080".parse().ok());
        assert!(Args::try_parse_from(["culvert-node-agent", "--node-name=a", "--listen=127.0.0.1"]).is_err());
    }
}
