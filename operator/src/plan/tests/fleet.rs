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
    bed.world
        .apply(Change::ListBegins(Kind::Gateway, 1), bed.now.mono);
    bed.world
        .apply(Change::Unreadable(Kind::Gateway, uid("gateway")), bed.now.mono);
    bed.world.apply(Change::ListComplete(Kind::Gateway), bed.now.mono);
    bed.world.touch(Target::Fleet);
    bed.settle();
    assert!(!bed.world.gateway_node("gw.a").unwrap().drain);
}

#[test]
fn of_gateways_that_collide_on_a_node_the_younger_has_a_conflict() {
    let other = |created| Gateway {
        uid: uid("other"),
        name: "other".to_owned(),
        created,
        pools: vec!["another".to_owned()],
        interface: "cv1".to_owned(),
        listen_port: 51821,
        ..gateway()
    };
    let collisions: [fn(&mut Gateway); 3] = [
        |gateway| gateway.interface = "cv0".to_owned(),
        |gateway| gateway.listen_port = 51820,
        |gateway| gateway.pools.push("default".to_owned()),
    ];
    for collide in collisions {
        let mut bed = Bed::new("10.64.0.0/24");
        bed.add_gateway();
        let mut younger = other(2);
        younger.resource_version = bed.next_version();
        collide(&mut younger);
        bed.world.apply(Change::Gateway(Box::new(younger)), bed.now.mono);
        bed.settle();
        assert!(bed.world.gateway_node("other.a").is_none());
        let ready = |name| {
            let conditions = &bed.world.gateway(name).unwrap().status.conditions;
            conditions
                .iter()
                .find(|c| c.type_ == "Ready")
                .unwrap()
                .reason
                .clone()
        };
        assert_eq!(
            (ready("gw"), ready("other")),
            ("Ready".to_owned(), "Conflict".to_owned())
        );
    }
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    let resource_version = bed.next_version();
    let beside = Gateway {
        resource_version,
        ..other(2)
    };
    bed.world.apply(Change::Gateway(Box::new(beside)), bed.now.mono);
    bed.settle();
    assert!(bed.world.gateway_node("other.a").is_some());
}

#[test]
fn a_pool_on_its_way_out_says_that_it_waits_for_its_keys() {
    let mut bed = Bed::new("10.64.0.0/24");
    for n in 0..3 {
        bed.put_key(key(&format!("key{n}"), n));
    }
    bed.settle();
    bed.put_pool(Pool {
        deleting: true,
        ..pool("10.64.0.0/24")
    });
    bed.settle();
    let status = bed.world.pool("default").unwrap().status.clone();
    assert_eq!(status.allocated, Some(3));
    assert!(
        status.conditions.iter().any(|c| c.reason == "PoolInUse"),
        "{status:?}"
    );
    assert!(bed.world.pool("default").unwrap().guarded);
    (0..3).for_each(|n| bed.delete_key(&format!("key{n}")));
    bed.settle();
    bed.pass(601);
    bed.settle();
    assert!(!bed.world.pool("default").unwrap().guarded);
}

#[test]
fn where_clients_connect_follows_the_node_and_the_gateway() {
    let mut bed = Bed::new("10.64.0.0/24");
    let mut there = node("a");
    there.internal_address = None;
    let mut put = |bed: &mut Bed, change: &dyn Fn(&mut Node)| {
        change(&mut there);
        bed.world
            .apply(Change::Node(Box::new(there.clone())), bed.now.mono);
    };
    bed.world
        .apply(Change::Gateway(Box::new(gateway())), bed.now.mono);
    put(&mut bed, &|_| {});
    bed.settle();
    let host = |bed: &Bed| bed.world.gateway_node("gw.a").unwrap().endpoint_host.clone();
    assert_eq!(host(&bed), None);
    put(&mut bed, &|node| {
        node.internal_address = Some("192.0.2.1".to_owned());
    });
    bed.settle();
    assert_eq!(host(&bed).as_deref(), Some("192.0.2.1"));
    put(&mut bed, &|node| {
        node.external_address = Some("203.0.113.1".to_owned());
    });
    bed.settle();
    assert_eq!(host(&bed).as_deref(), Some("203.0.113.1"));
    // It says nothing of where it is.
    put(&mut bed, &|node| {
        (node.internal_address, node.external_address) = (None, None);
    });
    bed.settle();
    assert_eq!(host(&bed).as_deref(), Some("203.0.113.1"));
    let resource_version = bed.next_version();
    let named = Gateway {
        resource_version,
        host_template: Some("{node}.example.com".to_owned()),
        ..gateway()
    };
    bed.world.apply(Change::Gateway(Box::new(named)), bed.now.mono);
    bed.settle();
    assert_eq!(host(&bed).as_deref(), Some("a.example.com"));
    // Nobody else has a say in it.
    bed.change_node("gw.a", |node| {
        node.endpoint_host = Some("203.0.113.66".to_owned());
    });
    bed.settle();
    assert_eq!(host(&bed).as_deref(), Some("a.example.com"));
}
