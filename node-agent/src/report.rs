//! Writes a gateway's state into its `GatewayNode`.
//!
//! A report goes out at once when something happened that somebody waits for, then no more often than
//! [`PAUSE`]; without news it is renewed every [`RENEWAL`], so that the operator knows the node is alive.
//! Nothing in it, nor when it is written, depends on what clients do.

use std::time::Duration;

use culvert_crds::conditions::condition;
use culvert_crds::gateway_node::Backend;
use culvert_crds::{ConditionType, GatewayNode, GatewayNodeStatus, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde_json::json;
use tokio::sync::watch;

use crate::clock::{Clocks, sleep};
use crate::gateway::State;

/// The least time between two reports.
const PAUSE: Duration = Duration::from_millis(200);
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
    /// The last version that concerned this gateway's pools, up to what is applied.
    pub news: u64,
}

impl Report {
    /// Whether somebody waits for the difference between two reports. A watermark that moves because time passes is
    /// none.
    fn is_news(&self, before: &Self) -> bool {
        let settled = |report: &Self| {
            let caught_up = report.state.applied.map(|_| 0);
            Self {
                state: State {
                    applied: caught_up,
                    ..report.state.clone()
                },
                ..report.clone()
            }
        };
        settled(self) != settled(before)
    }
}

/// Reports until the sender is gone, or the object is.
pub async fn run(client: Client, name: String, mut reports: watch::Receiver<Option<Report>>) {
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
        match tokio::time::timeout(TIMEOUT, write(&nodes, &name, &report, known.take())).await {
            Ok(Ok(object)) => {
                known = Some(object);
                backoff = BACKOFF;
                sleep(PAUSE).await;
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
        let renewal = sleep(RENEWAL.mul_f64(UnwrapErr(SysRng).random_range(0.9..1.1)));
        let mut renewal = std::pin::pin!(renewal);
        loop {
            let is_news = reports
                .borrow_and_update()
                .as_ref()
                .is_some_and(|new| new.is_news(&report));
            if is_news {
                break;
            }
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return },
                () = &mut renewal => break,
            }
        }
    }
}

async fn write(
    nodes: &Api<GatewayNode>,
    name: &str,
    report: &Report,
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
    let status = status(report, previous, Clocks::read().timestamp());
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

fn status(
    report: &Report,
    previous: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    now: Timestamp,
) -> GatewayNodeStatus {
    let state = &report.state;
    let programmed = match (state.failure, state.applied) {
        (Some(reason), _) => Err(reason),
        (None, None) => Err(Reason::Pending),
        (None, Some(_)) => Ok(()),
    };
    let time = Time(now);
    let mark = |kind, positive| {
        let reason = programmed.err().unwrap_or(positive);
        condition(
            kind,
            programmed.is_ok(),
            reason,
            report.generation,
            &time,
            previous,
        )
    };
    GatewayNodeStatus {
        observed_generation: report.generation,
        public_key: state.public_key.map(|key| key.to_base64()),
        endpoints: report.endpoint.iter().cloned().collect(),
        listen_port: report.listen_port,
        backend: Some(report.backend),
        session: Some(state.session.clone()),
        applied_resource_version: state.applied.map(|version| version.to_string()),
        pools: state.pools.clone(),
        refused: state.refused.clone(),
        drained: state.drained,
        renew_time: Some(MicroTime(now)),
        conditions: vec![
            mark(ConditionType::Programmed, Reason::Programmed),
            mark(ConditionType::Ready, Reason::Ready),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(applied: Option<u64>, news: u64) -> Report {
        Report {
            name: "gw.a".into(),
            generation: 1,
            endpoint: Some("[2001:db8::1]:51820".into()),
            listen_port: Some(51820),
            backend: Backend::Userspace,
            state: State {
                session: "s".into(),
                public_key: None,
                applied,
                pools: Vec::new(),
                refused: None,
                drained: false,
                failure: None,
            },
            news,
        }
    }

    #[test]
    fn a_watermark_that_moves_without_news_is_not_reported_at_once() {
        assert!(!report(Some(9), 5).is_news(&report(Some(8), 5)));
        assert!(report(Some(9), 9).is_news(&report(Some(8), 5)));
        assert!(report(Some(9), 5).is_news(&report(None, 5)));
    }

    #[test]
    fn a_gateway_that_has_not_caught_up_is_not_ready() {
        let status = status(&report(None, 0), &[], Timestamp::UNIX_EPOCH);
        assert_eq!(status.applied_resource_version, None);
        assert_eq!(status.backend, Some(Backend::Userspace));
        assert!(
            status
                .conditions
                .iter()
                .all(|c| c.status == "False" && c.reason == "Pending")
        );
    }
}
