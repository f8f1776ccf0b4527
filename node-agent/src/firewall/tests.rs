//! What the script says. What it does to packets is seen on a real kernel: `e2e/tests/system/egress.rs`.

use std::collections::HashMap;
use std::time::Duration;

use culvert_crds::gateway::KeyStorage;
use ipnet::IpNet;

use super::rules::deletion;
use super::{Source, Table};
use crate::assignment::Assignment;
use crate::egress::Egress;
use crate::interface::Mark;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn assignment(ranges: &[&str], egress: Egress) -> Assignment {
    Assignment {
        name: "gw.a".into(),
        generation: 1,
        mark: Mark {
            gateway: "0a".into(),
            window: Duration::from_secs(180),
        },
        interface: "cv0".into(),
        listen_port: 51_820,
        mtu: 1_420,
        key_storage: KeyStorage::Node,
        ranges: HashMap::from([("default".into(), ranges.iter().map(|range| net(range)).collect())]),
        absent: Vec::new(),
        excluded: Vec::new(),
        egress,
        endpoint_host: None,
        purge_generation: 0,
        purged_generation: 0,
        nodes: 1,
    }
}

fn script(ranges: &[&str], egress: Egress, sources: [Source; 2]) -> String {
    let table = Table {
        assignment: &assignment(ranges, egress),
        ifindex: 7,
        port: Some(51_820),
        sources,
    };
    table.script()
}

/// The lines of a chain.
fn chain<'a>(script: &'a str, name: &str) -> Vec<&'a str> {
    let from = script
        .lines()
        .skip_while(|line| !line.starts_with(&format!("chain {name} ")));
    from.skip(1).take_while(|line| *line != "}").collect()
}

const BOTH: [&str; 2] = ["10.64.0.0/11", "fd64:cafe:1::/64"];
const ANY: [Source; 2] = [Source::Any, Source::Any];

#[test]
fn tables_are_replaced_whole() {
    let script = script(&BOTH, Egress::default(), ANY);
    assert!(script.starts_with(&deletion("0a")));
    assert!(script.contains("table inet culvert-0a {"));
    assert!(script.contains("table arp culvert-0a {"));
}

