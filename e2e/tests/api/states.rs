//! Every state that a key can be in, as a person sees it.

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait;
use serde_json::{Value, json};

use crate::fixture::{Api, SOON, key, public_key};

fn pool(name: &str, v4: &str, more: &Value) -> Value {
    let mut pool = json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "IPPool",
        "metadata": { "name": name },
        "spec": { "ipv4": { "cidr": v4 } },
    });
    merge(&mut pool["spec"], more);
    pool
}

fn key_with(name: &str, n: u8, more: &Value) -> Value {
    let mut key = key(name, &public_key(n));
    merge(&mut key["spec"], more);
    key
}

fn merge(into: &mut Value, more: &Value) {
    for (field, value) in more.as_object().into_iter().flatten() {
        into[field] = value.clone();
    }
}

/// A gateway whose one node reports as an agent would: its own public key, and a watermark.
async fn gateway(api: &Api, own: &str) -> Result<()> {
    api.apply(&json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "one", "labels": { "edge": "yes" } },
    }))
    .await?;
    api.apply(&json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardGateway",
        "metadata": { "name": "edge" },
        "spec": { "nodeSelector": { "edge": "yes" }, "poolRefs": [{ "name": "served" }] },
    }))
    .await?;
    wait::until("the gateway node", SOON, || async {
        Ok((api.list("wgn").await?.len() == 1).then_some(()))
    })
    .await?;
    report(api, own, 1).await
}

