//! Flags and environment variables.

use clap::Parser;
use culvert_startup::logs::LogArgs;
use culvert_startup::serve::ServeArgs;

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

    /// Write only while this replica holds the Lease, and stand by otherwise.
    ///
    /// For more than one replica, and for speed: replicas that all write get into each other's way. Safety never
    /// depends on it: no two keys share an address, whoever writes.
    #[arg(long, env = "CULVERT_LEADER_ELECT")]
    pub leader_elect: bool,

    /// The namespace of the Lease [default: that of the service account or the kubeconfig's context]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// The name of the Lease, the same for all replicas.
    #[arg(long, default_value = "culvert-operator", value_name = "NAME")]
    pub lease_name: String,

    /// Where it answers.
    #[command(flatten)]
    pub serve: ServeArgs,
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
    fn nothing_is_elected_or_served_unasked() {
        let args = Args::parse_from(["culvert-operator"]);
        assert!(!args.leader_elect);
        assert_eq!(args.serve.listen, None);
        assert_eq!(args.lease_name, "culvert-operator");
    }

    #[test]
    fn flags_are_read() {
        let args = Args::parse_from([
            "culvert-operator",
            "--leader-elect",
            "--lease-namespace=vpn",
            "--lease-name=ours",
            "--listen=[::1]:8080",
        ]);
        assert!(args.leader_elect);
        assert_eq!(args.lease_namespace.as_deref(), Some("vpn"));
        assert_eq!(args.lease_name, "ours");
        assert_eq!(args.serve.listen, "[::1]:8080".parse().ok());
    }

    #[test]
    fn place_to_serve_must_have_a_port() {
        assert!(Args::try_parse_from(["culvert-operator", "--listen=127.0.0.1"]).is_err());
    }
}
