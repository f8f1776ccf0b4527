//! `install retire`: the effects of [`crate::retire`].

use std::time::Duration;

use culvert_crds::{GatewayNode, IPPool};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};

use crate::Error;
use crate::clock;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::duration;
use crate::exit::{self, Exit};
use crate::gateways::list;
use crate::keys::MANAGED_BY;
use crate::output::{self, Progress};
use crate::request::{Ask, Failure, Why, patch_params};
use crate::retire::{self, LEASE};

const EXAMPLES: &str = "\
Examples:
  kubectl culvert install retire
  helm uninstall culvert --namespace culvert-system     # does so by itself";

/// How often nodes are asked whether they have left.
const LOOK: Duration = Duration::from_secs(1);

/// How often the Lease is renewed.
const RENEW: Duration = Duration::from_secs(5);

/// How long whoever held the Lease may go on to act: longer than an operator counts itself in.
const RIVAL: Duration = Duration::from_secs(10);

/// How often a write is tried that somebody else's was faster than.
const TRIES: u8 = 10;

/// Flags of `install retire`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
pub struct Retire {
    /// The namespace that the operator runs in.
    #[arg(long, default_value = "culvert-system", value_name = "NAME")]
    pub system_namespace: String,

    /// How long to wait for the nodes. One that has not answered by then is named, and keeps nothing from going.
    #[arg(long, default_value = "45s", value_name = "DURATION", value_parser = duration::parse_timeout)]
    pub wait: Duration,
}

/// Does what was asked.
pub async fn run(args: &Retire, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?;
    if let Err(failure) = list::<GatewayNode>(&cluster, "gatewaynodes").await {
        if failure.is_of_no_kind() {
            output::line("there is nothing to retire: the cluster knows no kind of culvert.dev")?;
            return Ok(Exit::Done);
        }
        return Err(failure.into());
    }
    if hold(&cluster, &args.system_namespace).await? {
        // It would bring back at once what is asked to leave now.
        clock::until(clock::now().boot + RIVAL).await;
    }
    output::line("the operator is kept out")?;
    for node in list::<GatewayNode>(&cluster, "gatewaynodes").await? {
        ask(&cluster, &node).await?;
    }
    let silent = wait(&cluster, args, context).await?;
    for node in &silent {
        output::note(&format!(
            "{} has not answered: on node {} the interface may still be there, with what it knows of clients; `ip link show type wireguard` there shows it, `ip link delete` ends it",
            node.name_any(),
            node.spec.node_name,
        ));
    }
    for pool in list::<IPPool>(&cluster, "ippools").await? {
        let_go(&cluster, pool).await?;
    }
    for node in list::<GatewayNode>(&cluster, "gatewaynodes").await? {
        if retire::is_ours(&node) {
            remove(&cluster, &node).await?;
        }
    }
    // For what is left to do after this program.
    hold(&cluster, &args.system_namespace).await?;
    output::line("Culvert can be taken away; keys, pools and gateways stay")?;
    Ok(Exit::Done)
}

/// Takes or renews the Lease; whether somebody else had it.
async fn hold(cluster: &Cluster, namespace: &str) -> Result<bool, Error> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let about = |verb| Ask::within(verb, "leases", namespace).named(LEASE);
    let params = PostParams {
        field_manager: Some(MANAGED_BY.to_owned()),
        ..PostParams::default()
    };
    let mut tries = 0;
    loop {
        let found = cluster.ask(about("get"), leases.get_opt(LEASE)).await?;
        let had_rival = retire::has_rival(found.as_ref());
        let is_new = found.is_none();
        let lease = retire::taken(found, clock::now().wall);
        let written = if is_new {
            cluster.ask(about("create"), leases.create(&params, &lease)).await
        } else {
            cluster
                .ask(about("update"), leases.replace(LEASE, &params, &lease))
                .await
        };
        match written {
            Ok(_) => return Ok(had_rival),
            Err(failure) if tries < TRIES && is_overtaken(&failure) => tries += 1,
            Err(failure) => return Err(failure.into()),
        }
    }
}

fn is_overtaken(failure: &Failure) -> bool {
    matches!(failure.why, Why::Conflict | Why::AlreadyExists | Why::NotFound)
}

async fn ask(cluster: &Cluster, node: &GatewayNode) -> Result<(), Error> {
    let Some(patch) = retire::request(node) else {
        return Ok(());
    };
    let name = node.name_any();
    let nodes = cluster.all::<GatewayNode>();
    let ask = Ask::cluster("patch", "gatewaynodes").named(&name);
    let (params, patch) = (patch_params(), Patch::Merge(&patch));
    gone_is_well(cluster.ask(ask, nodes.patch(&name, &params, &patch)).await)
}

/// Waits until every node has left or the time is over; gives those that have not.
async fn wait(cluster: &Cluster, args: &Retire, context: &Context) -> Result<Vec<GatewayNode>, Error> {
    let mut progress = Progress::new(context.screen);
    let mut renewed = clock::now().boot;
    let deadline = renewed + args.wait;
    loop {
        let mut nodes = list::<GatewayNode>(cluster, "gatewaynodes").await?;
        nodes.retain(|node| !retire::has_left(node));
        let now = clock::now().boot;
        if nodes.is_empty() || now >= deadline {
            progress.end();
            return Ok(nodes);
        }
        progress.show(&format!("waiting for {} nodes", nodes.len()));
        if now >= renewed + RENEW {
            hold(cluster, &args.system_namespace).await?;
            renewed = now;
        }
        clock::until((now + LOOK).min(deadline)).await;
    }
}

async fn let_go(cluster: &Cluster, pool: IPPool) -> Result<(), Error> {
    let name = pool.name_any();
    let pools = cluster.all::<IPPool>();
    let mut pool = Some(pool);
    let mut tries = 0;
    while let Some(patch) = pool.as_ref().and_then(retire::release) {
        let ask = Ask::cluster("patch", "ippools").named(&name);
        match cluster
            .ask(ask, pools.patch(&name, &patch_params(), &Patch::Merge(&patch)))
            .await
        {
            Ok(_) => output::line(&format!("pool {name} is let go"))?,
            Err(failure) if matches!(failure.why, Why::NotFound) => {}
            Err(failure) if tries < TRIES && is_overtaken(&failure) => {
                tries += 1;
                let ask = Ask::cluster("get", "ippools").named(&name);
                pool = cluster.ask(ask, pools.get_opt(&name)).await?;
                continue;
            }
            Err(failure) => return Err(failure.into()),
        }
        return Ok(());
    }
    Ok(())
}

async fn remove(cluster: &Cluster, node: &GatewayNode) -> Result<(), Error> {
    let name = node.name_any();
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: node.metadata.uid.clone(),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    let nodes = cluster.all::<GatewayNode>();
    let ask = Ask::cluster("delete", "gatewaynodes").named(&name);
    gone_is_well(cluster.ask(ask, nodes.delete(&name, &params)).await)?;
    let said = if retire::has_left(node) {
        "has left"
    } else {
        "is given up"
    };
    Ok(output::line(&format!("{name} {said}"))?)
}

/// What is gone need not be asked, or removed.
fn gone_is_well<T>(result: Result<T, Failure>) -> Result<(), Error> {
    match result {
        Err(failure) if !matches!(failure.why, Why::NotFound) => Err(failure.into()),
        _ => Ok(()),
    }
}
