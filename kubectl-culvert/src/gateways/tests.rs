use super::*;
use serde_json::{Value, json};

const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

fn pool() -> IPPool {
    let object = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "IPPool", "metadata": { "name": "default" },
        "spec": { "ipv4": { "cidr": "10.64.0.0/11" }, "ipv6": { "cidr": "fd64:cafe:1::/64" } },
    });
    serde_json::from_value(object).unwrap()
}

fn gateway(spec: &Value) -> WireGuardGateway {
    let mut object = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "WireGuardGateway",
        "metadata": { "name": "edge", "uid": "g" },
        "spec": { "poolRefs": [{ "name": "default" }] },
    });
    for (name, value) in spec.as_object().unwrap() {
        object["spec"][name] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn node(name: &str, change: impl FnOnce(&mut GatewayNode)) -> GatewayNode {
    let object = json!({
        "apiVersion": "culvert.dev/v1alpha1", "kind": "GatewayNode",
        "metadata": { "name": format!("edge.{name}") },
        "spec": { "gatewayRef": { "name": "edge", "uid": "g" }, "nodeName": name },
        "status": {
            "publicKey": KEY, "endpoints": ["198.51.100.1:51820"], "pools": ["default"],
            "renewTime": "2026-01-02T03:04:05.000000Z",
            "conditions": [{ "type": "Ready", "status": "True", "reason": "Ready", "message": "",
                "lastTransitionTime": "2026-01-02T03:04:05Z" }],
        },
    });
    let mut node = serde_json::from_value(object).unwrap();
    change(&mut node);
    node
}

fn found(nodes: &[GatewayNode]) -> Vec<(String, bool)> {
    let found = serving(&pool(), &[gateway(&json!({}))], nodes);
    found.into_iter().map(|one| (one.node, one.ready)).collect()
}

#[test]
fn those_that_can_be_connected_to_are_found_in_order() {
    let nodes = [node("two", |_| ()), node("one", |_| ())];
    assert_eq!(
        found(&nodes),
        [("one".to_owned(), true), ("two".to_owned(), true)]
    );
}

#[test]
fn whoever_cannot_be_connected_to_is_left_out() {
    for change in [
        |node: &mut GatewayNode| node.status = None,
        |node: &mut GatewayNode| node.status.as_mut().unwrap().public_key = None,
        |node: &mut GatewayNode| node.status.as_mut().unwrap().endpoints.clear(),
        |node: &mut GatewayNode| node.spec.drain = true,
        // Of an earlier gateway of the same name, with another key.
        |node: &mut GatewayNode| node.spec.gateway_ref.uid = "earlier".to_owned(),
    ] {
        assert_eq!(found(&[node("one", change)]), []);
    }
    let other = gateway(&json!({ "poolRefs": [{ "name": "other" }] }));
    assert_eq!(serving(&pool(), &[other], &[node("one", |_| ())]), []);
}

#[test]
fn whoever_does_not_serve_at_present_is_not_ready() {
    let silent = node("silent", |node| {
        node.status.as_mut().unwrap().renew_time =
            serde_json::from_value(json!("2026-01-02T03:03:04.000000Z")).unwrap();
    });
    let behind = node("behind", |node| node.status.as_mut().unwrap().pools.clear());
    let failed = node("failed", |node| {
        node.status.as_mut().unwrap().conditions[0].status = "False".to_owned();
    });
    let found = found(&[silent, behind, failed, node("well", |_| ())]);
    let ready: Vec<&str> = found
        .iter()
        .filter(|(_, ready)| *ready)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!((found.len(), ready), (4, vec!["well"]));
}

#[test]
fn resolvers_are_the_gateways_own_address_where_it_passes_questions_on() {
    let dns = |spec: Value| {
        serving(&pool(), &[gateway(&spec)], &[node("one", |_| ())])
            .remove(0)
            .dns
    };
    assert_eq!(dns(json!({})), [] as [IpAddr; 0]);
    let own: [IpAddr; 2] = ["10.64.0.1".parse().unwrap(), "fd64:cafe:1::1".parse().unwrap()];
    assert_eq!(dns(json!({ "egress": { "dnsForward": ["9.9.9.9"] } })), own);
    let named: [IpAddr; 1] = ["9.9.9.9".parse().unwrap()];
    assert_eq!(
        dns(json!({ "dns": ["9.9.9.9"], "egress": { "dnsForward": ["1.1.1.1"] } })),
        named
    );
}
