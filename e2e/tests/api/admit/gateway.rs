//! Gateways.

use anyhow::Result;
use serde_json::{Value, json};

use super::{refuses, takes};

/// A gateway with one field set.
pub(super) fn gateway(field: &str, value: &Value) -> Value {
    let mut spec = json!({ "poolRefs": [{ "name": "default" }] });
    spec[field] = value.clone();
    json!({ "apiVersion": "culvert.dev/v1alpha1", "kind": "WireGuardGateway", "metadata": { "name": "edge" }, "spec": spec })
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
        ("mtu", json!(1279), "should be greater than or equal to 1280"),
        ("mtu", json!(8921), "should be less than or equal to 8920"),
        (
            "interface",
            json!(""),
            "interface must be 1 to 15 lower-case letters",
        ),
        (
            "interface",
            json!("0cv"),
            "interface must be 1 to 15 lower-case letters",
        ),
        (
            "interface",
            json!("cv/0"),
            "interface must be 1 to 15 lower-case letters",
        ),
        (
            "interface",
            json!("cv0\n"),
            "interface must be 1 to 15 lower-case letters",
        ),
        (
            "nodeSelector",
            json!({ "culvert.dev/gateway": "two words" }),
            "nodeSelector must hold labels",
        ),
        (
            "nodeSelector",
            json!({ "culvert.dev/gateway": "x".repeat(64) }),
            "nodeSelector.culvert.dev/gateway: Too long",
        ),
        (
            "purge",
            json!({ "handshakeWindow": "90s" }),
            "handshakeWindow must be a duration from 180s",
        ),
    ] {
        refuses(&gateway(field, &value), because, "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_interface_names_that_are_another_programs() -> Result<()> {
    for name in [
        "lo",
        "all",
        "default",
        "eth0",
        "eth0.100",
        "ens3",
        "enp0s31f6",
        "eno1",
        "wlan0",
        "wlp2s0",
        "wwan0",
        "bond0",
        "docker0",
        "br-3f2a",
        "virbr0",
        "veth12ab",
        "cni0",
        "flannel.1",
        "flannel-wg",
        "cali12ab",
        "cilium_host",
        "cilium_wg0",
        "lxc12ab",
        "kube-ipvs0",
        "kube-bridge",
        "nodelocaldns",
        "tunl0",
        "vxlan.calico",
        "sit0",
        "gre0",
        "ip6tnl0",
        "dummy0",
    ] {
        refuses(
            &gateway("interface", &json!(name)),
            "belongs to the system or a network plugin",
            "",
        )
        .await?;
    }
    // Whether one of these exists already is seen on the node: its agent touches no interface but Culvert's.
    for name in [
        "cv0",
        "wg0",
        "tun0",
        "tap0",
        "vpn",
        "culvert.edge-01",
        "local0",
        "gate",
    ] {
        takes(&gateway("interface", &json!(name))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_takes_every_udp_port() -> Result<()> {
    // 22, 6443 and 10250 are TCP's: a UDP port of the same number is another, and VPNs on 53, 123 and 443 get through
    // firewalls. A port that is in use is the agent's to see.
    for port in [1, 22, 53, 123, 443, 2379, 6443, 10250, 51820, 65535] {
        takes(&gateway("listenPort", &json!(port))).await?;
    }
    for port in [json!(-1), json!(0), json!(65536), json!("51820"), json!(1.5)] {
        refuses(&gateway("listenPort", &port), "spec.listenPort", "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_host_templates_that_are_no_dns_name() -> Result<()> {
    for template in [
        "$(reboot)",
        "`id`",
        "a b",
        "a;b",
        "a|b",
        "a\nb",
        "{node}.example.com.",
        ".example.com",
        "-a.example.com",
        "a..b",
        "{name}.example.com",
        "{{node}}",
        "Upper.example.com",
        "a_b.example.com",
        "[2001:db8::1]",
        "example.com:51820",
        "https://example.com",
    ] {
        refuses(
            &gateway("endpoint", &json!({ "hostTemplate": template })),
            "hostTemplate must be a DNS name",
            "",
        )
        .await?;
    }
    for template in [
        "{node}.vpn.example.com",
        "vpn-{node}",
        "vpn.example.com",
        "198.51.100.1",
    ] {
        takes(&gateway("endpoint", &json!({ "hostTemplate": template }))).await?;
    }
    Ok(())
}
