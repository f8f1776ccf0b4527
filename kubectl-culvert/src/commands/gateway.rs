//! `gateway drain` and `gateway purge`: asked for in `GatewayNode.spec`, answered by the node's agent.

use std::time::Duration;

use clap::Subcommand;
use culvert_crds::GatewayNode;
use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::Patch;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};

use crate::Error;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::duration;
use crate::exit::{self, Exit};
use crate::gateways::{self, GatewayError};
use crate::output::{self, Progress};
use crate::request::{Ask, patch_params};

const EXAMPLES: &str = "\
Examples:
  # Before the node is shut down
  kubectl culvert gateway drain gateway-1

  # Every gateway forgets every client now
  kubectl culvert gateway purge --all";

/// What to do with gateways.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES, after_long_help = exit::below(EXAMPLES))]
pub enum Command {
    /// Have nodes forget all peers, delete the interface and stay away.
    Drain(Drain),

    /// Have nodes forget every client now, live sessions included: they begin anew, each with a handshake.
    Purge(Purge),
}

const DRAIN: &str = "\
Examples:
  # Before the node is shut down; returns when its agent says that all is forgotten
  kubectl culvert gateway drain gateway-1

  # It serves again
  kubectl culvert gateway drain gateway-1 --undo";

const PURGE: &str = "\
Examples:
  kubectl culvert gateway purge gateway-1

  # Every gateway on every node, without waiting for them
  kubectl culvert gateway purge --all --wait 0";

/// Flags of `gateway drain`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = DRAIN, after_long_help = exit::after(DRAIN, exit::Does::Writes))]
pub struct Drain {
    /// The nodes.
    #[arg(required = true)]
    pub nodes: Vec<String>,

    /// Bring them back.
    #[arg(long)]
    pub undo: bool,

    /// How long to wait for the nodes; 0 not to wait.
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = duration::parse_timeout)]
    pub wait: Duration,
}

/// Flags of `gateway purge`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "kubectl culvert gateway purge [OPTIONS] <NODES>...\n       kubectl culvert gateway purge [OPTIONS] --all",
    after_help = PURGE,
    after_long_help = exit::after(PURGE, exit::Does::Writes)
)]
pub struct Purge {
    /// The nodes.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub nodes: Vec<String>,

    /// Every gateway on every node.
    #[arg(long)]
    pub all: bool,

    /// How long to wait for the nodes; 0 not to wait.
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = duration::parse_timeout)]
    pub wait: Duration,
}

/// What is asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Drain,
    Undo,
    Purge,
}

impl Wish {
    fn spec(self, node: &GatewayNode) -> Value {
        match self {
            Self::Drain => json!({ "drain": true }),
            Self::Undo => json!({ "drain": false }),
            Self::Purge => json!({ "purgeGeneration": node.spec.purge_generation + 1 }),
        }
    }

    /// Whether the agent has answered what the spec of this generation asks.
    fn is_done(self, node: &GatewayNode, asked: &GatewayNode) -> bool {
        let status = node.status.clone().unwrap_or_default();
        let answers = Some(status.observed_generation) >= asked.metadata.generation;
        match self {
            Self::Drain => answers && status.drained,
            Self::Undo => answers && !status.drained,
            Self::Purge => status.purged_generation >= Some(asked.spec.purge_generation),
        }
    }

    fn said(self) -> &'static str {
        match self {
            Self::Drain => "is drained: it has forgotten all peers, and its interface is gone",
            Self::Undo => "is back",
            Self::Purge => "has forgotten every client",
        }
    }
}

/// A node has not done what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("gateway `{name}` has not answered after {waited}")]
pub struct Unanswered {
    /// The `GatewayNode`.
    pub name: String,

    /// How long was waited.
    pub waited: String,
}

/// Does what was asked.
pub async fn run(command: Command, context: &Context) -> Result<Exit, Error> {
    let (nodes, wish, wait) = match command {
        Command::Drain(args) => (
            args.nodes,
            if args.undo { Wish::Undo } else { Wish::Drain },
            args.wait,
        ),
        Command::Purge(args) => (args.nodes, Wish::Purge, args.wait),
    };
    let cluster = context.administered().await?;
    let known = gateways::list::<GatewayNode>(&cluster, "gatewaynodes").await?;
    let chosen = choose(known, &nodes)?;
    // All are asked before any is waited for.
    let mut asked = Vec::new();
    for node in &chosen {
        asked.push(ask(&cluster, node, wish).await?);
    }
    if wait.is_zero() {
        for node in &asked {
            output::line(&format!("{} is asked", node.name_any()))?;
        }
        return Ok(Exit::Done);
    }
    let mut first = None;
    for node in &asked {
        let mut progress = Progress::new(context.screen);
        progress.show(&format!("waiting for {}", node.name_any()));
        let answered = answered(&cluster, node, wish, wait).await;
        progress.end();
        match answered {
            Ok(()) => output::line(&format!("{} {}", node.name_any(), wish.said()))?,
            Err(error) if first.is_none() => first = Some(error),
            Err(error) => crate::error::print(&error, context.screen),
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(Exit::Done),
    }
}

/// Those of these nodes, or all where none is named. A node may serve several gateways; each name has to fit one.
fn choose(known: Vec<GatewayNode>, names: &[String]) -> Result<Vec<GatewayNode>, GatewayError> {
    let fits = |node: &GatewayNode, name: &String| *name == node.spec.node_name || *name == node.name_any();
    for name in names {
        if !known.iter().any(|node| fits(node, name)) {
            return Err(GatewayError::NoNode {
                name: name.clone(),
                known: known.iter().map(|node| node.spec.node_name.clone()).collect(),
            });
        }
    }
    let mut chosen = known;
    chosen.retain(|node| names.is_empty() || names.iter().any(|name| fits(node, name)));
    Ok(chosen)
}

async fn ask(cluster: &Cluster, node: &GatewayNode, wish: Wish) -> Result<GatewayNode, Error> {
    let name = node.name_any();
    let patch = json!({
        "metadata": { "uid": node.metadata.uid },
        "spec": wish.spec(node),
    });
    let params = patch_params();
    let api = cluster.all::<GatewayNode>();
    let ask = Ask::cluster("patch", "gatewaynodes").named(&name);
    Ok(cluster
        .ask(ask, api.patch(&name, &params, &Patch::Merge(&patch)))
        .await?)
}

async fn answered(
    cluster: &Cluster,
    asked: &GatewayNode,
    wish: Wish,
    patience: Duration,
) -> Result<(), Error> {
    let name = asked.name_any();
    let watched = async {
        let mut objects =
            std::pin::pin!(watcher::watch_object(cluster.all::<GatewayNode>(), &name).default_backoff());
        loop {
            // What fails is tried again; a node that is gone is drained for good.
            match objects.next().await {
                Some(Ok(Some(node))) if wish.is_done(&node, asked) => return,
                Some(Ok(None)) if wish == Wish::Drain => return,
                _ => {}
            }
        }
    };
    let unanswered = |_| Unanswered {
        name: name.clone(),
        waited: duration::text(patience),
    };
    Ok(tokio::time::timeout(patience, watched)
        .await
        .map_err(unanswered)?)
}
