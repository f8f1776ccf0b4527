//! Carries out steps: one request each (two where the first must be understood), in no wider order.
//!
//! It decides nothing. A reply is passed on as a [`Change`], so the world learns of a write no later
//! than of anything that follows from it; a failure says whether another try can help.

mod claim;
pub mod retry;

use culvert_crds::{GatewayNode, GatewayNodeSpec, IPPool, WireGuardGateway, WireGuardKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde_json::json;

use crate::observe::{LEAVING, Observed, POOL_FINALIZER};
use crate::plan::{NewGatewayNode, Step};
use crate::world::{Change, Uid};
use retry::Failure;

/// The name under which the operator's writes are recorded.
pub const FIELD_MANAGER: &str = "culvert-operator";

/// What a step taught.
pub type Outcome = Result<Vec<Change>, Failure>;

/// Carries out one step.
pub async fn execute(client: &Client, step: Step) -> Outcome {
    match step {
        Step::CreateClaim(new) => claim::create(client, new).await,
        Step::ReleaseOrphan(orphan) => claim::release_orphan(client, *orphan).await,
        Step::ReleaseClaim(held) => claim::release(client, *held).await,
        Step::DeleteClaim {
            uid,
            name,
            resource_version,
        } => {
            delete(
                &Api::<culvert_crds::WireGuardPeer>::all(client.clone()),
                &name,
                uid,
                resource_version,
            )
            .await
        }
        Step::PublishKey {
            uid,
            namespace,
            name,
            resource_version,
            status,
        } => {
            let keys: Api<WireGuardKey> = Api::namespaced(client.clone(), &namespace);
            publish(&keys, &name, Some(uid), resource_version, &status.write()).await
        }
        Step::CreateGatewayNode(new) => create_gateway_node(client, new).await,
        Step::DrainGatewayNode {
            name,
            resource_version,
        } => {
            let nodes: Api<GatewayNode> = Api::all(client.clone());
            let patch = json!({
                "metadata": {
                    "resourceVersion": resource_version.to_string(),
                    "annotations": { LEAVING: "true" },
                },
                "spec": { "drain": true },
            });
            learned(nodes.patch(&name, &patched(), &Patch::Merge(patch)).await)
        }
        Step::DeleteGatewayNode {
            name,
            uid,
            resource_version,
        } => {
            delete(
                &Api::<GatewayNode>::all(client.clone()),
                &name,
                uid,
                resource_version,
            )
            .await
        }
        Step::GuardPool { name, guarded } => guard_pool(client, &name, guarded).await,
        Step::PublishPool {
            name,
            resource_version,
            status,
        } => {
            publish(
                &Api::<IPPool>::all(client.clone()),
                &name,
                None,
                resource_version,
                &status,
            )
            .await
        }
        Step::PublishGateway {
            name,
            resource_version,
            status,
        } => {
            publish(
                &Api::<WireGuardGateway>::all(client.clone()),
                &name,
                None,
                resource_version,
                &status,
            )
            .await
        }
    }
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn patched() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn learned<K: Observed>(reply: kube::Result<K>) -> Outcome {
    Ok(reply.map_err(Failure::of)?.change().into_iter().collect())
}

/// Replaces a status. The version guards against everything the plan has not seen.
async fn publish<K: Observed, S: Serialize>(
    api: &Api<K>,
    name: &str,
    uid: Option<Uid>,
    resource_version: u64,
    status: &S,
) -> Outcome {
    // The spec is left out: a status write ignores it, and a stale copy could only do harm.
    let object = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "namespace": api.namespace(), "uid": uid, "resourceVersion": resource_version.to_string() },
        "status": status,
    });
    learned(api.replace_subresource("status", name, &post(), &object).await)
}

async fn delete<K: Observed>(api: &Api<K>, name: &str, uid: Uid, resource_version: u64) -> Outcome {
    let only = Preconditions {
        uid: Some(uid.clone()),
        resource_version: Some(resource_version.to_string()),
    };
    let params = DeleteParams {
        preconditions: Some(only),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await.map_err(Failure::of) {
        Ok(_) | Err(Failure::NotFound) => Ok(vec![Change::Gone(K::KIND, uid)]),
        Err(failure) => Err(failure),
    }
}

async fn create_gateway_node(client: &Client, new: NewGatewayNode) -> Outcome {
    let nodes: Api<GatewayNode> = Api::all(client.clone());
    let spec = GatewayNodeSpec {
        gateway_ref: new.gateway,
        node_name: new.node.clone(),
        endpoint_host: new.endpoint_host,
        drain: false,
    };
    let mut object = GatewayNode::new(&new.name, spec);
    // With its node gone there is nothing left to drain; the API's garbage collector takes it.
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: new.node,
        uid: new.node_uid,
        ..OwnerReference::default()
    }]);
    // One that exists already is about to be shown by the watch.
    learned(nodes.create(&post(), &object).await)
}

async fn guard_pool(client: &Client, name: &str, guarded: bool) -> Outcome {
    let pools: Api<IPPool> = Api::all(client.clone());
    if !guarded {
        // Whoever owns the field: a restored pool's finalizers belong to the tool that restored it.
        let pool = pools.get(name).await.map_err(Failure::of)?;
        let kept: Vec<_> = pool
            .metadata
            .finalizers
            .into_iter()
            .flatten()
            .filter(|f| f != POOL_FINALIZER)
            .collect();
        let patch = json!({
            "metadata": { "finalizers": kept, "resourceVersion": pool.metadata.resource_version },
        });
        return learned(pools.patch(name, &patched(), &Patch::Merge(patch)).await);
    }
    // Server-side apply under a name of its own: it owns the finalizer and nothing of the user's.
    let patch = json!({
        "apiVersion": IPPool::api_version(&()),
        "kind": IPPool::kind(&()),
        "metadata": { "name": name, "finalizers": [POOL_FINALIZER] },
    });
    let params = PatchParams {
        field_manager: Some(format!("{FIELD_MANAGER}-finalizer")),
        force: true,
        ..PatchParams::default()
    };
    learned(pools.patch(name, &params, &Patch::Apply(patch)).await)
}
