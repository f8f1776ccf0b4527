//! Gateways say what the cluster's own ranges are: their agents keep clients out of these.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    FaultProxy,
    wait::{self, Stopwatch},
};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::fixture::{Api, SOON, quick_pool};

fn gateway(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardGateway",
        "metadata": { "name": name },
        "spec": { "nodeSelector": { "edge": name }, "poolRefs": [{ "name": "default" }], "listenPort": port },
    })
}

/// A slice of the namespace `default` with one address.
fn slice(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": name, "namespace": "default" },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [address] }],
        "ports": [{ "name": "https", "port": 6443 }],
    })
}

async fn said(api: &Api, gateway: &str) -> Result<Value> {
    let gateways = api.list("wireguardgateways").await?;
    let found = gateways.iter().find(|found| found["metadata"]["name"] == gateway);
    Ok(found.context("no such gateway")?["status"]["clusterRanges"].clone())
}

async fn says(api: &Api, gateway: &str, expected: &[&str]) -> Result<()> {
    wait::until(&format!("the ranges that {gateway} says"), SOON, || async {
        let said = said(api, gateway).await?;
        ensure!(said == json!(expected), "it says {said}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn ranges_of_the_cluster_stand_in_the_status_of_every_gateway() -> Result<()> {
    let api = Api::start().await?;
    for object in [
        quick_pool(),
        gateway("one", 51820),
        gateway("two", 51821),
        // As the apiserver publishes it, which has no address in these tests; the other one is somebody's.
        slice("kubernetes", "203.0.113.6"),
        slice("somebody", "203.0.113.99"),
    ] {
        api.apply(&object).await?;
    }
    let _operator = api.operator(&api.plane.kubeconfig())?;
    // What the apiserver was started with.
    for name in ["one", "two"] {
        says(&api, name, &["10.96.0.0/16", "203.0.113.6/32"]).await?;
    }
    api.apply(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": "more" },
        "spec": { "cidrs": ["10.98.0.0/24", "fd00:96::/112"] },
    }))
    .await?;
    api.apply(&json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": "a", "labels": { "edge": "one" } },
        "spec": { "podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24", "fd00:7::/64"] },
    }))
    .await?;
    let addresses = json!({ "status": { "addresses": [
        { "type": "InternalIP", "address": "192.0.2.7" },
        { "type": "ExternalIP", "address": "198.51.100.7" },
        { "type": "InternalIP", "address": "2001:db8::7" },
        { "type": "Hostname", "address": "a" },
    ] } });
    let patch = ["patch", "node", "a", "--subresource=status", "--type=merge", "-p"];
    api.kubectl(&[&patch[..], &[&addresses.to_string()]].concat(), None)
        .await?;
    for name in ["one", "two"] {
        let expected = [
            "10.96.0.0/16",
            "10.98.0.0/24",
            "10.244.7.0/24",
            "192.0.2.7/32",
            "198.51.100.7/32",
            "203.0.113.6/32",
            "2001:db8::7/128",
            "fd00:7::/64",
            "fd00:96::/112",
        ];
        says(&api, name, &expected).await?;
    }
    api.kubectl(&["delete", "node", "a"], None).await?;
    api.apply(&slice("kubernetes", "203.0.113.7")).await?;
    let expected = ["10.96.0.0/16", "10.98.0.0/24", "203.0.113.7/32", "fd00:96::/112"];
    says(&api, "one", &expected).await
}

/// Nodes that join, and how many do at the same time.
const NODES: u32 = 256;
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_nodes_that_join_are_one_write_a_second() -> Result<()> {
    let api = Api::start().await?;
    api.apply(&gateway("one", 51820)).await?;
    let proxy = FaultProxy::start(api.plane.client().await?, &["leases"]).await?;
    let _operator = api.operator(&proxy.kubeconfig())?;
    says(&api, "one", &["10.96.0.0/16"]).await?;
    let writes = || {
        let writes = proxy.writes();
        writes
            .iter()
            .filter(|write| *write == "PUT wireguardgateways/status")
            .count()
    };
    let (before, clock) = (writes(), Stopwatch::start());
    let nodes: kube::Api<Node> = kube::Api::all(api.plane.client().await?);
    stream::iter(0..NODES)
        .map(|n| {
            let nodes = nodes.clone();
            async move {
                let range = format!("10.244.{n}.0/24");
                let node: Node = serde_json::from_value(json!({
                    "metadata": { "name": format!("node-{n}") },
                    "spec": { "podCIDR": range, "podCIDRs": [range] },
                }))?;
                nodes.create(&PostParams::default(), &node).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    says(&api, "one", &["10.96.0.0/16", "10.244.0.0/16"]).await?;
    let (written, seconds) = (writes() - before, clock.elapsed().as_secs());
    println!("{NODES} nodes within {seconds} s: {written} writes");
    ensure!(
        written > 0 && u64::try_from(written)? <= seconds + 1,
        "{written} writes in {seconds} s"
    );
    Ok(())
}
