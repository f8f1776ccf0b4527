//! `__complete`, which shells and kubectl ask; and `completion`, which gives a shell what asks it.

use std::time::Duration;

use clap::{CommandFactory as _, Parser as _, ValueEnum};
use culvert_crds::{GatewayNode, IPPool};
use k8s_openapi::api::core::v1::Namespace;
use kube::config::Kubeconfig;

use crate::Error;
use crate::args::Cli;
use crate::cluster::{Cluster, ClusterArgs};
use crate::completion::{self, Live};
use crate::exit::{self, Exit};
use crate::{gateways, keys, output};

/// The name by which kubectl asks this program.
pub const ASKED_AS: &str = "kubectl_complete-culvert";

/// Longer than a person waits for a tab.
const PATIENCE: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  # kubectl's own completion asks a program of this name
  ln -s \"$(command -v kubectl-culvert)\" ~/.local/bin/kubectl_complete-culvert

  # For kubectl-culvert itself
  source <(kubectl culvert completion bash)";

/// Flags of `completion`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Local))]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash 4 or newer.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// Words of a command line; the last is to be completed.
#[derive(Clone, Debug, clap::Args)]
pub struct Words {
    /// The words.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// Prints the script of a shell.
pub fn script(args: Args) -> Result<Exit, Error> {
    let text = match args.shell {
        Shell::Bash => include_str!("complete/bash.sh"),
        Shell::Zsh => include_str!("complete/zsh.sh"),
        Shell::Fish => include_str!("complete/fish.fish"),
    };
    output::bytes(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Prints what may stand at the place of the last word. What cannot be asked for is left out: nobody reads an error there.
pub async fn answer(words: &[String]) -> Result<Exit, Error> {
    let mut root = Cli::command();
    root.build();
    let choices = completion::choices(&root, words);
    let names = match choices.live {
        Some(live) => {
            let asked = names(live, words);
            tokio::time::timeout(PATIENCE, asked)
                .await
                .ok()
                .flatten()
                .unwrap_or_default()
        }
        None => Vec::new(),
    };
    let prefix = words.last().map(String::as_str).unwrap_or_default();
    output::bytes(completion::answer(&choices, &names, prefix).as_bytes())?;
    Ok(Exit::Done)
}

/// kubectl's flags, as far as the line has them.
fn flags(words: &[String]) -> ClusterArgs {
    /// Those flags and anything else.
    #[derive(clap::Parser)]
    #[command(ignore_errors = true, disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        cluster: ClusterArgs,
    }
    let mut chosen = vec!["line".to_owned()];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        if [
            "-n",
            "--namespace",
            "--context",
            "--kubeconfig",
            "--as",
            "--as-group",
        ]
        .contains(&name)
        {
            chosen.push(word.clone());
            if !word.contains('=') {
                chosen.extend(words.next().cloned());
            }
        }
    }
    Line::try_parse_from(chosen)
        .map(|line| line.cluster)
        .unwrap_or_default()
}

async fn names(live: Live, words: &[String]) -> Option<Vec<String>> {
    // The last word is being written.
    let args = flags(words.split_last()?.1);
    if live == Live::Contexts {
        let file = match &args.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        return Some(
            file.ok()?
                .contexts
                .into_iter()
                .map(|context| context.name)
                .collect(),
        );
    }
    let cluster = Cluster::find(&args).await.ok()?;
    let mut names = match live {
        Live::Keys => named(&keys::list(&cluster, false, None).await.ok()?),
        Live::Pools => named(&gateways::list::<IPPool>(&cluster, "ippools").await.ok()?),
        Live::Namespaces => named(&gateways::list::<Namespace>(&cluster, "namespaces").await.ok()?),
        Live::Gateways => {
            let nodes = gateways::list::<GatewayNode>(&cluster, "gatewaynodes")
                .await
                .ok()?;
            nodes.into_iter().map(|node| node.spec.node_name).collect()
        }
        Live::Contexts => Vec::new(),
    };
    names.sort();
    names.dedup();
    Some(names)
}

fn named<K: kube::Resource>(objects: &[K]) -> Vec<String> {
    objects.iter().map(kube::ResourceExt::name_any).collect()
}
