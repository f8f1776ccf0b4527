//! What a key's status says.

use super::*;

#[test]
fn address_and_programmed_go_out_in_one_write_when_gateways_answer_in_time() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.settle();
    bed.put_key(key("laptop", 1));
    bed.step();
    let waiting = bed.plan().steps;
    assert!(
        !waiting
            .iter()
            .any(|(_, step)| matches!(step, Step::PublishKey(_))),
        "{waiting:?}"
    );
    bed.catch_up("a");
    assert_eq!(bed.ready("laptop"), Some(Reason::Ready));
}

#[test]
fn the_address_goes_out_alone_when_gateways_are_slow() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    assert!(bed.addresses("laptop").is_empty());
    bed.pass(1);
    bed.settle();
    assert_eq!(bed.addresses("laptop").len(), 2);
    assert_eq!(bed.ready("laptop"), Some(Reason::Pending));
}

#[test]
fn a_gateway_that_joins_turns_no_key_back() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.step();
    bed.catch_up("a");
    bed.world.apply(Change::Node(Box::new(node("b"))), bed.now.mono);
    bed.report("b", Some(1), &[]);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Ready));
}

#[test]
fn a_gateway_that_joins_turns_no_key_back_whose_time_began_before_its_addresses() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.catch_up("a");
    bed.pass(60);
    bed.change_key("laptop", |key| key.address_generation += 1);
    bed.settle();
    bed.catch_up("a");
    assert!(bed.key("laptop").status.shown.since.is_some());
    bed.world.apply(Change::Node(Box::new(node("b"))), bed.now.mono);
    bed.report("b", Some(1), &[]);
    bed.restart();
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Ready));
}

#[test]
fn a_gateway_silent_for_a_minute_holds_nobody_up() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.world.apply(Change::Node(Box::new(node("b"))), bed.now.mono);
    bed.report("b", Some(1), &[]);
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.pass(61);
    bed.catch_up("a");
    assert_eq!(bed.ready("laptop"), Some(Reason::Ready));
}

#[test]
fn a_watermark_from_before_a_restore_is_ignored() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.report("a", Some(1_000_000), &[]);
    bed.put_key(key("laptop", 1));
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::NoGateway));
}

#[test]
fn a_refused_peer_shows_on_its_key_alone() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.put_key(key("phone", 2));
    bed.settle();
    let refused = bed.claim_of("laptop").uid;
    let version = bed.version;
    bed.report("a", Some(version), &[refused]);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Refused));
    assert_eq!(bed.ready("phone"), Some(Reason::Ready));
}

#[test]
fn a_refusal_that_is_over_is_over_for_the_key_too() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.catch_up("a");
    let version = bed.version;
    let claim = bed.claim_of("laptop").uid;
    bed.report("a", Some(version), &[claim]);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Refused));
    bed.report("a", Some(version), &[]);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Ready));
}

#[test]
fn a_node_that_has_not_heard_of_a_pool_does_not_serve_it() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.add_gateway();
    let version = bed.version;
    bed.report("a", Some(version), &[]);
    bed.change_node("gw.a", |node| node.report.as_mut().unwrap().pools.clear());
    bed.pass(5);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::NoGateway));
    let gateways = |bed: &Bed| {
        let said = bed.world.pool("default").unwrap().status.gateways.clone();
        let counted = &bed.world.figures(bed.now).pools["default"];
        (said, counted.serving, counted.expected)
    };
    assert_eq!(gateways(&bed), (Some("0/1".to_owned()), 0, 1));
    let of_gateway = |bed: &Bed| bed.world.gateway("gw").unwrap().status.nodes.clone();
    assert_eq!(of_gateway(&bed).as_deref(), Some("0/1"));
    bed.catch_up("a");
    bed.pass(5);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Ready));
    assert_eq!(gateways(&bed), (Some("1/1".to_owned()), 1, 1));
    assert_eq!(of_gateway(&bed).as_deref(), Some("1/1"));
}

