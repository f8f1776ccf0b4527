//! What gateways say of the cluster's own ranges.

use super::*;

/// What the gateway's status says.
fn said(bed: &Bed, gateway: &str) -> Vec<String> {
    bed.world.gateway(gateway).unwrap().status.cluster_ranges.clone()
}

fn nets(ranges: &[&str]) -> Vec<ipnet::IpNet> {
    ranges.iter().map(|range| range.parse().unwrap()).collect()
}

fn put(bed: &mut Bed, kind: Kind, name: &str, ranges: &[&str]) {
    let change = Change::Ranges(kind, uid(name), nets(ranges));
    bed.world.apply(change, bed.now.mono);
}

fn put_node(bed: &mut Bed, name: &str, ranges: &[&str]) {
    let node = Node {
        ranges: nets(ranges),
        // Nobody's gateway.
        labels: BTreeMap::new(),
        ..node(name)
    };
    bed.world.apply(Change::Node(Box::new(node)), bed.now.mono);
}

/// A gateway that takes no node of those that come later.
fn bed() -> Bed {
    let mut bed = Bed::new("10.64.0.0/24");
    put_gateway(&mut bed, "gw");
    bed.settle();
    bed
}

fn put_gateway(bed: &mut Bed, name: &str) {
    let resource_version = bed.next_version();
    let gateway = Gateway {
        uid: uid(name),
        name: name.to_owned(),
        resource_version,
        node_selector: [("edge".to_owned(), "yes".to_owned())].into(),
        ..gateway()
    };
    bed.world.apply(Change::Gateway(Box::new(gateway)), bed.now.mono);
}

#[test]
fn the_clusters_ranges_stand_in_the_status_of_every_gateway() {
    let mut bed = bed();
    put_gateway(&mut bed, "other");
    put_node(
        &mut bed,
        "a",
        &["10.244.0.0/24", "192.0.2.1/32", "2001:db8::1/128"],
    );
    put_node(&mut bed, "b", &["10.244.1.0/24", "192.0.2.9/32"]);
    put(
        &mut bed,
        Kind::ServiceRange,
        "services",
        &["10.96.0.0/16", "fd00:96::/108"],
    );
    put(&mut bed, Kind::Apiserver, "kubernetes", &["203.0.113.6/32"]);
    bed.pass(1);
    bed.settle();
    let expected = [
        "10.96.0.0/16",
        "10.244.0.0/23",
        "192.0.2.1/32",
        "192.0.2.9/32",
        "203.0.113.6/32",
        "2001:db8::1/128",
        "fd00:96::/108",
    ];
    for gateway in ["gw", "other"] {
        assert_eq!(said(&bed, gateway), expected, "{gateway}");
    }
    // What goes is taken off.
    bed.world.apply(Change::Gone(Kind::Node, uid("a")), bed.now.mono);
    bed.world
        .apply(Change::Gone(Kind::ServiceRange, uid("services")), bed.now.mono);
    bed.world
        .apply(Change::ListBegins(Kind::Apiserver, 1_000), bed.now.mono);
    bed.world
        .apply(Change::ListComplete(Kind::Apiserver), bed.now.mono);
    bed.pass(1);
    bed.settle();
    assert_eq!(said(&bed, "gw"), ["10.244.1.0/24", "192.0.2.9/32"]);
}

#[test]
fn a_gateway_that_is_new_waits_for_nothing() {
    let mut bed = bed();
    put_node(&mut bed, "a", &["192.0.2.1/32"]);
    bed.pass(1);
    bed.settle();
    put_gateway(&mut bed, "new");
    bed.settle();
    assert_eq!(said(&bed, "new"), ["192.0.2.1/32"]);
}

#[test]
fn no_agent_is_asked_to_serve_before_its_gateway_tells_of_the_cluster() {
    let mut bed = Bed::new("10.64.0.0/24");
    let joined = Node {
        ranges: nets(&["192.0.2.1/32"]),
        labels: [("edge".to_owned(), "yes".to_owned())].into(),
        ..node("a")
    };
    bed.world.apply(Change::Node(Box::new(joined)), bed.now.mono);
    put_gateway(&mut bed, "gw");
    bed.settle();
    assert_eq!(bed.world.gateway_nodes().count(), 0);
    bed.pass(1);
    bed.settle();
    assert_eq!(said(&bed, "gw"), ["192.0.2.1/32"]);
    assert_eq!(bed.world.gateway_nodes().count(), 1);
}

