//! Where a gateway's clients may go, as far as the apiserver can judge it. What an agent makes of it, and that the
//! cluster's own ranges stay closed below a wide `allow`, is seen where agents run.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{attempt, gateway::gateway, offer, plane, refuses, takes};

const ALLOW: &str = "allow must hold ranges without host bits, for instance 10.20.0.0/16 or 10.20.0.9/32";
const DENY: &str = "deny must hold ranges without host bits, for instance 203.0.113.0/24";
const DNS: &str = "dns must hold addresses of resolvers, for instance 9.9.9.9";
const FORWARD: &str =
    "dnsForward must hold the address of a resolver, at most one of each family, for instance 9.9.9.9";
const SOURCES: &str =
    "sourceAddresses must hold addresses that the gateway's nodes have, for instance 203.0.113.7";

fn egress(field: &str, value: &Value) -> Value {
    gateway("egress", &json!({ field: value }))
}

/// A rule's refusal, word for word: at this field, with this message and no other.
async fn refuses_at(path: &str, object: &Value, message: &str) -> Result<()> {
    let (taken, said) = offer(object).await?;
    ensure!(!taken, "{object} was taken");
    // Which object, then where and what, and the value between the two.
    let (place, said_of_it) = said.split_once("is invalid: ").unwrap_or_default();
    ensure!(place == "WireGuardGateway.culvert.dev \"edge\" ", "{said}");
    ensure!(
        said_of_it.starts_with(&format!("{path}: Invalid value: ")),
        "{said}"
    );
    ensure!(said.trim_end().ends_with(&format!(": {message}")), "{said}");
    Ok(())
}

/// Texts that are no range, or not as one is written.
const NO_RANGES: [&str; 24] = [
    "10.20.0.1/16",
    "10.0.0.1/8",
    "0.0.0.1/0",
    "10.20.0.0/33",
    "10.20.0.0/-1",
    "10.20.0.0/",
    "10.20.0.0/016",
    "010.20.0.0/16",
    "10.20.0/16",
    "10.20.0.0",
    "10.20.0.0/255.255.0.0",
    "10.20.0.0/16 ",
    " 10.20.0.0/16",
    "10.20.0.0/16\n",
    "10.20.0.0/16,10.21.0.0/16",
    "fd00:20::1/64",
    "fd00:20::/129",
    "fd00:20::%eth0/64",
    "[fd00:20::]/64",
    "::ffff:10.20.0.0/112",
    "::ffff:a14:0/112",
    "example.com",
    "; reboot",
    "",
];

const RANGES: [&str; 9] = [
    "10.20.0.0/16",
    "10.20.0.9/32",
    "192.168.0.0/16",
    "203.0.113.0/24",
    "fd00:20::/64",
    "fd00:20::9/128",
    "2001:db8::/32",
    // Whoever opens everything opens what is private: the cluster's own stays closed, and metadata services.
    "0.0.0.0/0",
    "::/0",
];

