//! Which nodes serve, leave and come back.

use super::*;

#[test]
fn the_end_of_a_nodes_lease_wakes_the_plan() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.settle();
    bed.pass(30);
    bed.catch_up("a");
    bed.pass(31);
    bed.settle();
    let next = bed.world.next_timer().expect("a timer for the lease");
    assert!(
        next <= bed.now.mono + Duration::from_secs(30),
        "{next:?} at {:?}",
        bed.now.mono
    );
}

#[test]
fn a_node_selected_again_while_it_leaves_comes_back_when_it_has_left() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.settle();
    let first = bed.world.gateway_node("gw.a").unwrap().uid;
    bed.world.apply(Change::Gone(Kind::Node, uid("a")), bed.now.mono);
    bed.world.apply(Change::Node(Box::new(node("a"))), bed.now.mono);
    bed.change_node("gw.a", |node| (node.drain, node.leaving) = (true, true));
    bed.settle();
    assert_eq!(
        bed.world.gateway_node("gw.a").unwrap().uid,
        first,
        "it has not left yet"
    );
    bed.change_node("gw.a", |node| node.report.as_mut().unwrap().drained = true);
    bed.settle();
    let second = bed.world.gateway_node("gw.a").unwrap();
    assert!(second.uid != first && !second.drain);
}

#[test]
fn a_node_that_an_administrator_drains_stays_drained() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.change_node("gw.a", |node| node.drain = true);
    bed.change_node("gw.a", |node| node.report.as_mut().unwrap().drained = true);
    bed.settle();
    assert!(bed.world.gateway_node("gw.a").unwrap().drain);
}

#[test]
fn a_gateway_made_again_under_its_name_gets_nodes_of_its_own() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.settle();
    bed.world
        .apply(Change::Gone(Kind::Gateway, uid("gateway")), bed.now.mono);
    let version = bed.next_version();
    let again = Gateway {
        uid: uid("again"),
        resource_version: version,
        ..gateway()
    };
    bed.world.apply(Change::Gateway(Box::new(again)), bed.now.mono);
    bed.settle();
    assert!(bed.world.gateway_node("gw.a").unwrap().leaving);
    bed.change_node("gw.a", |node| node.report.as_mut().unwrap().drained = true);
    bed.settle();
    assert_eq!(bed.world.gateway_node("gw.a").unwrap().gateway_uid, uid("again"));
}

#[test]
fn nobody_is_sent_away_for_a_gateway_that_cannot_be_read() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.settle();
    bed.world.apply(Change::ListBegins(Kind::Gateway), bed.now.mono);
    bed.world
        .apply(Change::Unreadable(Kind::Gateway, uid("gateway")), bed.now.mono);
    bed.world.apply(Change::ListComplete(Kind::Gateway), bed.now.mono);
    bed.world.touch(Target::Fleet);
    bed.settle();
    assert!(!bed.world.gateway_node("gw.a").unwrap().drain);
}
