//! Peers.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{plane, refuses, takes};
use crate::fixture::public_key;

fn peer(name: &str, addresses: &Value) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardPeer",
        "metadata": { "name": name },
        "spec": {
            "publicKey": public_key(1),
            "addresses": addresses,
            "poolRef": { "name": "default" },
            "keyRef": { "namespace": "default", "name": "k", "uid": "u" },
            "addressGeneration": 0,
        },
    })
}

#[tokio::test]
async fn admit_takes_a_peer_only_under_its_address() -> Result<()> {
    let named = "a peer is named by its first address";
    let canonical = "addresses must be canonical";
    for (object, because) in [
        (peer("10.64.0.9", &json!(["10.64.0.8"])), named),
        (peer("fd64--1", &json!(["fd64::2"])), named),
        (peer("10.64.0.9", &json!(["10.64.0.9", "10.64.0.10"])), canonical),
        (peer("fd64--2", &json!(["fd64:0:0:0:0:0:0:2"])), canonical),
        (peer("fd64--2", &json!(["fd64::2", "10.64.0.9"])), canonical),
        // No address of a client: loopback, multicast, link-local, unspecified, IPv4 in IPv6, no address at all.
        (peer("127.0.0.1", &json!(["127.0.0.1"])), canonical),
        (peer("224.0.0.9", &json!(["224.0.0.9"])), canonical),
        (peer("169.254.169.254", &json!(["169.254.169.254"])), canonical),
        (peer("0.0.0.0", &json!(["0.0.0.0"])), canonical),
        (peer("fe80--1", &json!(["fe80::1"])), canonical),
        (peer("--ffff-10.64.0.9", &json!(["::ffff:10.64.0.9"])), canonical),
        (peer("10.64.0.9-32", &json!(["10.64.0.9/32"])), canonical),
    ] {
        refuses(&object, because, "").await?;
    }
    for object in [
        peer("10.64.0.9", &json!(["10.64.0.9", "fd64::2"])),
        peer("fd64--2", &json!(["fd64::2"])),
    ] {
        takes(&object).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_peers_whose_key_is_none() -> Result<()> {
    for (text, because) in [
        ("not a key", "publicKey must be 44 base64 characters"),
        (
            "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "publicKey is a low-order",
        ),
    ] {
        let mut object = peer("10.64.0.9", &json!(["10.64.0.9"]));
        object["spec"]["publicKey"] = json!(text);
        refuses(&object, because, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_lets_a_peer_change_in_one_way_only() -> Result<()> {
    let plane = plane().await?;
    let stored = peer("10.64.7.7", &json!(["10.64.7.7"]));
    let output = plane
        .kubectl(&["apply", "-f", "-"], Some(&stored.to_string()))
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for patch in [
        json!({ "spec": { "publicKey": public_key(2) } }),
        json!({ "spec": { "keyRef": { "uid": "other" } } }),
        json!({ "spec": { "addressGeneration": 1 } }),
    ] {
        let output = plane
            .kubectl(
                &[
                    "patch",
                    "wireguardpeer/10.64.7.7",
                    "--type=merge",
                    "-p",
                    &patch.to_string(),
                ],
                None,
            )
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && said.contains("a peer never changes"),
            "{patch}: {said}"
        );
    }
    for (released, taken) in [("true", true), ("false", false)] {
        let patch = format!("{{\"spec\":{{\"released\":{released}}}}}");
        let output = plane
            .kubectl(
                &["patch", "wireguardpeer/10.64.7.7", "--type=merge", "-p", &patch],
                None,
            )
            .await?;
        ensure!(output.status.success() == taken, "released: {released}");
    }
    Ok(())
}