#[tokio::test]
async fn admit_refuses_egress_to_what_is_no_range() -> Result<()> {
    for range in NO_RANGES {
        refuses_at("spec.egress.allow", &egress("allow", &json!([range])), ALLOW).await?;
        // One among others.
        let among = json!(["203.0.113.0/24", range]);
        refuses_at("spec.egress.deny", &egress("deny", &among), DENY).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_takes_egress_to_ranges() -> Result<()> {
    for field in ["allow", "deny"] {
        takes(&egress(field, &json!(RANGES))).await?;
        takes(&egress(field, &json!([]))).await?;
    }
    takes(&gateway("egress", &json!({}))).await
}

/// Texts that are no address, or not as one is written.
const NO_ADDRESSES: [&str; 15] = [
    "9.9.9",
    "9.9.9.9.9",
    "9.9.9.256",
    "09.9.9.9",
    "9.9.9.9/32",
    "9.9.9.9:53",
    "[2620:fe::fe]:53",
    "2620:fe::fe%eth0",
    "2620:fe:::fe",
    "::ffff:9.9.9.9",
    "dns.example.com",
    "9.9.9.9 ",
    "9.9.9.9\n",
    "$(reboot)",
    "",
];

#[tokio::test]
async fn admit_refuses_resolvers_and_sources_that_are_no_address() -> Result<()> {
    for address in NO_ADDRESSES {
        let alone = json!([address]);
        refuses_at("spec.dns", &gateway("dns", &alone), DNS).await?;
        refuses_at("spec.egress.dnsForward", &egress("dnsForward", &alone), FORWARD).await?;
        let among = json!(["203.0.113.7", address]);
        refuses_at(
            "spec.egress.sourceAddresses",
            &egress("sourceAddresses", &among),
            SOURCES,
        )
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_two_resolvers_of_one_family() -> Result<()> {
    for two in [["9.9.9.9", "149.112.112.112"], ["2620:fe::fe", "2620:fe::9"]] {
        refuses_at(
            "spec.egress.dnsForward",
            &egress("dnsForward", &json!(two)),
            FORWARD,
        )
        .await?;
    }
    for resolvers in [
        json!(["9.9.9.9"]),
        json!(["2620:fe::fe"]),
        json!(["9.9.9.9", "2620:fe::fe"]),
        json!([]),
    ] {
        takes(&egress("dnsForward", &resolvers)).await?;
    }
    // For clients there may be more of each.
    let told = json!(["9.9.9.9", "149.112.112.112", "2620:fe::fe", "2620:fe::9"]);
    takes(&gateway("dns", &told)).await?;
    takes(&egress(
        "sourceAddresses",
        &json!(["203.0.113.7", "203.0.113.8", "2001:db8::7"]),
    ))
    .await
}

/// So many addresses, all different.
fn addresses(count: u8) -> Value {
    (1..=count).map(|n| json!(format!("203.0.113.{n}"))).collect()
}

/// So many ranges, all different.
fn ranges(count: u8) -> Value {
    (0..count).map(|n| json!(format!("10.{n}.0.0/16"))).collect()
}

#[tokio::test]
async fn admit_refuses_lists_of_egress_that_are_too_long() -> Result<()> {
    for (field, most, too_many) in [
        ("allow", ranges(64), ranges(65)),
        ("deny", ranges(64), ranges(65)),
        ("sourceAddresses", addresses(16), addresses(17)),
    ] {
        takes(&egress(field, &most)).await?;
        let count = most.as_array().map_or(0, Vec::len);
        let because = format!(
            "spec.egress.{field}: Too many: {}: must have at most {count} items",
            count + 1
        );
        refuses(&egress(field, &too_many), &because, "").await?;
    }
    let because = "spec.egress.dnsForward: Too many: 3: must have at most 2 items";
    refuses(&egress("dnsForward", &addresses(3)), because, "").await?;
    let because = "spec.dns: Too many: 5: must have at most 4 items";
    refuses(&gateway("dns", &addresses(5)), because, "").await?;
    takes(&gateway("dns", &addresses(4))).await?;
    // Longer than any range is written, so that no rule has to read it.
    let long = "1".repeat(50);
    for field in ["allow", "deny"] {
        refuses(
            &egress(field, &json!([long])),
            "Too long: may not be more than 49",
            "",
        )
        .await?;
    }
    for field in ["dnsForward", "sourceAddresses"] {
        refuses(
            &egress(field, &json!([long])),
            "Too long: may not be more than 45",
            "",
        )
        .await?;
    }
    refuses(
        &gateway("dns", &json!([long])),
        "Too long: may not be more than 45",
        "",
    )
    .await
}

#[tokio::test]
async fn admit_refuses_egress_that_says_a_thing_twice() -> Result<()> {
    for (field, twice) in [
        ("allow", ["10.20.0.0/16"; 2]),
        ("deny", ["203.0.113.0/24"; 2]),
        ("dnsForward", ["9.9.9.9"; 2]),
    ] {
        refuses(
            &egress(field, &json!(twice)),
            &format!("spec.egress.{field}[1]: Duplicate value"),
            "",
        )
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_bounds_the_connections_of_a_client() -> Result<()> {
    for (count, because) in [
        (json!(15), "should be greater than or equal to 16"),
        (json!(0), "should be greater than or equal to 16"),
        (json!(-1), "should be greater than or equal to 16"),
        (json!(65536), "should be less than or equal to 65535"),
        (json!("4096"), "must be of type integer"),
        (json!(16.5), "must be of type integer"),
    ] {
        let gateway = egress("connectionsPerClient", &count);
        refuses(&gateway, "spec.egress.connectionsPerClient", "").await?;
        refuses(&gateway, because, "").await?;
    }
    for count in [16, 4096, 65535] {
        takes(&egress("connectionsPerClient", &json!(count))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_knows_two_ways_for_ipv6() -> Result<()> {
    for way in ["Masquerade", "Routed"] {
        takes(&egress("ipv6", &json!(way))).await?;
    }
    for way in ["masquerade", "NAT66", ""] {
        let because = r#"supported values: "Masquerade", "Routed""#;
        refuses(&egress("ipv6", &json!(way)), because, "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_egress_fields_that_there_are_not() -> Result<()> {
    // What is always denied cannot be taken off the list, and a slip of the pen is no open gate.
    for field in ["metadata", "isolation", "sourceAddress", "Allow", "allowed"] {
        let because = format!("unknown field \"spec.egress.{field}\"");
        refuses(&egress(field, &json!([])), &because, "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_gives_a_gateway_without_a_word_of_it_the_safe_egress() -> Result<()> {
    let plane = plane().await?;
    for egress in [json!(null), json!({})] {
        let mut object = gateway("egress", &egress);
        if egress.is_null() {
            object = gateway("mtu", &json!(1420));
        }
        let made = plane
            .kubectl_text(
                &["create", "--dry-run=server", "-o=json", "-f", "-"],
                Some(&object.to_string()),
            )
            .await?;
        let made: Value = serde_json::from_str(&made)?;
        let expected = json!({ "ipv6": "Masquerade", "connectionsPerClient": 4096 });
        ensure!(made["spec"]["egress"] == expected, "{}", made["spec"]);
        ensure!(made["spec"]["dns"].is_null(), "{}", made["spec"]);
    }
    Ok(())
}

#[tokio::test]
async fn admit_takes_as_many_cluster_ranges_as_an_operator_writes() -> Result<()> {
    let plane = plane().await?;
    let mut object = gateway("mtu", &json!(1420));
    object["metadata"]["name"] = json!("admit-ranges");
    plane
        .kubectl_text(&["create", "-f", "-"], Some(&object.to_string()))
        .await?;
    for (count, taken) in [(4096, true), (4097, false)] {
        // The longest that there are.
        let range = |n: u32| {
            format!(
                "2001:0db8:0000:0000:0000:0000:{:04x}:{:04x}/128",
                n >> 16,
                n & 0xffff
            )
        };
        let ranges: Vec<String> = (0..count).map(range).collect();
        let patch = json!({ "status": { "clusterRanges": ranges } });
        let file = plane.folder().join("ranges.json");
        std::fs::write(&file, patch.to_string())?;
        let file = file.display().to_string();
        let arguments = [
            "patch",
            "wgw/admit-ranges",
            "--subresource=status",
            "--type=merge",
            "--patch-file",
            &file,
        ];
        let (done, said) = attempt(plane, &plane.kubeconfig(), &arguments, &Value::Null).await?;
        ensure!(done == taken, "{count}: {said}");
        ensure!(taken || said.contains("status.clusterRanges: Too many"), "{said}");
    }
    Ok(())
}
