//! `install generate`: what Culvert needs of a cluster, as YAML; `install retire`: what comes before it is taken away.

mod retire;

use clap::Subcommand;

use crate::Error;
use crate::commands::Context;
use crate::exit::{self, Exit};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  kubectl culvert install generate | kubectl apply -f -";

const COMMANDS: &str = "\
Examples:
  # Definitions, admission policies and roles; the chart has them, and the programs, too
  kubectl culvert install generate | kubectl apply -f -

  # Before all of it is taken away without Helm
  kubectl culvert install retire";

/// What to do about an installation.
#[derive(Debug, Subcommand)]
#[command(after_help = COMMANDS, after_long_help = exit::below(COMMANDS))]
pub enum Command {
    /// Print definitions, admission policies, a namespace, service accounts, roles and their bindings as YAML.
    Generate(Generate),

    /// Have every node forget its peers, and let pools go: what comes before Culvert is taken away.
    ///
    /// The operator is kept out meanwhile, and for half a minute more. Keys, pools and gateways stay: an operator that is
    /// installed again serves them as before, with the same addresses.
    Retire(retire::Retire),
}

/// Flags of `install generate`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Local))]
pub struct Generate {
    /// The definitions and policies alone.
    #[arg(long)]
    pub definitions: bool,
}

/// The files of the repository, so that there is one truth.
const DEFINITIONS: [&str; 6] = [
    include_str!("../../../crds/yaml/ippools.yaml"),
    include_str!("../../../crds/yaml/wireguardgateways.yaml"),
    include_str!("../../../crds/yaml/wireguardkeys.yaml"),
    include_str!("../../../crds/yaml/wireguardpeers.yaml"),
    include_str!("../../../crds/yaml/gatewaynodes.yaml"),
    include_str!("../../../crds/yaml/admission.yaml"),
];

const ROLES: &str = include_str!("../../../examples/roles.yaml");

/// Does what was asked.
pub async fn run(command: Command, context: &Context) -> Result<Exit, Error> {
    match command {
        Command::Generate(args) => generate(args),
        Command::Retire(args) => retire::run(&args, context).await,
    }
}

fn generate(args: Generate) -> Result<Exit, Error> {
    let mut all = DEFINITIONS.to_vec();
    if !args.definitions {
        all.push(ROLES);
    }
    output::bytes(all.join("---\n").as_bytes())?;
    Ok(Exit::Done)
}
