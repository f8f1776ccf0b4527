//! When a claim ends, and when it must not.

use super::*;

/// A claim for a key that has not been seen.
fn orphan(key: &str, n: u8) -> Claim {
    let address: IpAddr = format!("10.64.0.{}", 100 + n).parse().unwrap();
    Claim {
        uid: uid(&format!("claim of {key}")),
        resource_version: 0,
        created: 5_000,
        public_key: public_key(n),
        addresses: Addresses::new([address]).unwrap(),
        pool: "default".to_owned(),
        key: uid(key),
        key_namespace: "tenant".to_owned(),
        key_name: key.to_owned(),
        address_generation: 0,
        released: false,
    }
}

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
fn a_shorter_cooldown_counts_for_what_cools_down_already() {
    let mut bed = Bed::new("10.64.0.0/30");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.delete_key("laptop");
    bed.settle();
    bed.pass(30);
    bed.settle();
    assert_eq!(bed.claims.len(), 1);
    bed.put_pool(Pool {
        generation: 2,
        cooldown: Duration::from_secs(20),
        ..pool("10.64.0.0/30")
    });
    bed.settle();
    assert_eq!(bed.claims.len(), 0);
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
fn a_report_that_says_nothing_new_plans_nothing_that_cools_down() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.catch_up("a");
    bed.delete_key("laptop");
    bed.settle();
    let released = bed.claims.values().next().unwrap().resource_version;
    // The claim, and whatever its key is.
    for (applied, due) in [(released - 1, 0), (released, 2), (released, 0), (released + 1, 0)] {
        bed.report("a", Some(applied), &[]);
        assert_eq!(bed.world.due(), due);
        bed.settle();
    }
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
    bed.world.apply(Change::ListBegins(Kind::Key, 1), bed.now.mono);
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
    bed.world.apply(Change::ListBegins(Kind::Key, 1), bed.now.mono);
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
        .apply(Change::Gone(Kind::Claim, claim.uid), bed.now.mono);
    let claim = Claim {
        uid: uid("another"),
        ..claim
    };
    let version = claim.resource_version;
    bed.world.learn(Change::Claim(Box::new(claim)), bed.now.mono);
    for (list, survivors) in [(version - 1, 1), (version, 0)] {
        bed.world
            .apply(Change::ListBegins(Kind::Claim, list), bed.now.mono);
        bed.world.apply(Change::ListComplete(Kind::Claim), bed.now.mono);
        assert_eq!(bed.world.claims().count(), survivors);
    }
}

#[test]
fn a_deleted_claim_is_not_brought_back_by_a_watch_that_is_behind() {
    let mut bed = Bed::new("10.64.0.0/30");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.delete_key("laptop");
    bed.settle();
    let released = bed.claims.values().next().unwrap().clone();
    bed.pass(601);
    bed.settle();
    bed.put_key(key("phone", 2));
    bed.settle();
    assert_eq!(
        bed.addresses("phone").first(),
        released.addresses.first().as_ref()
    );
    // What the watch has to say of it comes only now.
    let uid = released.uid;
    bed.world.apply(Change::Claim(Box::new(released)), bed.now.mono);
    assert!(bed.world.claim(&uid).is_none());
    bed.world.apply(Change::Gone(Kind::Claim, uid), bed.now.mono);
    bed.put_key(key("tablet", 3));
    bed.settle();
    assert_eq!(bed.ready("tablet"), Some(Reason::PoolExhausted));
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
fn a_key_made_again_under_its_name_gets_a_claim_of_its_own() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.delete_key("laptop");
    bed.put_key(Key {
        uid: uid("laptop again"),
        created: 5_000,
        ..key("laptop", 1)
    });
    bed.settle();
    let held: Vec<_> = bed.claims.values().filter(|claim| !claim.released).collect();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].key, uid("laptop again"));
}

#[test]
fn one_list_proves_the_keys_of_a_namespace_gone() {
    let mut bed = Bed::new("10.64.0.0/24");
    for n in 0..50 {
        bed.put_key(key(&format!("key{n}"), n));
    }
    bed.settle();
    bed.pass(1);
    (0..50).for_each(|n| bed.delete_key(&format!("key{n}")));
    let steps = bed.plan().steps;
    let of_claims: Vec<_> = steps
        .iter()
        .filter(|(target, _)| matches!(target, Target::Claim(_)))
        .collect();
    assert!(
        matches!(of_claims[..], [(_, Step::ProveGone { .. })]),
        "{of_claims:?}"
    );
    steps.into_iter().for_each(|(_, step)| bed.execute(step));
    let releases = bed.plan().steps;
    let released = releases
        .iter()
        .filter(|(_, step)| matches!(step, Step::ReleaseClaim { .. }));
    assert_eq!(released.count(), 50);
}

