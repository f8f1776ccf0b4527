//! Gateway nodes follow nodes and gateways.

use anyhow::{Result, ensure};
use culvert_e2e::wait;
use serde_json::{Value, json};

use crate::fixture::{Api, SOON};

fn node(name: &str, labels: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } })
}

async fn names(api: &Api) -> Result<Vec<String>> {
    let mut names: Vec<_> = api
        .list("gatewaynodes")
        .await?
        .iter()
        .filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn fleet_has_a_gateway_node_for_every_selected_node() -> Result<()> {
    let api = Api::start().await?;
    let _operator = api.operator(&api.plane.kubeconfig())?;
    let chosen = json!({ "culvert.dev/gateway": "true" });
    for (name, labels) in [("one", &chosen), ("two", &chosen), ("other", &json!({}))] {
        api.apply(&node(name, labels)).await?;
    }
    api.apply(&json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardGateway",
        "metadata": { "name": "edge" },
        "spec": {
            "nodeSelector": chosen,
            "poolRefs": [{ "name": "default" }],
            "endpoint": { "hostTemplate": "{node}.vpn.example.com" },
        },
    }))
    .await?;
    wait::until("both gateway nodes", SOON, || async {
        Ok((names(&api).await? == ["edge.one", "edge.two"]).then_some(()))
    })
    .await?;
    let first = &api.list("gatewaynodes").await?[0];
    ensure!(first["spec"]["endpointHost"] == "one.vpn.example.com", "{first}");
    ensure!(
        first["metadata"]["ownerReferences"][0]["kind"] == "Node",
        "{first}"
    );
    wait::until("the gateway's status", SOON, || async {
        let gateway = &api.list("wireguardgateways").await?[0];
        Ok((gateway["status"]["nodes"] == "0/2").then_some(()))
    })
    .await?;
    // A node without an agent has nothing to drain.
    api.kubectl(&["label", "node", "one", "culvert.dev/gateway-"], None)
        .await?;
    wait::until("the deselected one to go", SOON, || async {
        Ok((names(&api).await? == ["edge.two"]).then_some(()))
    })
    .await?;
    api.kubectl(&["delete", "wireguardgateway/edge"], None).await?;
    wait::until("the rest to go", SOON, || async {
        Ok(names(&api).await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test]
async fn fleet_says_where_clients_connect_when_a_node_has_got_its_address() -> Result<()> {
    let api = Api::start().await?;
    let _operator = api.operator(&api.plane.kubeconfig())?;
    api.apply(&node("late", &json!({}))).await?;
    api.apply(&json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardGateway",
        "metadata": { "name": "edge" },
        "spec": { "poolRefs": [{ "name": "default" }] },
    }))
    .await?;
    wait::until("the gateway node", SOON, || async {
        Ok((names(&api).await? == ["edge.late"]).then_some(()))
    })
    .await?;
    for (kind, address) in [("InternalIP", "192.0.2.1"), ("ExternalIP", "203.0.113.1")] {
        let patch = json!({ "status": { "addresses": [{ "type": kind, "address": address }] } });
        let words = [
            "patch",
            "node",
            "late",
            "--subresource=status",
            "--type=merge",
            "-p",
        ];
        api.kubectl(&[&words[..], &[&patch.to_string()]].concat(), None)
            .await?;
        wait::until(address, SOON, || async {
            let node = &api.list("gatewaynodes").await?[0];
            Ok((node["spec"]["endpointHost"] == address).then_some(()))
        })
        .await?;
    }
    Ok(())
}
