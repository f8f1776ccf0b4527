//! Which addresses a key gets, and when it gets none.

use std::collections::HashSet;

use super::*;
use crate::plan::NewClaim;

/// The claim that is to be made, if there is one.
fn claim_in(steps: &[(Target, Step)]) -> Option<NewClaim> {
    steps.iter().find_map(|(_, step)| match step {
        Step::CreateClaim(claim) => Some(claim.clone()),
        _ => None,
    })
}

#[test]
fn a_key_gets_one_address_of_each_family() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    let addresses = bed.addresses("laptop");
    assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6(), "{addresses:?}");
    assert_eq!(bed.ready("laptop"), Some(Reason::NoGateway));
}

#[test]
fn the_address_of_one_family_tells_nothing_of_the_other() {
    // One IPv4 address is left, so it is always the same one.
    let v6 = |seed| {
        let mut bed = Bed::new("10.64.0.0/30");
        bed.rng = SmallRng::seed_from_u64(seed);
        bed.put_key(key("laptop", 1));
        bed.settle();
        let addresses = bed.addresses("laptop");
        assert_eq!(addresses[0].to_string(), "10.64.0.2");
        addresses[1]
    };
    let drawn: HashSet<IpAddr> = (0..32).map(v6).collect();
    assert_eq!(drawn.len(), 32, "{drawn:?}");
}

#[test]
fn the_claim_comes_before_the_status() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    let steps = bed.plan().steps;
    let of_key: Vec<_> = steps
        .iter()
        .filter(|(target, _)| matches!(target, Target::Key(_)))
        .collect();
    assert!(matches!(of_key[..], [(_, Step::CreateClaim(_))]), "{of_key:?}");
}

#[test]
fn a_raised_address_generation_draws_new_addresses() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    let old = bed.addresses("laptop");
    bed.change_key("laptop", |key| key.address_generation = 1);
    bed.settle();
    assert_ne!(bed.addresses("laptop"), old);
}

#[test]
fn a_key_whose_claim_was_lost_gets_its_published_addresses_back() {
    let mut bed = Bed::new("10.64.0.0/16");
    bed.put_key(key("laptop", 1));
    bed.settle();
    let before = bed.addresses("laptop");
    let uid = bed.claim_of("laptop").uid;
    bed.claims.clear();
    bed.world.apply(Change::Gone(Kind::Claim, uid), bed.now.mono);
    bed.settle();
    assert_eq!(bed.addresses("laptop"), before);
    assert_eq!(bed.claims.len(), 1);
}

#[test]
fn a_namespace_gets_no_more_than_its_share() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_pool(Pool {
        max_keys_per_namespace: Some(1),
        ..pool("10.64.0.0/24")
    });
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.put_key(key("phone", 2));
    bed.settle();
    assert_eq!(bed.ready("phone"), Some(Reason::QuotaExceeded));
    bed.delete_key("laptop");
    bed.settle();
    assert_eq!(bed.addresses("phone").len(), 2);
}

#[test]
fn a_burst_of_keys_gets_no_more_than_its_namespaces_share() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_pool(Pool {
        max_keys_per_namespace: Some(3),
        ..pool("10.64.0.0/24")
    });
    for n in 0..9 {
        bed.put_key(key(&format!("key{n}"), n));
    }
    bed.settle();
    assert_eq!(bed.claims.len(), 3);
}

#[test]
fn an_exhausted_pool_costs_no_writes_while_it_lasts() {
    let mut bed = Bed::new("10.64.0.0/30");
    bed.put_key(key("laptop", 1));
    bed.put_key(key("phone", 2));
    bed.settle();
    // The pool's last counts.
    bed.pass(5);
    bed.settle();
    for _ in 0..10 {
        bed.pass(60);
        assert_eq!(bed.settle(), 0);
    }
}

#[test]
fn an_exhausted_pool_serves_who_waits_as_soon_as_an_address_is_free() {
    let mut bed = Bed::new("10.64.0.0/30");
    bed.put_key(key("laptop", 1));
    bed.settle();
    for n in 0..100 {
        bed.put_key(key(&format!("key{n}"), 2 + n));
    }
    bed.settle();
    bed.delete_key("laptop");
    bed.settle();
    bed.pass(601);
    bed.settle();
    let served = (0..100).filter(|n| !bed.addresses(&format!("key{n}")).is_empty());
    assert_eq!(served.count(), 1);
}