#[test]
fn nodes_that_join_within_a_second_are_one_write_and_none_waits_longer() {
    let mut bed = bed();
    let mut writes = Vec::new();
    for n in 0..25_u64 {
        put_node(&mut bed, &format!("node{n}"), &[&format!("192.0.2.{n}/32")]);
        writes.push(bed.settle());
        bed.now.mono += Duration::from_millis(100);
        bed.world.wake(bed.now.mono);
        let shown = bed.world.gateway("gw").unwrap().status.cluster_ranges.is_empty();
        assert_eq!(shown, n < 10, "{n}");
    }
    assert_eq!(writes.iter().sum::<usize>(), 2, "{writes:?}");
    let next = bed.world.next_timer().expect("the last ones are to come");
    assert!(next <= bed.now.mono + Duration::from_secs(1));
    bed.pass(1);
    assert_eq!(bed.settle(), 1);
    assert_eq!(bed.world.next_timer(), None);
    assert_eq!(
        said(&bed, "gw"),
        ["192.0.2.0/28", "192.0.2.16/29", "192.0.2.24/32"]
    );
}

#[test]
fn a_node_without_news_of_its_ranges_writes_nothing() {
    let mut bed = bed();
    put_node(&mut bed, "a", &["192.0.2.1/32"]);
    bed.pass(1);
    bed.settle();
    let again = Node {
        ranges: nets(&["192.0.2.1/32"]),
        labels: [("zone".to_owned(), "north".to_owned())].into(),
        ..node("a")
    };
    bed.world.apply(Change::Node(Box::new(again)), bed.now.mono);
    assert_eq!(bed.world.next_timer(), None);
    // One that lies within another's changes no list.
    put_node(&mut bed, "b", &["192.0.2.1/32"]);
    bed.pass(1);
    assert_eq!(bed.settle(), 0);
}

#[test]
fn nothing_is_taken_off_while_an_object_cannot_be_read() {
    let mut bed = bed();
    put_node(&mut bed, "a", &["192.0.2.1/32"]);
    put_node(&mut bed, "b", &["198.51.100.7/32"]);
    put(&mut bed, Kind::ServiceRange, "services", &["10.96.0.0/16"]);
    bed.pass(1);
    bed.settle();
    // Another operator starts, and cannot read one of them.
    bed.world.apply(Change::Gone(Kind::Node, uid("b")), bed.now.mono);
    bed.restart();
    let unreadable = Change::Unreadable(Kind::ServiceRange, uid("services"));
    bed.world.apply(unreadable, bed.now.mono);
    put_node(&mut bed, "c", &["203.0.113.0/32"]);
    bed.pass(1);
    bed.settle();
    assert_eq!(
        said(&bed, "gw"),
        [
            "10.96.0.0/16",
            "192.0.2.1/32",
            "198.51.100.7/32",
            "203.0.113.0/32"
        ]
    );
    put(&mut bed, Kind::ServiceRange, "services", &["10.96.0.0/16"]);
    bed.pass(1);
    bed.settle();
    assert_eq!(
        said(&bed, "gw"),
        ["10.96.0.0/16", "192.0.2.1/32", "203.0.113.0/32"]
    );
}

#[test]
fn an_operator_that_starts_says_what_the_one_before_it_said() {
    let mut bed = bed();
    put_node(&mut bed, "a", &["192.0.2.1/32"]);
    bed.pass(1);
    bed.settle();
    bed.restart();
    assert_eq!(bed.settle(), 0);
    assert_eq!(said(&bed, "gw"), ["192.0.2.1/32"]);
}

#[test]
fn an_own_pool_is_no_range_of_the_cluster() {
    let mut bed = bed();
    put_node(&mut bed, "a", &["10.64.0.0/30"]);
    bed.pass(1);
    bed.settle();
    assert_eq!(
        bed.world.pool("default").unwrap().refused,
        Some(Reason::ClusterRange)
    );
    assert_eq!(said(&bed, "gw"), ["10.64.0.0/30"]);
    put_node(&mut bed, "a", &[]);
    bed.pass(1);
    bed.settle();
    assert_eq!(bed.world.pool("default").unwrap().refused, None);
    assert_eq!(said(&bed, "gw"), [""; 0]);
}
