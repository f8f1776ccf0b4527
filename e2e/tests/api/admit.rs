//! What the apiserver refuses by itself: no operator runs in these tests.

use anyhow::{Result, ensure};
use culvert_e2e::{ControlPlane, wait};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::fixture::{SOON, define, examples, key, public_key};

async fn plane() -> Result<&'static ControlPlane> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let plane = ControlPlane::shared().await?;
    DEFINED.get_or_try_init(|| define(plane)).await?;
    Ok(plane)
}

/// What kubectl says to an object, and whether it was taken. Nothing is stored.
async fn offer(object: &Value) -> Result<(bool, String)> {
    let output = plane()
        .await?
        .kubectl(
            &["apply", "--dry-run=server", "-f", "-"],
            Some(&object.to_string()),
        )
        .await?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

async fn refuses(object: &Value, because: &str, unsaid: &str) -> Result<()> {
    let (taken, said) = offer(object).await?;
    ensure!(!taken, "{object} was taken");
    ensure!(said.contains(because), "{object} was refused with {said}");
    ensure!(
        unsaid.is_empty() || !said.contains(unsaid),
        "the refusal repeats the value: {said}"
    );
    Ok(())
}

const SHAPE: &str = "publicKey must be 44 base64 characters encoding 32 bytes";
const POINT: &str = "publicKey is a low-order or non-canonical point that protects nothing";

#[tokio::test]
async fn admit_refuses_texts_that_are_no_public_key() -> Result<()> {
    for text in [
        "not base64 at all, but forty-four characters",
        "",
        // 31 and 33 bytes.
        "CQEJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQ==",
        "CQEJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ",
        // Aliases of one key: the last sextet's unused bits are set.
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Di=",
        // URL-safe letters, white space, a newline, no padding.
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZq_8Dg=",
        " TIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg",
        // Bit 255 is set.
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA=",
    ] {
        refuses(&key("bad", text), SHAPE, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_points_that_protect_nothing() -> Result<()> {
    for text in [
        // 0, 1, the two points of order 8, p - 1, p, p + 1, and the largest number below 2^255.
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
        "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
        "7P///////////////////////////////////////38=",
        "7f///////////////////////////////////////38=",
        "7v///////////////////////////////////////38=",
        "/////////////////////////////////////////38=",
    ] {
        refuses(&key("bad", text), POINT, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_takes_every_usable_public_key() -> Result<()> {
    // The neighbours of what is refused: 2, p - 2, and keys whose last letters are the rules' edges.
    for text in [
        "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "6////////////////////////////////////////38=",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    ] {
        let (taken, said) = offer(&key("good", text)).await?;
        ensure!(taken, "{text} was refused: {said}");
    }
    for n in 0..20 {
        let (taken, said) = offer(&key("good", &public_key(n))).await?;
        ensure!(taken, "key {n} was refused: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_fields_that_nobody_may_choose() -> Result<()> {
    for field in ["address", "addresses", "ip", "endpoint", "presharedKey"] {
        let mut object = key("bad", &public_key(1));
        object["spec"][field] = json!("10.64.0.9");
        refuses(&object, &format!("unknown field \"spec.{field}\""), "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_durations_out_of_bounds() -> Result<()> {
    for duration in ["0s", "30s", "-1h", "9000h", "1d", "NaN", "one hour"] {
        let mut object = key("bad", &public_key(1));
        object["spec"]["expireAfter"] = json!(duration);
        refuses(&object, "expireAfter must be a duration from 1m to 8760h", "").await?;
    }
    Ok(())
}

fn pool(spec: &Value) -> Value {
    json!({ "apiVersion": "culvert.dev/v1alpha1", "kind": "IPPool", "metadata": { "name": "bad" }, "spec": spec })
}

#[tokio::test]
async fn admit_refuses_pools_that_cannot_work() -> Result<()> {
    for (spec, because) in [
        (json!({}), "a pool needs spec.ipv4, spec.ipv6 or both"),
        (json!({ "ipv4": { "cidr": "10.64.0.1/11" } }), "without host bits"),
        (json!({ "ipv4": { "cidr": "0.0.0.0/0" } }), "from /8 to /30"),
        (json!({ "ipv4": { "cidr": "10.0.0.0/31" } }), "from /8 to /30"),
        (
            json!({ "ipv4": { "cidr": "fd00::/64" } }),
            "must be an IPv4 range",
        ),
        (
            json!({ "ipv4": { "cidr": "169.254.0.0/16" } }),
            "must not be loopback, link-local",
        ),
        (
            json!({ "ipv4": { "cidr": "224.0.0.0/8" } }),
            "must not be loopback, link-local",
        ),
        (json!({ "ipv6": { "cidr": "fd00::/65" } }), "from /16 to /64"),
        (json!({ "ipv6": { "cidr": "::ffff:0:0/64" } }), "ipv6.cidr must"),
        (
            json!({ "ipv6": { "cidr": "fe80::/64" } }),
            "must not be unspecified",
        ),
        (
            json!({ "ipv4": { "cidr": "10.64.0.0/11" }, "exclude": ["10.0.0.0/24"] }),
            "must lie inside",
        ),
        (
            json!({ "ipv4": { "cidr": "10.64.0.0/11" }, "exclude": ["fd00::/64"] }),
            "must lie inside",
        ),
        (
            json!({ "ipv4": { "cidr": "10.64.0.0/11" }, "exclude": ["10.64.0.7/24"] }),
            "without host bits",
        ),
        (
            json!({ "ipv4": { "cidr": "10.64.0.0/11" }, "keyPolicy": { "maxAge": "1h" } }),
            "from 24h to 720h",
        ),
    ] {
        refuses(&pool(&spec), because, "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_to_move_a_pools_ranges() -> Result<()> {
    let plane = plane().await?;
    let stored = json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "IPPool",
        "metadata": { "name": "fixed" },
        "spec": { "ipv4": { "cidr": "10.64.0.0/11" }, "ipv6": { "cidr": "fd64:cafe:1::/64" } },
    });
    let output = plane
        .kubectl(&["apply", "-f", "-"], Some(&stored.to_string()))
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for patch in [
        json!({ "spec": { "ipv4": { "cidr": "10.64.0.0/12" } } }),
        json!({ "spec": { "ipv6": null } }),
        json!({ "spec": { "ipv6": { "cidr": "fd64:cafe:2::/64" } } }),
    ] {
        let output = plane
            .kubectl(
                &["patch", "ippool/fixed", "--type=merge", "-p", &patch.to_string()],
                None,
            )
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && said.contains("ranges cannot change"),
            "{patch}: {said}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_gateways_that_cannot_work() -> Result<()> {
    for (field, value, because) in [
        ("listenPort", json!(0), "should be greater than or equal to 1"),
        (
            "listenPort",
            json!(65536),
            "should be less than or equal to 65535",
        ),
        ("mtu", json!(0), "should be greater than or equal to 1280"),
        ("mtu", json!(65535), "should be less than or equal to 8920"),
        ("interface", json!("a-name-of-sixteen"), "may not be more than 15"),
        (
            "interface",
            json!("Bad Name"),
            "interface must be 1 to 15 lower-case letters",
        ),
        ("poolRefs", json!([]), "should have at least 1 items"),
        (
            "endpoint",
            json!({ "hostTemplate": "{node}.example.com; rm -rf /" }),
            "hostTemplate must be a DNS name",
        ),
        (
            "purge",
            json!({ "handshakeWindow": "90s" }),
            "handshakeWindow must be a duration from 180s",
        ),
    ] {
        let mut spec = json!({ "poolRefs": [{ "name": "default" }] });
        spec[field] = value;
        let gateway = json!({ "apiVersion": "culvert.dev/v1alpha1", "kind": "WireGuardGateway", "metadata": { "name": "bad" }, "spec": spec });
        refuses(&gateway, because, "").await?;
    }
    Ok(())
}

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
    ] {
        refuses(&object, because, "").await?;
    }
    for object in [
        peer("10.64.0.9", &json!(["10.64.0.9", "fd64::2"])),
        peer("fd64--2", &json!(["fd64::2"])),
    ] {
        let (taken, said) = offer(&object).await?;
        ensure!(taken, "{object} was refused: {said}");
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

#[tokio::test]
async fn admit_takes_every_example() -> Result<()> {
    let output = plane()
        .await?
        .kubectl(&["apply", "--dry-run=server", "-f", &examples()], None)
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[tokio::test]
async fn admit_explains_every_field() -> Result<()> {
    for kind in [
        "wireguardkeys",
        "ippools",
        "wireguardgateways",
        "wireguardpeers",
        "gatewaynodes",
    ] {
        // The API's own description of a new kind comes a moment after the kind.
        let text = wait::until(&format!("the description of {kind}"), SOON, || async {
            let output = plane()
                .await?
                .kubectl(&["explain", &format!("{kind}.spec")], None)
                .await?;
            ensure!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        })
        .await?;
        ensure!(
            !text.contains("<no description>"),
            "{kind} has a field without text:\n{text}"
        );
    }
    Ok(())
}