#[test]
fn of_pools_that_overlap_the_oldest_is_used() {
    let mut bed = Bed::new("10.64.0.0/16");
    let named = |name: &str, created, v4: &str| Pool {
        uid: uid(name),
        name: name.to_owned(),
        created,
        ranges: Some(Ranges {
            v4: Some(v4.parse().unwrap()),
            v6: None,
            exclude: Vec::new(),
        }),
        ..pool(v4)
    };
    bed.put_pool(named("inside", 2, "10.64.7.0/24"));
    bed.put_pool(named("inside too", 3, "10.64.7.0/25"));
    bed.put_pool(named("beside", 4, "10.65.0.0/16"));
    bed.put_key(Key {
        pool: "inside".to_owned(),
        ..key("laptop", 1)
    });
    bed.put_key(Key {
        pool: "beside".to_owned(),
        ..key("phone", 2)
    });
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::OverlappingPool));
    assert_eq!(bed.addresses("phone").len(), 1);
    // With the oldest gone, the next one is.
    bed.world
        .apply(Change::Gone(Kind::Pool, uid("pool")), bed.now.mono);
    bed.settle();
    assert_eq!(bed.addresses("laptop").len(), 1);
    let refused = |name: &str| bed.world.pool(name).unwrap().refused;
    assert_eq!(refused("inside too"), Some(Reason::OverlappingPool));
    assert_eq!((refused("inside"), refused("beside")), (None, None));
}

#[test]
fn a_range_that_the_cluster_uses_itself_is_not_given_to_keys() {
    let from = |kind, taken: &str| {
        let ranges = vec![taken.parse().unwrap()];
        match kind {
            Kind::Node => Change::Node(Box::new(Node { ranges, ..node("a") })),
            _ => Change::Ranges(kind, uid("a"), ranges),
        }
    };
    for taken in ["10.64.3.0/24", "10.0.0.0/8", "10.64.9.9/32"] {
        for kind in [Kind::ServiceRange, Kind::Apiserver, Kind::Node] {
            let mut bed = Bed::new("10.64.0.0/16");
            bed.put_key(key("laptop", 1));
            bed.settle();
            bed.world.apply(from(kind, taken), bed.now.mono);
            bed.put_key(key("phone", 2));
            bed.settle();
            assert_eq!(bed.ready("phone"), Some(Reason::ClusterRange), "{kind:?} {taken}");
            assert_eq!(bed.addresses("laptop").len(), 2, "who holds addresses keeps them");
            bed.world.apply(Change::Gone(kind, uid("a")), bed.now.mono);
            bed.settle();
            assert_eq!(bed.addresses("phone").len(), 2, "{kind:?} {taken}");
        }
    }
}

#[test]
fn a_pool_that_is_narrowed_flags_its_holders_and_keeps_them() {
    let mut bed = Bed::new("10.64.0.0/29");
    for n in 0..5 {
        bed.put_key(key(&format!("key{n}"), n));
    }
    bed.settle();
    let narrowed = Pool {
        generation: 2,
        ranges: Some(Ranges {
            exclude: vec!["10.64.0.4/30".parse().unwrap()],
            ..pool("10.64.0.0/29").ranges.unwrap()
        }),
        ..pool("10.64.0.0/29")
    };
    bed.put_pool(narrowed);
    bed.settle();
    let mut flagged = 0;
    for n in 0..5 {
        let name = format!("key{n}");
        let outside = bed.addresses(&name)[0] >= "10.64.0.4".parse::<IpAddr>().unwrap();
        let accepted = bed.key(&name).status.conditions[0].unwrap();
        let expected = if outside {
            Reason::ExcludedAddress
        } else {
            Reason::Accepted
        };
        assert_eq!((accepted.status, accepted.reason), (Some(true), Some(expected)));
        flagged += u32::from(outside);
    }
    assert_eq!(flagged, 3);
    // Whoever rotates gets an address that the pool still gives, and there is none.
    let name = (0..5)
        .map(|n| format!("key{n}"))
        .find(|name| bed.addresses(name)[0] >= "10.64.0.4".parse::<IpAddr>().unwrap())
        .unwrap();
    bed.change_key(&name, |key| key.public_key = Some(public_key(99)));
    bed.settle();
    assert_eq!(bed.ready(&name), Some(Reason::PoolExhausted));
    assert_eq!(bed.addresses(&name).len(), 2, "the old ones work meanwhile");
}