#[test]
fn a_list_proves_nothing_of_claims_that_were_seen_after_it_was_asked_for() {
    let mut bed = Bed::new("10.64.0.0/24");
    let proof = Proof {
        namespace: "tenant".to_owned(),
        asked: bed.now.mono,
        present: [].into(),
    };
    bed.world.apply(Change::LiveKeys(Box::new(proof)), bed.now.mono);
    bed.pass(1);
    // The claims' watch runs ahead of the keys'.
    bed.put_claim(orphan("laptop", 1));
    let steps = bed.plan().steps;
    let released = steps
        .iter()
        .any(|(_, step)| matches!(step, Step::ReleaseClaim { .. }));
    assert!(!released, "{steps:?}");
}

#[test]
fn claims_whose_keys_a_list_has_named_wait_for_the_watch() {
    let mut bed = Bed::new("10.64.0.0/24");
    for n in 0..8 {
        bed.put_claim(orphan(&format!("key{n}"), n));
    }
    let present = (0..7).map(|n| uid(&format!("key{n}"))).collect();
    bed.pass(1);
    let of_claims = |bed: &mut Bed| {
        let mut steps = bed.plan().steps;
        steps.retain(|(target, _)| matches!(target, Target::Claim(_)));
        steps
    };
    let steps = of_claims(&mut bed);
    let [(_, Step::ProveGone { namespace, asked })] = &steps[..] else {
        panic!("{steps:?}")
    };
    let proof = Proof {
        namespace: namespace.clone(),
        asked: *asked,
        present,
    };
    bed.world.apply(Change::LiveKeys(Box::new(proof)), bed.now.mono);
    let steps = of_claims(&mut bed);
    assert!(
        matches!(&steps[..], [(_, Step::ReleaseClaim { claim, .. })] if claim.key == uid("key7")),
        "{steps:?}"
    );
    steps.into_iter().for_each(|(_, step)| bed.execute(step));
    bed.pass(5);
    let steps = of_claims(&mut bed);
    assert!(matches!(&steps[..], [(_, Step::ProveGone { .. })]), "{steps:?}");
}

#[test]
fn a_key_rotated_twice_in_a_full_pool_gives_back_what_it_cannot_use() {
    let mut bed = Bed::new("10.64.0.0/29");
    for n in 0..4 {
        bed.put_key(key(&format!("key{n}"), n));
    }
    bed.settle();
    for n in [50, 51] {
        bed.change_key("key0", |key| key.public_key = Some(public_key(n)));
        bed.settle();
    }
    bed.pass(601);
    bed.settle();
    assert_eq!(bed.key("key0").status.shown.public_key, Some(public_key(51)));
}

#[test]
fn of_two_old_claims_the_one_that_works_is_kept() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.catch_up("a");
    let working = bed.claim_of("laptop").uid;
    // Twice within the second, before any gateway has the first of them.
    for n in [2, 3] {
        bed.change_key("laptop", |key| key.public_key = Some(public_key(n)));
        bed.settle();
    }
    let key = bed.key("laptop");
    let held: Vec<_> = bed
        .world
        .claims_of(&key)
        .filter(|claim| !claim.released)
        .collect();
    assert_eq!(held.len(), 2);
    assert!(held.iter().any(|claim| claim.uid == working));
}

#[test]
fn of_two_old_claims_the_one_that_is_shown_is_kept_though_its_keys_time_began_before() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.pass(60);
    bed.change_key("laptop", |key| key.address_generation += 1);
    bed.settle();
    let shown = bed.key("laptop").status.shown;
    assert!(shown.since.is_some());
    bed.change_key("laptop", |key| key.public_key = Some(public_key(9)));
    // A reply was lost, and the key drew again, just before.
    let first = bed
        .claims
        .values()
        .find(|claim| claim.addresses == shown.addresses)
        .unwrap()
        .clone();
    let other: IpAddr = "10.64.0.200".parse().unwrap();
    bed.put_claim(Claim {
        uid: uid("extra"),
        addresses: Addresses::new([other]).unwrap(),
        created: first.created + 1,
        ..first
    });
    // It gets nothing new, and keeps one of the two.
    bed.put_pool(Pool {
        allowed_namespaces: vec!["others".to_owned()],
        ..pool("10.64.0.0/24")
    });
    bed.settle();
    let held = bed.claims.values().filter(|claim| !claim.released);
    assert_eq!(
        held.map(|claim| claim.addresses).collect::<Vec<_>>(),
        [shown.addresses]
    );
}

#[test]
fn what_a_key_rotates_away_from_ends_with_its_own_age() {
    for strand in [
        (|key: &mut Key| key.pool = "nowhere".to_owned()) as fn(&mut Key),
        |key| key.public_key = Some(public_key(2)),
    ] {
        let mut bed = Bed::new("10.64.0.0/24");
        bed.put_pool(Pool {
            max_age: Some(Duration::from_hours(24)),
            ..pool("10.64.0.0/24")
        });
        bed.put_key(key("laptop", 1));
        bed.put_key(key("phone", 2));
        bed.settle();
        bed.change_key("laptop", strand);
        bed.settle();
        let old = |bed: &Bed| {
            let held = bed.claims.values().filter(|claim| !claim.released);
            held.filter(|claim| claim.public_key == public_key(1)).count()
        };
        assert_eq!(old(&bed), 1);
        bed.pass(24 * 3600);
        bed.settle();
        assert_eq!(old(&bed), 0);
    }
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
