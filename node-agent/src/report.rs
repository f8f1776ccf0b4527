//! Writes a gateway's state into its `GatewayNode`.
//!
//! A report goes out at once when something happened that somebody waits for, then no more often than the apiserver
//! can bear from all the gateway's nodes together; without news it is renewed every [`RENEWAL`], so that the operator
//! knows the node is alive. Nothing in it, nor when it is written, depends on what clients do.

#[cfg(test)]
mod tests;

use std::time::Duration;

use culvert_crds::conditions::{condition, condition_of_all};
use culvert_crds::gateway_node::Backend;
use culvert_crds::{ConditionType, GatewayNode, GatewayNodeStatus, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde_json::json;
use tokio::sync::watch;

use crate::assignment::Assignment;
use crate::clock::{Clocks, sleep};
use crate::gateway::State;
use crate::privacy::Finding;

/// The least time between two reports of one gateway on one node …
const PAUSE: Duration = Duration::from_millis(200);
/// … and that which each of its nodes adds: an apiserver that hears of every node for every key has no time for keys.
const PAUSE_PER_NODE: Duration = Duration::from_millis(5);
/// The time between two reports without news, a tenth more or less.
const RENEWAL: Duration = Duration::from_secs(30);
/// How long to wait after a failure, doubled up to [`RENEWAL`].
const BACKOFF: Duration = Duration::from_millis(500);
/// How long a report may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be reported, and which part of it is news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name of the `GatewayNode`.
    pub name: String,
    /// Generation of the spec that is answered.
    pub generation: i64,
    /// Where clients connect, as `host:port`.
    pub endpoint: Option<String>,
    /// UDP port of the interface.
    pub listen_port: Option<u16>,
    /// What moves the packets.
    pub backend: Backend,
    /// What was done.
    pub state: State,
    /// How many nodes the gateway has.
    pub nodes: u32,
    /// The last version that concerned this gateway's pools, up to what is applied.
    pub news: u64,
}

impl Report {
    /// What there is to say of a gateway that serves. `last_change` is the last version that concerned its pools.
    pub fn of(assignment: &Assignment, backend: Backend, state: State, last_change: u64) -> Self {
        Self {
            name: assignment.name.clone(),
            generation: assignment.generation,
            endpoint: assignment.endpoint(),
            listen_port: Some(assignment.listen_port),
            backend,
            nodes: assignment.nodes,
            news: last_change.min(state.applied.unwrap_or(0)),
            state,
        }
    }

    /// Whether somebody waits for the difference between two reports. A watermark that moves because time passes is
    /// none, nor is another node.
    fn is_news(&self, before: &Self) -> bool {
        let settled = |report: &Self| {
            let caught_up = report.state.applied.map(|_| 0);
            Self {
                state: State {
                    applied: caught_up,
                    ..report.state.clone()
                },
                nodes: 0,
                ..report.clone()
            }
        };
        settled(self) != settled(before)
    }

    /// How long the next report has to wait after this one.
    fn pause(&self) -> Duration {
        PAUSE.max(PAUSE_PER_NODE * self.nodes)
    }
}