#[test]
fn a_namespace_that_makes_and_deletes_keys_cannot_use_up_a_pool() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_pool(Pool {
        max_keys_per_namespace: Some(3),
        ..pool("10.64.0.0/24")
    });
    for n in 0..20 {
        bed.put_key(key("churn", n));
        bed.settle();
        if n < 19 {
            bed.delete_key("churn");
            bed.settle();
        }
    }
    assert_eq!(
        bed.claims.len(),
        6,
        "three in use, had it so many, and three that cool down"
    );
    assert_eq!(bed.ready("churn"), Some(Reason::RateLimited));
    bed.pass(601);
    bed.settle();
    assert_eq!(bed.addresses("churn").len(), 2);
}

#[test]
fn a_claim_whose_reply_was_lost_is_asked_for_again_and_not_drawn_anew() {
    let mut bed = Bed::new("10.64.0.0/16");
    bed.put_key(key("laptop", 1));
    let first = claim_in(&bed.plan().steps).unwrap();
    bed.promised.doubt(first.clone());
    bed.world.touch(Target::Key(uid("laptop")));
    assert_eq!(claim_in(&bed.plan().steps), Some(first.clone()));
    // Unless the key wants something else by now, or it is known what became of the request.
    bed.change_key("laptop", |key| key.public_key = Some(public_key(9)));
    assert_ne!(claim_in(&bed.plan().steps).unwrap().addresses, first.addresses);
    bed.change_key("laptop", |key| key.public_key = Some(public_key(1)));
    bed.promised.settle(&uid("laptop"));
    assert_ne!(claim_in(&bed.plan().steps).unwrap().addresses, first.addresses);
}

#[test]
fn a_doubt_ends_with_its_key() {
    let mut bed = Bed::new("10.64.0.0/24");
    for n in [1, 2] {
        bed.put_key(key(&format!("key{n}"), n));
        let claim = claim_in(&bed.plan().steps).unwrap();
        bed.promised.doubt(claim);
    }
    bed.delete_key("key1");
    let world = &bed.world;
    bed.promised.forget(|key| world.has(&Target::Key(*key)));
    assert_eq!(
        bed.promised.unclear.into_keys().collect::<Vec<_>>(),
        [uid("key2")]
    );
}

/// A claim under way for a key, and a key that was made before it and turned up after it, both with one public key.
fn two_at_once() -> (Bed, NewClaim) {
    let mut bed = Bed::new("10.64.0.0/16");
    bed.put_key(key("younger", 2));
    let first = claim_in(&bed.plan().steps).unwrap();
    bed.promised.add(&first);
    bed.put_key(Key {
        created: 1,
        ..key("older", 2)
    });
    // By age the public key would be its own now; and of two claims nobody can say within a second which is the older.
    let steps = bed.plan().steps;
    assert!(
        steps
            .iter()
            .all(|(target, _)| *target != Target::Key(uid("older"))),
        "{steps:?}"
    );
    (bed, first)
}

/// What the end of a claim does, whatever came of it.
fn end(bed: &mut Bed, claim: &NewClaim) {
    bed.promised.remove(claim);
    for name in ["older", "younger"] {
        bed.world.touch(Target::Key(uid(name)));
    }
}

#[test]
fn a_public_key_is_claimed_for_one_key_at_a_time() {
    let (mut bed, first) = two_at_once();
    // Another public key is nobody's affair.
    bed.put_key(key("other", 3));
    let other = claim_in(&bed.plan().steps).unwrap();
    assert_eq!(other.key, uid("other"));
    bed.execute(Step::CreateClaim(other));
    bed.execute(Step::CreateClaim(first.clone()));
    end(&mut bed, &first);
    bed.settle();
    assert_eq!(bed.addresses("younger").len(), 2);
    assert_eq!(bed.ready("older"), Some(Reason::DuplicateKey));
}

#[test]
fn a_public_key_whose_claim_came_to_nothing_goes_to_who_waited_for_it() {
    let (mut bed, first) = two_at_once();
    end(&mut bed, &first);
    bed.settle();
    assert_eq!(bed.addresses("older").len(), 2);
    assert_eq!(bed.ready("younger"), Some(Reason::DuplicateKey));
}

#[test]
fn those_who_wait_are_served_oldest_first() {
    let mut bed = Bed::new("10.64.0.0/30");
    bed.put_key(key("holder", 1));
    bed.settle();
    for (n, created) in [(2, 5_000), (3, 4_000), (4, 6_000)] {
        bed.put_key(Key {
            created,
            ..key(&format!("key{n}"), n)
        });
    }
    bed.settle();
    for n in 100..140 {
        bed.put_key(Key {
            created: 3_000,
            suspend: true,
            ..key(&format!("key{n}"), n)
        });
    }
    bed.settle();
    bed.delete_key("holder");
    bed.settle();
    bed.pass(601);
    bed.settle();
    assert!(!bed.addresses("key3").is_empty());
}