async fn report(api: &Api, own: &str, applied: u64) -> Result<()> {
    let status = json!({ "status": {
        "observedGeneration": 1,
        "session": "one",
        "publicKey": own,
        "pools": ["served"],
        "appliedResourceVersion": applied.to_string(),
        "renewTime": "2026-01-01T00:00:00.000000Z",
    }});
    let patch = status.to_string();
    let words = [
        "patch",
        "wgn",
        "edge.one",
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    api.kubectl(&words, None).await.map(drop)
}

/// The newest version of any peer.
async fn newest(api: &Api) -> Result<u64> {
    let versions = api.list("wgp").await?.into_iter().map(|peer| {
        let version = peer["metadata"]["resourceVersion"].as_str().map(str::parse);
        version
            .context("a peer without a version")?
            .context("an odd version")
    });
    Ok(versions
        .collect::<Result<Vec<u64>>>()?
        .into_iter()
        .max()
        .unwrap_or(0))
}

/// Pools that give addresses, and pools that do not.
async fn pools(api: &Api, gateway_key: &str) -> Result<()> {
    let none = json!({});
    for pool in [
        pool("default", "10.64.0.0/24", &none),
        pool("served", "10.65.0.0/24", &none),
        pool("tiny", "10.66.0.0/30", &none),
        pool(
            "closed",
            "10.67.0.0/24",
            &json!({ "allowedNamespaces": ["others"] }),
        ),
        pool("one-each", "10.68.0.0/24", &json!({ "maxKeysPerNamespace": 1 })),
        pool("services", "10.96.7.0/24", &none),
    ] {
        api.apply(&pool).await?;
    }
    gateway(api, gateway_key).await?;
    wait::until("the pools", SOON, || async {
        let pools = api.list("wgpool").await?;
        Ok(
            (pools.len() == 6 && pools.iter().all(|pool| pool["status"]["observedGeneration"] == 1))
                .then_some(()),
        )
    })
    .await?;
    // Younger by a second at least: creation is counted in seconds.
    wait::pass(std::time::Duration::from_secs(1)).await;
    api.apply(&pool("beside", "10.64.0.128/25", &none)).await?;
    Ok(())
}

/// A key in each state, with its name and the reason of its state.
fn every_state() -> Vec<(&'static str, Value, &'static str)> {
    let none = json!({});
    let in_pool = |name: &str| json!({ "poolRef": { "name": name } });
    vec![
        ("laptop", key_with("laptop", 1, &in_pool("served")), "Ready"),
        ("phone", key_with("phone", 2, &none), "NoGateway"),
        (
            "tablet",
            key_with("tablet", 3, &json!({ "suspend": true })),
            "Suspended",
        ),
        ("copy", key_with("copy", 2, &none), "DuplicateKey"),
        ("thief", key_with("thief", 200, &none), "GatewayKey"),
        ("lost", key_with("lost", 4, &in_pool("nowhere")), "PoolNotFound"),
        (
            "stranger",
            key_with("stranger", 5, &in_pool("closed")),
            "NamespaceNotAllowed",
        ),
        ("first", key_with("first", 6, &in_pool("one-each")), "NoGateway"),
        (
            "second",
            key_with("second", 7, &in_pool("one-each")),
            "QuotaExceeded",
        ),
        ("lucky", key_with("lucky", 8, &in_pool("tiny")), "NoGateway"),
        (
            "waiting",
            key_with("waiting", 9, &in_pool("tiny")),
            "PoolExhausted",
        ),
        (
            "doubled",
            key_with("doubled", 10, &in_pool("beside")),
            "OverlappingPool",
        ),
        (
            "inside",
            key_with("inside", 11, &in_pool("services")),
            "ClusterRange",
        ),
        (
            "guest",
            key_with("guest", 12, &json!({ "expireAfter": "1m" })),
            "Expired",
        ),
    ]
}

#[tokio::test]
async fn states_of_a_key_read_well() -> Result<()> {
    let api = Api::start().await?;
    let _operator = api.operator(&api.plane.kubeconfig())?;
    let gateway_key = public_key(200);
    pools(&api, &gateway_key).await?;
    let states = every_state();
    for (name, key, expected) in &states {
        api.apply(key).await?;
        if *expected == "NoGateway" {
            // Before the next one, which finds the public key taken or the pool full.
            api.addressed(name).await?;
        }
    }
    api.addressed("laptop").await?;
    api.says("wgk", "laptop", "Ready", "Pending").await?;
    report(&api, &gateway_key, newest(&api).await?).await?;
    api.says("wgk", "guest", "Expiring", "ExpiresSoon").await?;
    for (name, _, expected) in &states {
        api.says("wgk", name, "Ready", expected).await?;
    }
    println!("{}", api.kubectl(&["get", "wgk,wgpool,wgw,wgn"], None).await?);
    for (name, _, expected) in &states {
        let text = api.kubectl(&["describe", "wgk", name], None).await?;
        println!("{text}");
        let quiet = ["Ready", "NoGateway", "Suspended"].contains(expected);
        let told = wait::until(&format!("what people hear of {name}"), SOON, || async {
            let field = format!("involvedObject.name={name}");
            let events = [
                "get",
                "events",
                "--field-selector",
                &field,
                "-o=jsonpath={.items[*].reason}",
            ];
            let told = api.kubectl(&events, None).await?;
            Ok((quiet || told.contains(expected)).then_some(told))
        })
        .await?;
        ensure!(
            !quiet || told.is_empty(),
            "{name} is well, and people hear {told}"
        );
    }
    ensure!(api.reason("wgk", "laptop", "Ready").await? == "Ready");
    no_event_tells_of_a_client(&api).await
}

/// No Event holds a public key or a tunnel address.
async fn no_event_tells_of_a_client(api: &Api) -> Result<()> {
    let events = serde_json::to_string(&api.list("events.events.k8s.io").await?)?;
    ensure!(events.contains("ExpiresSoon"), "nobody was warned");
    for peer in api.list("wgp").await? {
        for secret in peer["spec"]["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .chain([&peer["spec"]["publicKey"]])
        {
            let secret = secret.as_str().context("no text")?;
            ensure!(!events.contains(secret), "an Event tells of a client");
        }
    }
    Ok(())
}

#[tokio::test]
async fn states_of_pools_say_why_they_give_nothing() -> Result<()> {
    let api = Api::start().await?;
    let _operator = api.operator(&api.plane.kubeconfig())?;
    api.apply(&pool("default", "10.64.0.0/30", &json!({ "cooldown": "0s" })))
        .await?;
    api.apply(&pool("services", "10.96.0.0/12", &json!({}))).await?;
    api.apply(&key("laptop", &public_key(1))).await?;
    api.addressed("laptop").await?;
    for (name, expected) in [("default", "PoolExhausted"), ("services", "ClusterRange")] {
        api.says("wgpool", name, "Ready", expected).await?;
    }
    api.kubectl(&["delete", "wgpool/default", "--wait=false"], None)
        .await?;
    wait::until("the pool to say that it waits", SOON, || async {
        let pools = api.list("wgpool").await?;
        let pool = pools
            .iter()
            .find(|pool| pool["metadata"]["name"] == "default")
            .context("it is gone")?;
        ensure!(pool["status"]["allocated"] == 1, "{}", pool["status"]);
        let ready = api.reason("wgpool", "default", "Ready").await?;
        Ok((ready == "PoolInUse").then_some(()))
    })
    .await?;
    println!("{}", api.kubectl(&["describe", "wgpool"], None).await?);
    api.kubectl(&["delete", "wgk/laptop"], None).await?;
    wait::until("the pool to go", SOON, || async {
        Ok((api.list("wgpool").await?.len() == 1).then_some(()))
    })
    .await
}

#[tokio::test]
async fn states_are_explained() -> Result<()> {
    let api = Api::start().await?;
    // What is defined is discovered a moment later.
    let text = wait::until("the kinds to be discovered", SOON, || async {
        let words = ["explain", "wgk.spec", "--recursive"];
        api.kubectl(&words, None).await.map(Some)
    })
    .await?;
    ensure!(
        text.contains("publicKey") && text.contains("addressGeneration"),
        "{text}"
    );
    for field in [
        "wgk.spec.publicKey",
        "wgk.status.expiresAt",
        "wgpool.spec.keyPolicy.maxAge",
        "wgn.spec.drain",
        "wgn.spec.purgeGeneration",
        "wgn.status.purgedGeneration",
    ] {
        let text = api.kubectl(&["explain", field], None).await?;
        println!("{text}");
        ensure!(text.contains("DESCRIPTION"), "{field} is not explained: {text}");
        ensure!(!text.contains("<empty>"), "{field} is not explained: {text}");
    }
    Ok(())
}
