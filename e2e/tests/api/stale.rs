//! One of the operator's watches is behind, and what it says of one kind does not fit what another says of the other:
//! before anything is taken from anybody, a live read decides.

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait;
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

use crate::{
    allocator::{Allocator, cluster},
    fixture::{Api, SOON, key, public_key, quick_pool},
    invariants::{nobody_writes, published, reason},
    load::Load,
};

/// Within this a watch that has gone silent is given up.
const STALL: Duration = Duration::from_secs(90);

/// Addresses of [`quick_pool`] that another allocator has drawn.
const DRAWN: [&str; 2] = ["10.64.7.7", "fd64:cafe:1::7"];

async fn says(load: &Load, name: &str, wanted: &str) -> Result<()> {
    wait::until(&format!("{name} to say {wanted}"), SOON, || async {
        Ok((reason(&load.key(name).await?) == wanted).then_some(()))
    })
    .await
}

/// What another allocator does, which has heard of the key: the claim of [`DRAWN`].
async fn claimed(api: &Api, key: &Value) -> Result<()> {
    let peer = json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardPeer",
        "metadata": { "name": DRAWN[0] },
        "spec": {
            "publicKey": key["spec"]["publicKey"],
            "addresses": DRAWN,
            "poolRef": key["spec"]["poolRef"],
            "keyRef": {
                "namespace": key["metadata"]["namespace"],
                "name": key["metadata"]["name"],
                "uid": key["metadata"]["uid"],
            },
            "addressGeneration": key["spec"]["addressGeneration"],
        },
    });
    api.apply(&peer).await
}

/// Waits until the key shows [`DRAWN`]; ensures that their claim is never released.
async fn shows_what_was_drawn(load: &Load, name: &str) -> Result<()> {
    let kept = wait::until(&format!("{name} to show its addresses"), SOON, || async {
        let key = load.key(name).await?;
        let peers = load.peers().await?;
        let held = |peer: &Value| peer["metadata"]["name"] == DRAWN[0] && peer["spec"]["released"] == false;
        if !peers.iter().any(held) {
            return Ok(Some(false));
        }
        Ok((published(&key) == DRAWN).then_some(true))
    })
    .await?;
    ensure!(kept, "its claim was released on the word of a stale watch");
    Ok(())
}

/// The key was read by name: what the operator knows of it now, no watch has said.
fn was_read(allocator: &Allocator<'_>, name: &str) -> Result<()> {
    let calls = allocator.proxy.calls();
    let mut reads = calls
        .iter()
        .filter(|call| call.method == Method::GET && call.kind == "wireguardkeys");
    ensure!(
        reads.any(|call| call.name.as_deref() == Some(name)),
        "nobody read {name}"
    );
    Ok(())
}

#[tokio::test]
async fn stale_keys_release_no_claim_of_a_key_that_has_changed_since() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    api.apply(&quick_pool()).await?;
    let mut laptop = key("laptop", &public_key(1));
    laptop["spec"]["suspend"] = true.into();
    api.apply(&laptop).await?;
    says(&load, "laptop", "Suspended").await?;
    allocator.proxy.stall_watches_of("wireguardkeys");
    // For all that the operator hears of it, the key wants no addresses.
    laptop["spec"]["suspend"] = false.into();
    api.apply(&laptop).await?;
    claimed(&api, &load.key("laptop").await?).await?;
    shows_what_was_drawn(&load, "laptop").await?;
    was_read(&allocator, "laptop")
}

#[tokio::test]
async fn stale_keys_release_no_claim_of_a_key_that_is_new() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    api.apply(&quick_pool()).await?;
    // The watch is there once something has come by it.
    api.apply(&key("phone", &public_key(1))).await?;
    api.addressed("phone").await?;
    allocator.proxy.stall_watches_of("wireguardkeys");
    api.apply(&key("laptop", &public_key(2))).await?;
    claimed(&api, &load.key("laptop").await?).await?;
    shows_what_was_drawn(&load, "laptop").await?;
    was_read(&allocator, "laptop")
}

