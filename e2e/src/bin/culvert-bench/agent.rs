//! A stand-in for a node's agent: it answers as one, and has no kernel.
//!
//! Just what an agent does towards the API, in its rhythm: it watches all peers; each one of its pool is news, and is
//! reported at once by one replacement of its `GatewayNode`'s status, with the version up to which it has seen
//! everything; then it is silent for 200 ms, while more news gathers; without news it reports every 30 s. What is missing
//! is the work on the kernel between the event and the report: a fraction of a millisecond for one peer.

use std::time::Duration;

use anyhow::{Context, Result};
use culvert_crds::{
    ConditionType, GatewayNode, GatewayNodeStatus, Reason, WireGuardPeer,
    conditions::condition,
    gateway_node::{Backend, gateway_node_name},
};
use culvert_e2e::wait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::{Api, Client, Resource, api::PostParams};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    observer::{follow, version},
    stage::{SERVED_POOL, Stage},
};

/// The least time between two reports.
pub const PAUSE: Duration = Duration::from_millis(200);

/// The time between two reports without news.
const RENEWAL: Duration = Duration::from_secs(30);

const GATEWAY: &str = "bench";
const NODE: &str = "gateway-1";

/// The stand-in; it ends when it is dropped.
pub struct Agent {
    _tasks: JoinSet<Result<()>>,
}

/// How far it has got.
#[derive(Clone, Copy, Default, PartialEq)]
struct Progress {
    applied: u64,
    /// The last version that is one of its pool's.
    news: u64,
}

/// Makes a node and a gateway on it. An operator must be running.
pub async fn make_gateway(stage: &Stage) -> Result<()> {
    stage
        .apply(&json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": NODE, "labels": { "culvert.dev/gateway": "true" } },
        }))
        .await?;
    stage
        .apply(&json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "WireGuardGateway",
            "metadata": { "name": GATEWAY },
            "spec": {
                "nodeSelector": { "culvert.dev/gateway": "true" },
                "poolRefs": [{ "name": SERVED_POOL }],
                "endpoint": { "hostTemplate": "{node}.vpn.example.com" },
            },
        }))
        .await
}

impl Agent {
    /// Starts it, and returns when it has reported for the first time.
    pub async fn start(client: Client) -> Result<Self> {
        let nodes: Api<GatewayNode> = Api::all(client.clone());
        let name = gateway_node_name(GATEWAY, NODE);
        let node = wait::until("the gateway node", Duration::from_secs(60), || async {
            nodes
                .get_opt(&name)
                .await
                .context("failed to read the gateway node")
        })
        .await?;
        let path = WireGuardPeer::url_path(&(), None);
        let from = version(&client, &path).await?;
        let begun = Progress {
            applied: from.parse()?,
            news: 0,
        };
        let (progress, reports) = watch::channel(begun);
        let node = report(&nodes, node, begun).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(client, path, from, move |peer| {
            let Ok(applied) = peer.metadata.resource_version.parse() else {
                return;
            };
            progress.send_modify(|progress| {
                progress.applied = applied;
                if peer.pool() == SERVED_POOL {
                    progress.news = applied;
                }
            });
        }));
        tasks.spawn(run(nodes, node, reports));
        Ok(Self { _tasks: tasks })
    }
}

async fn run(
    nodes: Api<GatewayNode>,
    mut node: GatewayNode,
    mut reports: watch::Receiver<Progress>,
) -> Result<()> {
    let mut reported = Progress::default();
    loop {
        tokio::select! {
            found = reports.wait_for(|progress| progress.news > reported.news) => { found?; }
            () = wait::pass(RENEWAL) => {}
        }
        reported = *reports.borrow();
        node = report(&nodes, node, reported).await?;
        wait::pass(PAUSE).await;
    }
}

async fn report(nodes: &Api<GatewayNode>, node: GatewayNode, progress: Progress) -> Result<GatewayNode> {
    let now = wait::wall();
    let previous = node.status.map(|status| status.conditions).unwrap_or_default();
    let generation = node.metadata.generation.unwrap_or_default();
    let mark = |kind, reason| condition(kind, true, reason, generation, &Time(now), &previous);
    let status = GatewayNodeStatus {
        observed_generation: generation,
        public_key: Some("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".to_owned()),
        endpoints: vec![format!("{NODE}.vpn.example.com:51820")],
        listen_port: Some(51820),
        backend: Some(Backend::Kernel),
        uplink_mtu: None,
        session: Some("0f1f0a1b2c3d4d0e".to_owned()),
        applied_resource_version: Some(progress.applied.to_string()),
        pools: vec![SERVED_POOL.to_owned()],
        refused: None,
        drained: false,
        purged_generation: None,
        renew_time: Some(MicroTime(now)),
        conditions: vec![
            mark(ConditionType::Programmed, Reason::Programmed),
            mark(ConditionType::Ready, Reason::Ready),
        ],
    };
    let name = node.metadata.name.context("a gateway node has no name")?;
    let body = json!({
        "apiVersion": GatewayNode::api_version(&()),
        "kind": GatewayNode::kind(&()),
        "metadata": { "name": name, "uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version },
        "status": status,
    });
    let params = PostParams {
        field_manager: Some("culvert-node-agent".to_owned()),
        ..PostParams::default()
    };
    nodes
        .replace_subresource("status", &name, &params, &body)
        .await
        .context("failed to report")
}