/// Reports until the sender is gone, or the object is. `privacy` is what the node was last found to do.
pub async fn run(
    client: Client,
    name: String,
    mut reports: watch::Receiver<Option<Report>>,
    mut privacy: watch::Receiver<Finding>,
) {
    let nodes: Api<GatewayNode> = Api::all(client);
    let mut backoff = BACKOFF;
    let mut known: Option<GatewayNode> = None;
    loop {
        let Some(report) = reports.borrow_and_update().clone() else {
            if reports.changed().await.is_err() {
                return;
            }
            continue;
        };
        let found = *privacy.borrow_and_update();
        let writing = write(&nodes, &name, (&report, found), known.take());
        match tokio::time::timeout(TIMEOUT, writing).await {
            Ok(Ok(object)) => {
                known = Some(object);
                backoff = BACKOFF;
                sleep(report.pause()).await;
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => return,
            failure => {
                let code = match failure {
                    Ok(Err(kube::Error::Api(status))) => status.code,
                    _ => 0,
                };
                if backoff > BACKOFF {
                    tracing::warn!(code, "unable to report, trying again");
                }
                sleep(backoff.mul_f64(UnwrapErr(SysRng).random_range(0.8..1.2))).await;
                backoff = RENEWAL.min(backoff * 2);
                continue;
            }
        }
        let renewal = RENEWAL.mul_f64(UnwrapErr(SysRng).random_range(0.9..1.1));
        let mut renewal = std::pin::pin!(sleep(renewal.saturating_sub(report.pause())));
        loop {
            let is_news = reports
                .borrow_and_update()
                .as_ref()
                .is_some_and(|new| new.is_news(&report));
            if is_news || *privacy.borrow_and_update() != found {
                break;
            }
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return },
                // Whoever looked has ended: what was found last stays true.
                Ok(()) = privacy.changed() => {}
                () = &mut renewal => break,
            }
        }
    }
}

async fn write(
    nodes: &Api<GatewayNode>,
    name: &str,
    (report, privacy): (&Report, Finding),
    known: Option<GatewayNode>,
) -> kube::Result<GatewayNode> {
    let object = match known {
        Some(object) => object,
        None => nodes.get(name).await?,
    };
    let previous = object
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let status = status(report, privacy, previous, Clocks::read().timestamp());
    let body = json!({
        "apiVersion": GatewayNode::api_version(&()),
        "kind": GatewayNode::kind(&()),
        "metadata": { "name": name, "uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version },
        "status": status,
    });
    let params = PostParams {
        field_manager: Some("culvert-node-agent".to_owned()),
        ..PostParams::default()
    };
    nodes.replace_subresource("status", name, &params, &body).await
}

fn status(report: &Report, privacy: Finding, previous: &[Condition], now: Timestamp) -> GatewayNodeStatus {
    let state = &report.state;
    let programmed = match (state.failure, state.applied) {
        (Some(reason), _) => Err(reason),
        (None, None) => Err(Reason::Pending),
        (None, Some(_)) => Ok(()),
    };
    let time = Time(now);
    let mark = |kind, is_so, reason| condition(kind, is_so, reason, report.generation, &time, previous);
    let answer = |kind, positive| {
        let reason = programmed.err().unwrap_or(positive);
        mark(kind, programmed.is_ok(), reason)
    };
    let mut conditions = vec![
        answer(ConditionType::Programmed, Reason::Programmed),
        answer(ConditionType::Ready, Reason::Ready),
    ];
    let (is_degraded, reasons) = match privacy {
        Finding::Degraded(causes) => (true, causes.reasons()),
        Finding::Nothing => (false, vec![Reason::NothingFound]),
        Finding::Unknown => (false, Vec::new()),
    };
    let kind = ConditionType::PrivacyDegraded;
    let generation = report.generation;
    conditions.extend(condition_of_all(
        kind,
        is_degraded,
        &reasons,
        generation,
        &time,
        previous,
    ));
    conditions.extend(
        state
            .egress
            .map(|reason| mark(ConditionType::EgressReady, reason == Reason::Ready, reason)),
    );
    GatewayNodeStatus {
        observed_generation: report.generation,
        public_key: state.public_key.map(|key| key.to_base64()),
        endpoints: report.endpoint.iter().cloned().collect(),
        listen_port: report.listen_port,
        backend: Some(report.backend),
        uplink_mtu: state.uplink_mtu,
        session: Some(state.session.clone()),
        applied_resource_version: state.applied.map(|version| version.to_string()),
        pools: state.pools.clone(),
        refused: state.refused.clone(),
        drained: state.drained,
        purged_generation: Some(state.purged),
        renew_time: Some(MicroTime(now)),
        conditions,
    }
}