#[tokio::test]
async fn stale_claims_take_no_addresses_back_that_are_held() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    let mut pool = quick_pool();
    pool["spec"]["allowedNamespaces"] = json!(["others"]);
    api.apply(&pool).await?;
    api.apply(&key("laptop", &public_key(1))).await?;
    says(&load, "laptop", "NamespaceNotAllowed").await?;
    allocator.proxy.stall_watches_of("wireguardpeers");
    let laptop = load.key("laptop").await?;
    // It holds addresses since before the pool was narrowed, for all that another allocator knows.
    claimed(&api, &laptop).await?;
    let before = allocator.proxy.calls().len();
    let shown = json!({ "status": {
        "addresses": DRAWN,
        "publicKey": laptop["spec"]["publicKey"],
        "addressGeneration": laptop["spec"]["addressGeneration"],
    } });
    let patch = shown.to_string();
    let words = [
        "patch",
        "wgk/laptop",
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    api.kubectl(&words, None).await?;
    let since = || allocator.proxy.calls().split_off(before);
    let writes = || {
        since()
            .iter()
            .filter(|call| call.kind == "wireguardkeys/status")
            .count()
    };
    wait::until("the operator to look or to write", SOON, || async {
        let looks = since()
            .iter()
            .any(|call| call.method == Method::GET && call.name.as_deref() == Some(DRAWN[0]));
        Ok((looks || writes() > 0).then_some(()))
    })
    .await?;
    ensure!(
        writes() == 0,
        "the status was taken back on the word of a stale watch"
    );
    wait::until("the claims' watch to come back", STALL, || async {
        Ok((reason(&load.key("laptop").await?) == "NoGateway").then_some(()))
    })
    .await?;
    ensure!(published(&load.key("laptop").await?) == DRAWN);
    ensure!(writes() == 1, "its status was written {} times", writes());
    nobody_writes(&load, &[&allocator.proxy])
        .await
        .context("after the claims' watch had come back")
}

#[tokio::test]
async fn stale_gateways_send_no_node_away() -> Result<()> {
    let (api, _) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    let gateway = |name: &str, interface: &str, port: u16| {
        json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "WireGuardGateway",
            "metadata": { "name": name },
            "spec": { "poolRefs": [{ "name": name }], "interface": interface, "listenPort": port },
        })
    };
    let of = async |gateway: &str| -> Result<Value> {
        let text = api.kubectl(&["get", "wgw", gateway, "-o=json"], None).await?;
        Ok(serde_json::from_str(&text)?)
    };
    let uid = async |name: &str| -> Result<Option<Value>> {
        let nodes = api.list("gatewaynodes").await?;
        let mut found = nodes.into_iter().filter(|node| node["metadata"]["name"] == name);
        Ok(found.next().map(|node| node["metadata"]["uid"].clone()))
    };
    api.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "one" } }))
        .await?;
    // The watch is there once something has come by it.
    api.apply(&gateway("edge", "cv0", 51820)).await?;
    wait::until("the first gateway's node", SOON, || async {
        Ok(uid("edge.one").await?.map(drop))
    })
    .await?;
    allocator.proxy.stall_watches_of("wireguardgateways");
    api.apply(&gateway("inner", "cv1", 51821)).await?;
    let inner = of("inner").await?;
    let before = allocator.proxy.calls().len();
    // What another operator does, which has heard of the gateway.
    api.apply(&json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "GatewayNode",
        "metadata": { "name": "inner.one" },
        "spec": {
            "gatewayRef": { "name": "inner", "uid": inner["metadata"]["uid"] },
            "nodeName": "one",
        },
    }))
    .await?;
    let made = uid("inner.one").await?;
    wait::until("the operator to look or to write", SOON, || async {
        let calls = allocator.proxy.calls().split_off(before);
        let mut calls = calls.iter().map(|call| (call.method.clone(), call.kind.as_str()));
        let looks = calls.any(|call| {
            call == (Method::GET, "wireguardgateways") || call == (Method::DELETE, "gatewaynodes")
        });
        Ok(looks.then_some(()))
    })
    .await?;
    wait::until("the gateways' watch to come back", STALL, || async {
        Ok((of("inner").await?["status"]["nodes"] == "0/1").then_some(()))
    })
    .await?;
    ensure!(
        made.is_some() && uid("inner.one").await? == made,
        "a gateway node was deleted on the word of a stale watch"
    );
    Ok(())
}
