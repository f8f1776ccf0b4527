use super::*;
use serde_json::{Value, json};

/// In each text of an object, wherever it may stand.
const CANARY: &str = "canary";

/// Objects of which every text is a secret but those that name what they are.
fn planted() -> Culvert {
    let metadata = json!({
        "name": "canary-name", "namespace": "canary-namespace", "uid": "canary-uid",
        "labels": { "canary-label": "canary-label" }, "annotations": { "canary": "canary" },
    });
    let conditions = json!([
        { "type": "Ready", "status": "canary-status", "reason": "canary-reason", "message": "canary-message",
          "lastTransitionTime": "2026-01-02T03:04:05Z" },
        { "type": "canary-type", "status": "True", "reason": "Ready", "message": "canary-message",
          "lastTransitionTime": "2026-01-02T03:04:05Z" },
    ]);
    let object = |kind: &str, spec: Value, mut status: Value| {
        status["conditions"] = conditions.clone();
        json!({ "apiVersion": "culvert.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status })
    };
    let pool = object(
        "IPPool",
        json!({ "ipv4": { "cidr": "canary-range" }, "exclude": ["canary"], "allowedNamespaces": ["canary"] }),
        json!({ "gateways": "canary" }),
    );
    let gateway = object(
        "WireGuardGateway",
        json!({
            "nodeSelector": { "canary": "canary" }, "poolRefs": [{ "name": "canary-name" }], "interface": "canary",
            "endpoint": { "hostTemplate": "canary" }, "dns": ["canary"],
            "egress": { "allow": ["canary"], "deny": ["canary"], "dnsForward": ["canary"], "sourceAddresses": ["canary"] },
        }),
        json!({ "nodes": "canary", "clusterRanges": ["canary"] }),
    );
    let node = object(
        "GatewayNode",
        json!({ "gatewayRef": { "name": "canary", "uid": "canary-uid" }, "nodeName": "canary", "endpointHost": "canary" }),
        json!({
            "publicKey": "canary", "endpoints": ["canary"], "session": "canary", "appliedResourceVersion": "canary",
            "pools": ["canary"], "refused": { "uids": ["canary"], "count": 1 }, "backend": "Kernel",
        }),
    );
    let key = object(
        "WireGuardKey",
        json!({ "publicKey": "canary", "poolRef": { "name": "canary" } }),
        json!({ "addresses": ["canary"], "publicKey": "canary" }),
    );
    Culvert {
        is_defined: true,
        pools: vec![serde_json::from_value(pool).unwrap()],
        gateways: vec![serde_json::from_value(gateway).unwrap()],
        nodes: vec![serde_json::from_value(node).unwrap()],
        keys: vec![serde_json::from_value(key).unwrap()],
    }
}

#[test]
fn nothing_that_somebody_wrote_is_in_a_report() {
    let culvert = planted();
    let server = Server {
        version: "v1.35.0+canary".to_owned(),
        there: Timestamp::UNIX_EPOCH,
        here: Timestamp::UNIX_EPOCH,
    };
    let findings = judge::all(&culvert, &Ground::default(), &server, "canary");
    let found = serde_json::to_string(&findings).unwrap();
    assert!(found.contains(CANARY), "nothing was planted");
    let unseen = judge::unseen(&findings, &culvert, &Ground::default(), &server, "canary");
    let report = report(&culvert, &Ground::default(), &server, &findings, &unseen);
    let text = serde_json::to_string_pretty(&report).unwrap();
    assert!(!text.contains(CANARY), "{text}");
    // And it is of use.
    for part in [
        "\"gateway\": 1",
        "\"Ready\"",
        "\"refused\": 1",
        "\"listenPort\": 51820",
        "\"check\"",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
