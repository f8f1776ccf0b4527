//! Carries out steps: one request each (two where the first must be understood), in no wider order.
//!
//! It decides nothing. A reply is passed on as a [`Change`], so the world learns of a write no later
//! than of anything that follows from it; a failure says whether another try can help.

mod api;
mod claim;
mod event;
mod fleet;
pub mod retry;

use culvert_crds::gateway_node::LEAVING;
use culvert_crds::{IPPool, WireGuardGateway, WireGuardKey};
use kube::{Client, Resource};
use serde::Serialize;
use serde_json::{Value, json};

use crate::observe::POOL_FINALIZER;
use crate::plan::Step;
use crate::world::{Change, Kind};
use api::Objects;
pub use event::Events;
use retry::Failure;

/// The name under which the operator's writes are recorded.
pub const FIELD_MANAGER: &str = "culvert-operator";

/// What a step taught.
pub type Outcome = Result<Vec<Change>, Failure>;

/// Carries out one step.
pub async fn execute(client: &Client, events: &Events, step: Step) -> Outcome {
    let all = |kind| Objects::all(client, kind);
    match step {
        Step::CreateClaim(new) => claim::create(client, new).await,
        Step::ProveGone { namespace, asked } => claim::prove(client, namespace, asked).await,
        Step::ReleaseOrphan(orphan) => claim::release_orphan(client, *orphan).await,
        Step::ReleaseClaim { claim, key_version } => claim::release_of(client, *claim, key_version).await,
        Step::DeleteClaim {
            uid,
            addresses,
            resource_version,
        } => {
            let name = addresses.claim_name();
            all(Kind::Claim).delete(&name, uid, resource_version).await
        }
        Step::PublishKey(news) => {
            if let Some(held) = claim::still_held(client, &news).await? {
                return Ok(vec![held]);
            }
            let metadata = json!({
                "name": news.name,
                "namespace": &*news.namespace,
                "uid": news.uid.to_string(),
                "resourceVersion": news.resource_version.to_string(),
            });
            let object = with_status::<WireGuardKey>(&metadata, &news.status.write());
            let keys = Objects::keys(client, &news.namespace);
            let outcome = keys.replace_status(&news.name, &object).await;
            if let (Ok(_), Some(reason)) = (&outcome, news.event) {
                events.tell::<WireGuardKey>(Some(news.namespace.to_string()), news.name, news.uid, reason);
            }
            outcome
        }
        Step::CreateGatewayNode(new) => fleet::create(client, new).await,
        Step::MoveGatewayNode {
            name,
            resource_version,
            endpoint_host,
        } => {
            let patch = json!({
                "metadata": { "resourceVersion": resource_version.to_string() },
                "spec": { "endpointHost": endpoint_host },
            });
            all(Kind::GatewayNode).merge(&name, patch).await
        }
        Step::DrainGatewayNode {
            name,
            resource_version,
            grounds,
        } => {
            fleet::confirm(client, *grounds).await?;
            let patch = json!({
                "metadata": {
                    "resourceVersion": resource_version.to_string(),
                    "annotations": { LEAVING: "true" },
                },
                "spec": { "drain": true },
            });
            all(Kind::GatewayNode).merge(&name, patch).await
        }
        Step::DeleteGatewayNode {
            name,
            uid,
            resource_version,
            grounds,
        } => {
            fleet::confirm(client, *grounds).await?;
            all(Kind::GatewayNode).delete(&name, uid, resource_version).await
        }
        Step::GuardPool { name, guarded } => guard_pool(client, &name, guarded).await,
        Step::PublishPool {
            name,
            uid,
            resource_version,
            status,
            event,
        } => {
            let object = with_status::<IPPool>(&version(&name, resource_version), &status);
            let outcome = all(Kind::Pool).replace_status(&name, &object).await;
            if let (Ok(_), Some(reason)) = (&outcome, event) {
                events.tell::<IPPool>(None, name, uid, reason);
            }
            outcome
        }
        Step::PublishGateway {
            name,
            resource_version,
            status,
        } => {
            let object = with_status::<WireGuardGateway>(&version(&name, resource_version), &status);
            all(Kind::Gateway).replace_status(&name, &object).await
        }
    }
}

fn version(name: &str, resource_version: u64) -> Value {
    json!({ "name": name, "resourceVersion": resource_version.to_string() })
}

/// An object for the replacement of its status. The version in its metadata guards against everything the plan has not
/// seen; the spec is left out: a status write ignores it, and a stale copy could only do harm.
fn with_status<K: Resource<DynamicType = ()>>(metadata: &Value, status: &impl Serialize) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    })
}

async fn guard_pool(client: &Client, name: &str, guarded: bool) -> Outcome {
    let pools = Objects::all(client, Kind::Pool);
    if !guarded {
        // Whoever owns the field: a restored pool's finalizers belong to the tool that restored it.
        let pool = pools.get(name).await?;
        let kept: Vec<_> = pool
            .metadata
            .finalizers
            .iter()
            .filter(|f| *f != POOL_FINALIZER)
            .collect();
        let patch = json!({
            "metadata": {
                "finalizers": kept,
                "resourceVersion": pool.metadata.resource_version.to_string(),
            },
        });
        return pools.merge(name, patch).await;
    }
    // Server-side apply under a name of its own: it owns the finalizer and nothing of the user's.
    let patch = json!({
        "apiVersion": IPPool::api_version(&()),
        "kind": IPPool::kind(&()),
        "metadata": { "name": name, "finalizers": [POOL_FINALIZER] },
    });
    pools
        .apply(name, format!("{FIELD_MANAGER}-finalizer"), patch)
        .await
}
