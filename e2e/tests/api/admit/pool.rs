//! Pools.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{plane, refuses, takes};

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
            "must not overlap loopback, link-local",
        ),
        (
            json!({ "ipv4": { "cidr": "224.0.0.0/8" } }),
            "must not overlap loopback, link-local",
        ),
        (json!({ "ipv6": { "cidr": "fd00::/65" } }), "from /16 to /64"),
        (json!({ "ipv6": { "cidr": "::ffff:0:0/64" } }), "ipv6.cidr must"),
        (
            json!({ "ipv6": { "cidr": "fe80::/64" } }),
            "must not overlap unspecified",
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
async fn admit_refuses_ranges_that_are_no_private_space() -> Result<()> {
    for range in [
        // "This network", loopback, link-local, multicast, class E; the third holds link-local.
        "0.0.0.0/8",
        "127.0.0.0/8",
        "127.64.0.0/10",
        "169.0.0.0/8",
        "169.254.0.0/16",
        "169.254.169.0/24",
        "224.0.0.0/8",
        "239.255.0.0/16",
        "240.0.0.0/8",
        "255.255.255.0/24",
    ] {
        let spec = json!({ "ipv4": { "cidr": range } });
        refuses(&pool(&spec), "ipv4.cidr must not overlap loopback", "").await?;
    }
    for range in [
        // Unspecified, loopback, the old IPv4-compatible range, NAT64, link-local, multicast.
        "::/64",
        "::/16",
        "64::/16",
        "64:ff9b::/64",
        "64:ff9b:1::/64",
        "fe80::/64",
        "febf::/32",
        "ff00::/16",
        "ff02::/64",
    ] {
        let spec = json!({ "ipv6": { "cidr": range } });
        refuses(&pool(&spec), "ipv6.cidr must not overlap unspecified", "").await?;
    }
    for (family, range) in [
        // IPv4 in IPv6, a zone, no prefix length, leading zeros, an address family in the wrong place.
        ("ipv6", "::ffff:10.64.0.0/112"),
        ("ipv6", "::ffff:0a40:0/64"),
        ("ipv6", "fd64::%eth0/64"),
        ("ipv6", "10.64.0.0/11"),
        ("ipv6", "2000::/3"),
        ("ipv6", "::/0"),
        ("ipv4", "10.64.0.0"),
        ("ipv4", "010.64.0.0/11"),
        ("ipv4", "10.64.0.0/011"),
        ("ipv4", "10.0.0.0/7"),
        ("ipv4", "0.0.0.0/0"),
        ("ipv4", "anything"),
        ("ipv4", ""),
    ] {
        let spec = json!({ family: { "cidr": range } });
        refuses(&pool(&spec), &format!("{family}.cidr must be an"), "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_takes_private_and_own_ranges() -> Result<()> {
    for spec in [
        json!({ "ipv4": { "cidr": "10.0.0.0/8" } }),
        json!({ "ipv4": { "cidr": "100.64.0.0/10" } }),
        json!({ "ipv4": { "cidr": "192.168.0.0/30" } }),
        json!({ "ipv6": { "cidr": "fd64:cafe:1::/64" } }),
        json!({ "ipv6": { "cidr": "2a00::/16" } }),
    ] {
        takes(&pool(&spec)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_exclusions_that_make_no_sense() -> Result<()> {
    // One half, half of the other half, and so on: all but the last address.
    let mut halves: Vec<String> = (1..=24_u32)
        .map(|n| {
            let start = u32::from_be_bytes([10, 0, 0, 0]) + (1 << 24) - (1 << (25 - n));
            format!("{}/{}", Ipv4Addr::from(start), 8 + n)
        })
        .collect();
    let whole_but_one = halves.clone();
    halves.push("10.255.255.255/32".to_owned());
    let v4 = json!({ "cidr": "10.0.0.0/8" });
    let v6 = json!({ "cidr": "fd64::/64" });
    for (spec, because) in [
        (
            json!({ "ipv4": v4, "exclude": ["11.0.0.0/24"] }),
            "must lie inside",
        ),
        (json!({ "ipv4": v4, "exclude": ["0.0.0.0/0"] }), "must lie inside"),
        (
            json!({ "ipv6": v6, "exclude": ["10.0.0.0/24"] }),
            "must lie inside",
        ),
        (
            json!({ "ipv4": v4, "exclude": ["10.1.0.0/16", "10.1.2.0/24"] }),
            "must not overlap",
        ),
        (
            json!({ "ipv4": v4, "exclude": ["10.1.2.0/24", "10.1.0.0/16"] }),
            "must not overlap",
        ),
        (
            json!({ "ipv4": v4, "exclude": ["10.1.0.0/16", "10.1.0.0/16"] }),
            "must not overlap",
        ),
        (
            json!({ "ipv6": v6, "exclude": ["fd64::/80", "fd64:0::/80"] }),
            "must not overlap",
        ),
        (
            json!({ "ipv4": v4, "exclude": ["10.0.0.0/8"] }),
            "covers the whole IPv4 range",
        ),
        (
            json!({ "ipv4": v4, "exclude": ["10.0.0.0/9", "10.128.0.0/9"] }),
            "covers the whole IPv4 range",
        ),
        (
            json!({ "ipv4": v4, "exclude": halves }),
            "covers the whole IPv4 range",
        ),
        (
            json!({ "ipv4": v4, "ipv6": v6, "exclude": ["fd64::/65", "fd64::8000:0:0:0/65"] }),
            "covers the whole IPv6 range",
        ),
        (
            json!({ "ipv4": v4, "exclude": ["10.0.0.0"] }),
            "exclude must be a list of ranges",
        ),
        (
            json!({ "ipv4": v4, "exclude": ["a", "b"] }),
            "exclude must be a list of ranges",
        ),
    ] {
        refuses(&pool(&spec), because, "").await?;
    }
    for spec in [
        json!({ "ipv4": v4, "exclude": whole_but_one }),
        json!({ "ipv4": v4, "ipv6": v6, "exclude": ["10.0.0.0/9", "fd64::/65"] }),
        json!({ "ipv4": v4, "exclude": (0..64).map(|n| format!("10.{n}.0.0/16")).collect::<Vec<_>>() }),
    ] {
        takes(&pool(&spec)).await?;
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
