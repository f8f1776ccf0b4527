//! The command line.

use clap::{Parser, Subcommand};

use crate::cluster::ClusterArgs;
use crate::commands::{
    check, complete, connect, gateway, install, key, logs, migrate, report, status, version,
};
use crate::exit;
use crate::output::ScreenArgs;

/// Private WireGuard tunnels through a Kubernetes cluster's gateways.
///
/// A key pair is made here; the cluster is told the public half, and answers with random addresses. The private key never
/// leaves this machine unless you take it.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-culvert",
    bin_name = "kubectl culvert",
    version,
    disable_help_subcommand = true,
    after_help = exit::all()
)]
pub struct Cli {
    /// About the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// About the screen.
    #[command(flatten)]
    pub screen: ScreenArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, show, rotate and revoke keys.
    #[command(subcommand)]
    Key(key::Command),

    /// Open a tunnel on this machine, and keep it.
    Connect(connect::Args),

    /// Say how many of everything there are, and what is wrong.
    Status(status::Args),

    /// Look at everything that Culvert needs, and name what is missing.
    Check(check::Args),

    /// Write what whoever helps needs to know, with no name, key or address in it.
    Report(report::Args),

    /// Show what the operator and the agents write down.
    Logs(logs::Args),

    /// Drain gateways' nodes, or have them forget their clients.
    #[command(subcommand)]
    Gateway(gateway::Command),

    /// Print what Culvert needs of a cluster.
    #[command(subcommand)]
    Install(install::Command),

    /// Have all objects stored in the newest version of the API, so that older ones may go.
    Migrate(migrate::Args),

    /// Print what a shell needs to complete commands and names.
    Completion(complete::Args),

    /// Say what may stand at a place of the command line.
    #[command(name = "__complete", hide = true)]
    Complete(complete::Words),

    /// Say which versions run here and in the cluster.
    Version(version::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn flags_fit_together() {
        Cli::command().debug_assert();
    }
}
