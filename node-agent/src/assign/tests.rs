use culvert_follow::Page;
use serde_json::{Value, json};

use super::*;
use crate::assignment::Departure;

fn raw(value: &Value) -> Raw {
    let page = json!({ "metadata": { "resourceVersion": "1" }, "items": [value] });
    let mut page: Page = serde_json::from_str(&page.to_string()).unwrap();
    page.items.remove(0)
}

fn object(n: u128, name: &str, spec: &Value) -> Raw {
    let uid = Uid::from_u128(n).to_string();
    raw(
        &json!({ "metadata": { "name": name, "uid": uid, "generation": 3, "resourceVersion": "1" }, "spec": spec }),
    )
}

fn gateway() -> Raw {
    object(1, "edge", &json!({ "poolRefs": [{ "name": "default" }] }))
}

fn node() -> Raw {
    let gateway = json!({ "name": "edge", "uid": Uid::from_u128(1).to_string() });
    object(2, "edge.a", &json!({ "gatewayRef": gateway, "nodeName": "a" }))
}

fn pool(cidr: &str) -> Raw {
    object(3, "default", &json!({ "ipv4": { "cidr": cidr } }))
}

struct Bed {
    nodes: Ear<GatewayNode>,
    gateways: Ear<WireGuardGateway>,
    pools: Ear<IPPool>,
    assignments: watch::Receiver<Assignments>,
}

impl Bed {
    fn new() -> Self {
        let (sender, assignments) = watch::channel(Assignments::default());
        let (nodes, gateways, pools) = ears(&Arc::new(Metrics::new("0")), sender);
        Self {
            nodes,
            gateways,
            pools,
            assignments,
        }
    }

    async fn served() -> Self {
        let mut bed = Self::new();
        assert_eq!(list(&mut bed.nodes, &[node()]).await, Next::Watch);
        assert_eq!(list(&mut bed.gateways, &[gateway()]).await, Next::Watch);
        assert!(!bed.assignments.borrow().complete);
        assert_eq!(list(&mut bed.pools, &[pool("10.64.0.0/11")]).await, Next::Watch);
        assert_eq!(bed.ranges(), ["10.64.0.0/11"]);
        bed
    }

    /// The ranges of the one gateway.
    fn ranges(&self) -> Vec<String> {
        let now = self.assignments.borrow();
        let [gateway] = now.gateways.as_slice() else {
            panic!("{now:?}")
        };
        gateway
            .ranges
            .values()
            .flatten()
            .map(ToString::to_string)
            .collect()
    }
}

async fn list<K: Resource<DynamicType = ()> + Send>(ear: &mut Ear<K>, objects: &[Raw]) -> Next {
    ear.list_begins(1).await.unwrap();
    for object in objects {
        ear.now_is(object).await.unwrap();
    }
    ear.list_complete(1).await.unwrap()
}

#[tokio::test]
async fn a_gateway_is_assigned_when_every_kind_has_been_listed() {
    let bed = Bed::served().await;
    let now = bed.assignments.borrow();
    assert!(now.complete && now.leaving.is_empty());
    assert_eq!(
        (now.gateways[0].name.as_str(), now.gateways[0].generation),
        ("edge.a", 3)
    );
    assert_eq!(now.gateways[0].mark.gateway, Uid::from_u128(1).to_string());
}

#[tokio::test]
async fn a_pool_that_one_list_leaves_out_is_still_served() {
    let mut bed = Bed::served().await;
    assert_eq!(list(&mut bed.pools, &[]).await, Next::ListAgain(SECOND_OPINION));
    assert_eq!(bed.ranges(), ["10.64.0.0/11"]);
    assert_eq!(list(&mut bed.pools, &[]).await, Next::Watch);
    assert_eq!(bed.ranges(), [""; 0]);
}

#[tokio::test]
async fn a_pool_that_makes_no_sense_changes_nothing() {
    let mut bed = Bed::served().await;
    bed.assignments.mark_unchanged();
    let odd = object(3, "default", &json!({ "ipv4": 7 }));
    bed.pools.now_is(&odd).await.unwrap();
    bed.pools.seen(9).await.unwrap();
    assert!(!bed.assignments.has_changed().unwrap());
    // Made anew, and never read: the node has no assignment then, and stays as it is.
    let odd = object(4, "default", &json!({ "ipv4": 7 }));
    bed.pools.now_is(&odd).await.unwrap();
    bed.pools.seen(10).await.unwrap();
    assert!(bed.assignments.borrow().gateways.is_empty());
}

#[tokio::test]
async fn a_history_that_went_back_takes_nothing_away_by_itself() {
    let mut bed = Bed::served().await;
    bed.assignments.mark_unchanged();
    bed.pools.rewound().await.unwrap();
    bed.nodes.rewound().await.unwrap();
    list(&mut bed.nodes, &[node()]).await;
    list(&mut bed.pools, &[pool("10.64.0.0/11")]).await;
    assert!(!bed.assignments.has_changed().unwrap());
    list(&mut bed.pools, &[pool("10.96.0.0/11")]).await;
    assert_eq!(bed.ranges(), ["10.96.0.0/11"]);
}

#[tokio::test]
async fn a_gateway_node_that_is_deleted_is_no_assignment_any_more() {
    let mut bed = Bed::served().await;
    bed.nodes.gone(Uid::from_u128(2), 9).await.unwrap();
    bed.nodes.seen(9).await.unwrap();
    assert_eq!(
        *bed.assignments.borrow(),
        Assignments {
            complete: true,
            ..Assignments::default()
        }
    );
}

#[tokio::test]
async fn a_drain_is_for_good_when_it_is_the_operators() {
    let mut bed = Bed::served().await;
    let gateway = json!({ "name": "edge", "uid": Uid::from_u128(1).to_string() });
    for (version, annotations, departure) in [
        (9, json!({ "a": "b" }), Departure::ForNow),
        (10, json!({ "culvert.dev/leaving": "true" }), Departure::ForGood),
    ] {
        let node = raw(&json!({
            "metadata": {
                "name": "edge.a",
                "uid": Uid::from_u128(2).to_string(),
                "generation": version,
                "resourceVersion": version.to_string(),
                "annotations": annotations,
            },
            "spec": { "gatewayRef": gateway, "nodeName": "a", "drain": true },
        }));
        bed.nodes.now_is(&node).await.unwrap();
        bed.nodes.seen(version).await.unwrap();
        let now = bed.assignments.borrow();
        assert!(now.gateways.is_empty());
        assert_eq!(now.leaving[0].departure, departure);
    }
}