#[test]
fn the_end_of_a_key_is_told_in_time_and_once() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_pool(Pool {
        max_age: Some(Duration::from_hours(24)),
        ..pool("10.64.0.0/24")
    });
    bed.put_key(key("laptop", 1));
    bed.settle();
    let expiring = |bed: &Bed| bed.key("laptop").status.conditions[3].unwrap();
    assert_eq!(expiring(&bed).reason, Some(Reason::Fresh));
    assert_eq!(bed.events, []);
    bed.pass(18 * 3600 + 2);
    bed.settle();
    assert_eq!(
        (expiring(&bed).status, expiring(&bed).reason),
        (Some(true), Some(Reason::ExpiresSoon))
    );
    assert_eq!(bed.events, [Reason::ExpiresSoon]);
    bed.pass(3600);
    bed.settle();
    assert_eq!(bed.events, [Reason::ExpiresSoon]);
    // Who rotates has a new life before him.
    bed.change_key("laptop", |key| key.public_key = Some(public_key(9)));
    bed.settle();
    assert_eq!(expiring(&bed).reason, Some(Reason::Fresh));
    bed.pass(24 * 3600 + 2);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Expired));
    assert_eq!(bed.events.last(), Some(&Reason::Expired));
}

#[test]
fn a_key_without_an_end_says_nothing_of_it() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    assert_eq!(bed.key("laptop").status.conditions[3], None);
}

#[test]
fn events_are_for_what_goes_wrong() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.catch_up("a");
    assert_eq!(bed.ready("laptop"), Some(Reason::Ready));
    bed.change_key("laptop", |key| key.suspend = true);
    bed.settle();
    assert_eq!(bed.events, []);
    bed.put_key(key("phone", 2));
    bed.put_key(Key {
        created: 9_000,
        public_key: Some(public_key(2)),
        ..key("copy", 3)
    });
    bed.settle();
    assert_eq!(bed.events, [Reason::DuplicateKey]);
}

#[test]
fn one_nodes_report_puts_no_client_off_that_is_in_use() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.catch_up("a");
    bed.change_node("gw.a", |node| {
        node.report.as_mut().unwrap().public_key = Some(public_key(1));
    });
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Ready));
}

#[test]
fn a_claim_is_published_when_the_watch_has_come_to_it_and_not_before() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    let made = bed.plan().steps.into_iter().find_map(|(_, step)| match step {
        Step::CreateClaim(new) => Some(new),
        _ => None,
    });
    let new = made.unwrap();
    let publishes = |bed: &mut Bed| {
        let steps = bed.plan().steps;
        steps.iter().any(|(_, step)| matches!(step, Step::PublishKey(_)))
    };
    let claim = Claim {
        uid: uid("claim"),
        resource_version: bed.next_version(),
        created: 2_000,
        public_key: new.public_key,
        addresses: new.addresses,
        pool: new.pool.to_string(),
        key: uid("laptop"),
        key_namespace: new.namespace.to_string(),
        key_name: new.name,
        address_generation: 0,
        released: false,
    };
    let shown = Change::Claim(Box::new(claim));
    bed.world.learn(shown.clone(), bed.now.mono);
    bed.pass(1);
    assert!(!publishes(&mut bed), "an older claim may be on its way");
    bed.world.apply(shown, bed.now.mono);
    assert!(publishes(&mut bed));
}

#[test]
fn a_published_address_whose_claim_is_unknown_is_taken_back_only_after_a_live_read() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("old", 1));
    bed.settle();
    // Somebody else knows that the old holder has given way, and has published for the new one.
    let mut heir = key("heir", 1);
    heir.created += 1;
    heir.status.shown.addresses = Addresses::new(["10.64.0.99".parse::<IpAddr>().unwrap()]).unwrap();
    heir.status.shown.public_key = heir.public_key;
    heir.status.shown.address_generation = Some(0);
    let shown = heir.status.shown.addresses;
    bed.put_key(heir);
    let steps = bed.plan().steps;
    let [(_, Step::PublishKey(news))] = &steps[..] else {
        panic!("the duplicate is not told")
    };
    assert_eq!(news.unless_held, Some(shown));
}
