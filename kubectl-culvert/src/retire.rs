//! What comes before Culvert is taken away (pure): `commands/install/retire.rs` does it.
//!
//! Three things outlive the programs unless somebody sees to them while agents run: interfaces with what they know of
//! clients, the finalizers of pools, and an operator that would undo both. The operator is kept out by its own Lease, which
//! it heeds within seconds and which runs out by itself, should nothing come of the rest.

use culvert_crds::gateway_node::RETIRED;
use culvert_crds::pool::IN_USE;
use culvert_crds::{GatewayNode, IPPool};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// The name of the operator's Lease.
pub const LEASE: &str = "culvert-operator";

/// Who holds it meanwhile.
pub const HOLDER: &str = "kubectl-culvert-retire";

/// For how long the Lease keeps an operator out once nobody renews it: what remains of the uninstall takes less, and an
/// operator that is installed anew need not wait longer.
const LEASE_SECONDS: i32 = 30;

/// The patch that asks a node to leave for now, and says on whose behalf; `None` where an administrator or the operator has
/// asked already, whose wish is not ours to undo.
pub fn request(node: &GatewayNode) -> Option<Value> {
    (!node.spec.drain).then(|| {
        json!({
            "metadata": { "uid": node.metadata.uid, "annotations": { RETIRED: "true" } },
            "spec": { "drain": true },
        })
    })
}

/// Whether its drain is ours, so that the object is to go: an operator makes another, which serves.
pub fn is_ours(node: &GatewayNode) -> bool {
    node.spec.drain && node.annotations().contains_key(RETIRED)
}

/// Whether the agent has answered: the interface is gone. Who has never said anything has none.
pub fn has_left(node: &GatewayNode) -> bool {
    node.status
        .as_ref()
        .is_none_or(|status| status.session.is_none() || status.drained)
}

/// The patch that takes our finalizer off a pool; `None` where there is none.
pub fn release(pool: &IPPool) -> Option<Value> {
    let finalizers = pool.finalizers();
    let kept: Vec<&String> = finalizers.iter().filter(|name| *name != IN_USE).collect();
    (kept.len() < finalizers.len()).then(|| {
        json!({
            "metadata": { "finalizers": kept, "resourceVersion": pool.metadata.resource_version },
        })
    })
}

/// Whether somebody else may be acting under this Lease.
pub fn has_rival(lease: Option<&Lease>) -> bool {
    let holder = lease
        .and_then(|lease| lease.spec.as_ref())
        .and_then(|spec| spec.holder_identity.as_deref());
    holder.is_some_and(|holder| !holder.is_empty() && holder != HOLDER)
}

/// The Lease as it is when nobody but us may act. It carries the version that it replaces.
pub fn taken(lease: Option<Lease>, wall: Timestamp) -> Lease {
    let is_new = lease.is_none();
    let mut lease = lease.unwrap_or_default();
    lease.metadata.name = Some(LEASE.to_owned());
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(HOLDER) {
        spec.acquire_time = Some(MicroTime(wall));
        let before = spec.lease_transitions.unwrap_or(0);
        spec.lease_transitions = Some(if is_new { before } else { before.saturating_add(1) });
    }
    spec.holder_identity = Some(HOLDER.to_owned());
    spec.lease_duration_seconds = Some(LEASE_SECONDS);
    spec.renew_time = Some(MicroTime(wall));
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(annotations: &Value, drain: bool, status: &Value) -> GatewayNode {
        serde_json::from_value(json!({
            "apiVersion": "culvert.dev/v1alpha1", "kind": "GatewayNode",
            "metadata": { "name": "default.a", "uid": "n", "annotations": annotations },
            "spec": { "gatewayRef": { "name": "default", "uid": "g" }, "nodeName": "a", "drain": drain },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_node_is_asked_and_marked_and_an_administrators_drain_is_left_alone() {
        let serves = node(&json!({}), false, &json!({ "session": "s" }));
        let patch = request(&serves).unwrap();
        assert_eq!(patch["spec"], json!({ "drain": true }));
        assert_eq!(patch["metadata"]["annotations"], json!({ RETIRED: "true" }));
        assert!(!is_ours(&serves) && !has_left(&serves));

        let drained = node(&json!({}), true, &json!({ "session": "s", "drained": true }));
        assert_eq!(request(&drained), None);
        assert!(!is_ours(&drained) && has_left(&drained));
    }

    #[test]
    fn a_second_try_knows_what_the_first_has_asked() {
        let asked = node(&json!({ RETIRED: "true" }), true, &json!({ "session": "s" }));
        assert_eq!(request(&asked), None);
        assert!(is_ours(&asked) && !has_left(&asked));
        // Somebody has brought it back since: it is asked again.
        let back = node(&json!({ RETIRED: "true" }), false, &json!({ "session": "s" }));
        assert!(request(&back).is_some() && !is_ours(&back));
    }

    #[test]
    fn a_node_without_an_agent_keeps_nobody_waiting() {
        assert!(has_left(&node(&json!({}), true, &Value::Null)));
        assert!(has_left(&node(
            &json!({}),
            true,
            &json!({ "observedGeneration": -1 })
        )));
    }

    #[test]
    fn a_pool_keeps_the_finalizers_of_others() {
        let pool = |finalizers: &[&str]| -> IPPool {
            serde_json::from_value(json!({
                "apiVersion": "culvert.dev/v1alpha1", "kind": "IPPool",
                "metadata": { "name": "default", "resourceVersion": "7", "finalizers": finalizers },
                "spec": { "ipv4": { "cidr": "10.64.0.0/11" } },
            }))
            .unwrap()
        };
        let patch = release(&pool(&["backup.example.com/x", IN_USE])).unwrap();
        assert_eq!(patch["metadata"]["finalizers"], json!(["backup.example.com/x"]));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(release(&pool(&["backup.example.com/x"])), None);
    }

    #[test]
    fn the_lease_is_taken_from_whoever_holds_it_and_renewed() {
        let first: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let later: Timestamp = "2026-01-02T03:04:10Z".parse().unwrap();
        let held: Lease = serde_json::from_value(json!({
            "metadata": { "name": LEASE, "resourceVersion": "7" },
            "spec": { "holderIdentity": "operator-a", "leaseDurationSeconds": 10, "leaseTransitions": 3 },
        }))
        .unwrap();
        assert!(has_rival(Some(&held)));
        let ours = taken(Some(held), first);
        assert_eq!(ours.metadata.resource_version.as_deref(), Some("7"));
        let spec = ours.spec.clone().unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some(HOLDER));
        assert_eq!(
            (spec.lease_transitions, spec.lease_duration_seconds),
            (Some(4), Some(30))
        );
        assert!(!has_rival(Some(&ours)));

        let renewed = taken(Some(ours), later).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(4));
        assert_eq!(renewed.acquire_time.map(|time| time.0), Some(first));
        assert_eq!(renewed.renew_time.map(|time| time.0), Some(later));

        assert!(!has_rival(None));
        assert_eq!(taken(None, first).spec.unwrap().lease_transitions, Some(0));
    }
}