/// nft looks other names up in /etc/protocols, which an image does not have.
#[test]
fn protocols_are_named_by_words_of_nfts_own() {
    const OWN: [&str; 4] = ["tcp", "udp", "icmp", "icmpv6"];
    let script = script(&BOTH, Egress::default(), ANY);
    let mut seen = 0;
    for key in ["l4proto ", "ip protocol ", "nexthdr "] {
        for (_, rest) in script.lines().filter_map(|line| line.split_once(key)) {
            let named = rest.trim_start_matches("!= ");
            let named = match named.strip_prefix("{ ") {
                Some(set) => set.split(" }").next().unwrap().split(", ").collect(),
                None => vec![named.split(' ').next().unwrap()],
            };
            for name in named {
                assert!(OWN.contains(&name), "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn nothing_is_dropped_that_is_not_known() {
    let script = script(&BOTH, Egress::default(), ANY);
    assert!(!script.contains("policy drop"));
}

#[test]
fn nothing_is_logged_and_no_outer_address_counted() {
    let script = script(&BOTH, Egress::default(), ANY);
    for forbidden in ["log ", "meter ", "counter "] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
    let sets: Vec<&str> = script.lines().filter(|line| line.contains("add @")).collect();
    assert_eq!(sets.len(), 2);
    assert!(
        sets.iter()
            .all(|line| line.starts_with("ct state new add @connections"))
    );
}

#[test]
fn the_outer_flow_is_not_tracked_either_way() {
    let script = script(&BOTH, Egress::default(), ANY);
    assert!(chain(&script, "prerouting").contains(&"udp dport 51820 fib daddr type local notrack"));
    assert!(chain(&script, "output").contains(&"udp sport 51820 fib saddr type local notrack"));
}

#[test]
fn an_interface_that_keeps_its_old_port_is_not_tracked_there_either() {
    let asked = assignment(&BOTH, Egress::default());
    let table = Table {
        assignment: &asked,
        ifindex: 7,
        port: Some(1_194),
        sources: ANY,
    };
    let script = table.script();
    for part in [
        "udp dport { 1194, 51820 } fib daddr type local notrack",
        "udp sport { 1194, 51820 } fib saddr type local notrack",
        "@th,224,16 { 1194, 51820 } fib daddr type local drop",
        // The longest row of ports with neither.
        "masquerade to :1195-51819",
    ] {
        assert!(script.contains(part), "{part} is not in {script}");
    }
}

#[test]
fn a_closed_gateway_lets_nothing_pass_and_is_found_by_nobody() {
    let own = ["10.64.0.1".parse().unwrap(), "fd64:cafe:1::1".parse().unwrap()];
    let script = super::rules::closed("0a", 7, 51_820, &own);
    let lines = chain(&script, "prerouting");
    assert_eq!(lines.first(), Some(&"iif 7 drop"));
    for line in [
        "udp dport 51820 fib daddr type local notrack",
        "iif != lo ip daddr 10.64.0.1 drop",
        "iif != lo ip6 daddr fd64:cafe:1::1 drop",
    ] {
        assert!(lines.contains(&line), "{lines:#?}");
    }
    assert_eq!(chain(&script, "forward"), ["oif 7 drop"]);
    assert!(script.contains("iif != 7 arp daddr ip 10.64.0.1 drop"));
}

#[test]
fn the_way_to_a_client_is_not_learnt_from_errors() {
    let script = script(&BOTH, Egress::default(), ANY);
    let lines = chain(&script, "prerouting");
    for error in [
        "icmp type destination-unreachable icmp code frag-needed @th,136,8 17 @th,224,16 51820 fib daddr type local drop",
        "icmpv6 type packet-too-big @th,112,8 17 @th,384,16 51820 fib daddr type local drop",
    ] {
        assert!(lines.contains(&error), "{lines:#?}");
    }
    // A client's own errors are judged elsewhere.
    assert_eq!(lines.first(), Some(&"iif 7 goto from_tunnel"));
}

#[test]
fn a_family_without_a_pool_has_no_clients() {
    let script = script(&BOTH[..1], Egress::default(), ANY);
    assert_eq!(
        chain(&script, "from_tunnel"),
        [
            "meta nfproto vmap { ipv4 : goto from_tunnel4, ipv6 : drop }",
            "drop"
        ]
    );
    assert!(
        !chain(&script, "postrouting")
            .iter()
            .any(|line| line.contains("ip6"))
    );
}

#[test]
fn a_destination_is_judged_by_one_search() {
    let egress = Egress {
        allow: vec![net("10.20.0.0/16"), net("10.96.0.10/32")],
        deny: vec![net("203.0.113.0/24")],
        cluster: vec![net("10.96.0.0/12")],
        ..Egress::default()
    };
    let script = script(&BOTH, egress, ANY);
    let lines = chain(&script, "from_tunnel4");
    let map = lines.last().unwrap();
    assert!(map.starts_with("ip daddr vmap { "), "{map}");
    for element in [
        "203.0.113.0-203.0.113.255 : drop",
        "10.0.0.0-10.19.255.255 : drop",
        "10.20.0.0-10.20.255.255 : accept",
        // Private, the pool, and the cluster up to what is open there.
        "10.21.0.0-10.96.0.9 : drop",
        "10.96.0.10 : accept",
        "10.96.0.11-10.255.255.255 : drop",
    ] {
        assert!(map.contains(element), "{element}: {map}");
    }
}

#[test]
fn only_the_gateways_own_address_answers_and_names_only_when_asked() {
    let silent = script(&BOTH, Egress::default(), ANY);
    assert!(!silent.contains("dport 53"));
    let egress = Egress {
        resolvers: vec!["9.9.9.9".parse().unwrap()],
        ..Egress::default()
    };
    let answering = script(&BOTH, egress, ANY);
    assert_eq!(
        chain(&answering, "names"),
        [
            "iif 7 ip daddr 10.64.0.1 udp dport 53 dnat ip to 9.9.9.9",
            "iif 7 ip daddr 10.64.0.1 tcp dport 53 dnat ip to 9.9.9.9",
        ]
    );
    assert!(chain(&answering, "to_gateway4").contains(&"udp dport 53 accept"));
    assert!(!chain(&answering, "to_gateway6").contains(&"udp dport 53 accept"));
}

#[test]
fn a_service_that_is_no_private_address_leads_to_no_pod() {
    let egress = Egress {
        allow: vec![net("10.96.0.10/32"), net("192.168.0.0/16"), net("0.0.0.0/0")],
        cluster: vec![net("10.96.0.0/12"), net("192.0.2.0/30")],
        ..Egress::default()
    };
    let script = script(&BOTH, egress, ANY);
    assert!(chain(&script, "to_internet").contains(&"ct status dnat jump led_elsewhere"));
    let elsewhere = chain(&script, "led_elsewhere");
    let line = elsewhere.iter().find(|line| line.contains(" ip daddr")).unwrap();
    let (open, closed) = line.split_once(" } ip daddr").unwrap();
    for named in ["10.64.0.1/32", "10.96.0.10/32", "192.168.0.0/16"] {
        assert!(open.contains(named), "{line}");
    }
    // Whoever opens everything does not mean the cluster.
    assert!(!open.contains("0.0.0.0/0"), "{line}");
    for kept in ["10.0.0.0/8", "192.0.2.0/30", "169.254.0.0/16"] {
        assert!(closed.contains(kept), "{line}");
    }
}

#[test]
fn no_error_to_a_client_comes_from_another_address_of_the_node() {
    let script = script(&BOTH, Egress::default(), ANY);
    let errors = chain(&script, "errors");
    assert_eq!(errors.len(), 2);
    assert!(errors[0].contains("ip saddr != 10.64.0.1 fib saddr type local drop"));
    assert!(errors.iter().all(|line| line.starts_with("oif 7 meta l4proto")));
}

#[test]
fn traffic_leaves_as_it_is_asked_to() {
    let of = |sources| {
        let script = script(&BOTH, Egress::default(), sources);
        (
            chain(&script, "postrouting").join("\n"),
            chain(&script, "to_internet").join("\n"),
        )
    };
    let (any, _) = of(ANY);
    assert_eq!(
        any,
        "oif != 7 ip saddr 10.64.0.0/11 meta l4proto udp masquerade to :1024-51819\n\
         oif != 7 ip saddr 10.64.0.0/11 masquerade\n\
         oif != 7 ip6 saddr fd64:cafe:1::/64 meta l4proto udp masquerade to :1024-51819\n\
         oif != 7 ip6 saddr fd64:cafe:1::/64 masquerade"
    );
    let (one, _) = of([Source::Of("203.0.113.7".parse().unwrap()), Source::Own]);
    assert_eq!(
        one,
        "oif != 7 ip saddr 10.64.0.0/11 meta l4proto udp snat ip to 203.0.113.7:1024-51819\n\
         oif != 7 ip saddr 10.64.0.0/11 snat ip to 203.0.113.7"
    );
    let (none, forwarded) = of([Source::Nothing, Source::Any]);
    assert!(!none.contains("10.64.0.0/11"));
    assert!(forwarded.contains("meta nfproto ipv4 drop"));
    assert!(!forwarded.contains("meta nfproto ipv6 drop"));
}

/// A range of the cluster may be closed while a connection that was led there lasts.
#[test]
fn known_connections_pass_after_what_is_closed_to_them() {
    let script = script(&BOTH, Egress::default(), [Source::Nothing, Source::Any]);
    let lines = chain(&script, "to_internet");
    let at = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap();
    let order = [
        "oif 7 drop",
        "ct status dnat",
        "nfproto ipv4 drop",
        "established : accept",
        "state new",
    ];
    assert!(order.map(at).is_sorted(), "{lines:#?}");
    assert_eq!(
        chain(&script, "from_internet")[0],
        "ct state != { established, related } drop"
    );
}

/// For those who want to read the whole of it: `cargo test -p culvert-node-agent -- --nocapture the_whole`.
#[test]
fn the_whole_of_it_is_the_same_each_time() {
    let one = script(&BOTH, Egress::default(), ANY);
    println!("{one}");
    assert_eq!(one, script(&[BOTH[1], BOTH[0]], Egress::default(), ANY));
}
