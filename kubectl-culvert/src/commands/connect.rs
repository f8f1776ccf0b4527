//! `connect`: the whole tunnel on a Linux client.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::connect::addresses::Addresses;
use crate::connect::machine::Backend;
use crate::connect::{self, Choice, Options, marked};
use crate::exit::{self, Exit};
use crate::rotate::Every;

pub use crate::connect::ConnectError;

/// Open a tunnel on this machine, and keep it.
///
/// Makes a key pair that is in no file, has the public key served, brings up an interface, sends everything into it and
/// resolves names by the gateway's resolvers. Key and addresses are replaced as often as you say, without a lost packet; a
/// gateway that stops answering is left for another. Ctrl-C, or SIGTERM, takes all of it back and revokes the key.
///
/// Needs root, or the right `CAP_NET_ADMIN`. Local networks stay reachable; the apiserver is reached outside of the tunnel. When it is
/// killed, the tunnel stays as it is; run it again, or with --down.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
pub struct Args {
    /// The name of the key [default: one of this machine's own].
    pub name: Option<String>,

    /// The gateway to use, by the name of its node or its own, or `nearest` for the one that answers first.
    #[arg(long, default_value = "nearest", value_name = "NAME|nearest")]
    pub gateway: String,

    /// The pool that the addresses come from.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub pool: String,

    /// How often key and addresses are replaced, from 1d to 30d.
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = Every::parse)]
    pub rotate_every: Every,

    /// The network namespace to put the tunnel in, by `ip netns`' name or by its file.
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,

    /// Let nothing leave outside of the tunnel while it is up, and neither when this is killed.
    #[arg(long)]
    pub kill_switch: bool,

    /// What moves the packets.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,

    /// The wireguard-go to run where the kernel has no WireGuard.
    #[arg(long, default_value = "wireguard-go", value_name = "FILE")]
    pub wireguard_go: PathBuf,

    /// Take down what an earlier run has left, revoke its key, and end.
    #[arg(long, conflicts_with_all = ["gateway", "kill_switch"])]
    pub down: bool,

    /// Print how many milliseconds each part of connecting took.
    #[arg(long, hide = true)]
    pub times: bool,
}

const EXAMPLES: &str = "\
Examples:
  # sudo has another home, so it is told where the kubeconfig is
  sudo KUBECONFIG=\"$HOME/.kube/config\" kubectl culvert connect
  sudo KUBECONFIG=\"$HOME/.kube/config\" kubectl culvert connect laptop --kill-switch
  sudo ip netns add blue; sudo KUBECONFIG=\"$HOME/.kube/config\" kubectl culvert connect --netns blue
  sudo KUBECONFIG=\"$HOME/.kube/config\" kubectl culvert key rotate laptop
  sudo KUBECONFIG=\"$HOME/.kube/config\" kubectl culvert connect laptop --down";

/// Opens a tunnel and keeps it until it is told to stop.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let machine = machine();
    let options = Options {
        name: args.name.unwrap_or_else(|| format!("connect-{}", &machine[..8])),
        machine,
        pool: args.pool,
        gateway: match args.gateway.as_str() {
            "nearest" => Choice::Nearest,
            name => Choice::Named(name.to_owned()),
        },
        every: args.rotate_every,
        netns: args.netns,
        closed: args.kill_switch,
        backend: args.backend,
        program: args.wireguard_go,
        down: args.down,
        times: args.times,
    };
    connect::check(&options)?;
    let apiserver = Addresses::default();
    let known = apiserver.clone();
    let cluster = Cluster::find_through(&context.args, |config| marked::client(&config, known)).await?;
    connect::run(cluster, apiserver, options, context.screen).await?;
    Ok(Exit::Done)
}

/// A name for this machine that says nothing of it: from its id, as machine-id(5) asks, in a way of our own.
fn machine() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let digest = Sha256::new()
        .chain_update(b"culvert.dev/connect\0")
        .chain_update(id.trim())
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn the_service_starts_it_with_flags_that_there_are() {
        let unit = include_str!("../../../examples/culvert-connect.service");
        let start = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="))
            .unwrap();
        // Its own flags, and those of the comment.
        for flags in ["", "--kill-switch"] {
            let line = start.replace("$CONNECT", flags);
            Cli::try_parse_from(line.split_whitespace()).unwrap();
        }
    }

    #[test]
    fn a_machine_has_a_name_that_a_label_and_a_key_may_have() {
        let machine = machine();
        assert_eq!(machine.len(), 16);
        assert!(
            machine
                .chars()
                .all(|letter| letter.is_ascii_hexdigit() && !letter.is_ascii_uppercase())
        );
    }
}
