//! When a claim ends, and when it must not.

use super::*;

#[test]
fn a_released_claim_is_kept_through_the_cooldown() {
    let mut bed = Bed::new("10.64.0.0/30");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.delete_key("laptop");
    bed.put_key(key("phone", 2));
    bed.settle();
    assert_eq!(bed.ready("phone"), Some(Reason::PoolExhausted));
    bed.pass(599);
    bed.settle();
    assert_eq!(bed.claims.len(), 1);
    bed.pass(2);
    bed.settle();
    assert_eq!(bed.addresses("phone").len(), 2);
}

#[test]
fn a_released_claim_outlives_a_gateway_that_has_not_dropped_it() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.delete_key("laptop");
    bed.settle();
    for _ in 0..30 {
        bed.pass(30);
        bed.report("a", Some(1), &[]);
        bed.settle();
    }
    assert_eq!(bed.claims.len(), 1);
    bed.catch_up("a");
    assert_eq!(bed.claims.len(), 0);
}

#[test]
fn a_rotated_key_keeps_its_old_addresses_until_the_overlap_is_over() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.catch_up("a");
    let old = bed.addresses("laptop");
    bed.change_key("laptop", |key| key.public_key = Some(public_key(9)));
    bed.settle();
    assert_eq!(
        bed.addresses("laptop"),
        old,
        "the old addresses are shown while the new ones are programmed"
    );
    bed.catch_up("a");
    assert_ne!(bed.addresses("laptop"), old);
    let live = |bed: &Bed| bed.claims.values().filter(|claim| !claim.released).count();
    assert_eq!(live(&bed), 2);
    for _ in 0..10 {
        bed.pass(29);
        bed.catch_up("a");
    }
    assert_eq!(live(&bed), 2);
    bed.pass(11);
    bed.settle();
    assert_eq!(live(&bed), 1);
}

#[test]
fn of_two_claims_for_one_key_the_older_stays() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    let first = bed.claim_of("laptop");
    let extra: IpAddr = "10.64.0.200".parse().unwrap();
    bed.put_claim(Claim {
        uid: uid("extra"),
        addresses: Addresses::new([extra]).unwrap(),
        created: first.created + 5,
        ..first.clone()
    });
    bed.settle();
    assert_eq!(
        bed.addresses("laptop"),
        first.addresses.iter().collect::<Vec<_>>()
    );
    assert!(bed.claims["10.64.0.200"].released);
}

#[test]
fn a_claim_whose_key_cannot_be_read_is_left_alone() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.pass(10);
    bed.settle();
    bed.world.apply(Change::ListBegins(Kind::Key), bed.now.mono);
    bed.world
        .apply(Change::Unreadable(Kind::Key, uid("laptop")), bed.now.mono);
    bed.world.apply(Change::ListComplete(Kind::Key), bed.now.mono);
    bed.pass(3600);
    assert_eq!(bed.settle(), 0);
    assert_eq!(bed.claims.len(), 1);
}

#[test]
fn a_list_under_way_proves_nobody_gone() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.world.apply(Change::ListBegins(Kind::Key), bed.now.mono);
    assert_eq!(bed.settle(), 0);
    bed.world.apply(Change::ListComplete(Kind::Key), bed.now.mono);
    bed.settle();
    assert!(bed.claims.values().all(|claim| claim.released));
}

#[test]
fn a_claim_that_only_a_reply_has_shown_survives_a_list_that_began_before_it() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.step();
    let claim = bed.claim_of("laptop");
    // The same again in a world that has learned it from the reply alone.
    bed.world
        .apply(Change::Gone(Kind::Claim, claim.uid.clone()), bed.now.mono);
    let claim = Claim {
        uid: uid("another"),
        ..claim
    };
    bed.world.learn(Change::Claim(Box::new(claim)), bed.now.mono);
    for survivors in [1, 0] {
        bed.world.apply(Change::ListBegins(Kind::Claim), bed.now.mono);
        bed.world.apply(Change::ListComplete(Kind::Claim), bed.now.mono);
        assert_eq!(bed.world.claims().count(), survivors);
    }
}

#[test]
fn a_deleted_key_is_not_brought_back_by_the_reply_to_a_write() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    let reply = Key {
        resource_version: bed.next_version(),
        ..owned(bed.key("laptop"))
    };
    bed.delete_key("laptop");
    bed.world.learn(Change::Key(Box::new(reply)), bed.now.mono);
    bed.settle();
    assert!(bed.claims.values().all(|claim| claim.released));
}

#[test]
fn of_two_claims_that_a_key_rotates_away_from_the_published_one_stays_though_the_pool_is_full() {
    // Two addresses for keys.
    let mut bed = Bed::new("10.64.0.0/29");
    let excluded = ["10.64.0.4/31", "10.64.0.6/32"];
    let mut narrow = pool("10.64.0.0/29");
    narrow.generation += 1;
    if let Some(ranges) = &mut narrow.ranges {
        ranges.exclude = excluded.iter().map(|range| range.parse().unwrap()).collect();
    }
    bed.put_pool(narrow);
    bed.put_key(key("laptop", 1));
    bed.settle();
    let first = bed.claim_of("laptop");
    // A reply was lost, and the key drew again, just before its user rotated it.
    let other = ["10.64.0.2", "10.64.0.3"].map(|text| text.parse::<IpAddr>().unwrap());
    let other = other
        .into_iter()
        .find(|a| first.addresses.first() != Some(*a))
        .unwrap();
    bed.change_key("laptop", |key| key.public_key = Some(public_key(9)));
    bed.put_claim(Claim {
        uid: uid("extra"),
        addresses: Addresses::new([other]).unwrap(),
        created: first.created + 1,
        ..first.clone()
    });
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::PoolExhausted));
    assert_eq!(
        bed.addresses("laptop"),
        first.addresses.iter().collect::<Vec<_>>()
    );
    bed.pass(601);
    bed.settle();
    assert_eq!(bed.addresses("laptop").first(), Some(&other));
}

#[test]
fn a_release_says_which_version_of_the_key_has_no_right_to_the_claim() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.change_key("laptop", |key| key.suspend = true);
    let version = bed.key("laptop").resource_version;
    let steps = bed.plan().steps;
    let said = steps.iter().find_map(|(_, step)| match step {
        Step::ReleaseClaim { key_version, .. } => *key_version,
        _ => None,
    });
    assert_eq!(said, Some(version));
}
