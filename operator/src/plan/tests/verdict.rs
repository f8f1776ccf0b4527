//! Whether a key has a right to addresses.

use super::*;

#[test]
fn of_two_keys_with_one_public_key_the_older_wins_and_the_other_follows() {
    let mut bed = Bed::new("10.64.0.0/24");
    let second = Key {
        created: 1_001,
        public_key: Some(public_key(1)),
        ..key("second", 2)
    };
    bed.put_key(second);
    bed.put_key(Key {
        created: 1_000,
        ..key("first", 1)
    });
    bed.settle();
    assert_eq!(bed.addresses("first").len(), 2);
    assert_eq!(bed.ready("second"), Some(Reason::DuplicateKey));
    bed.delete_key("first");
    bed.settle();
    assert_eq!(bed.addresses("second").len(), 2);
}

#[test]
fn an_older_key_never_takes_over_a_public_key_in_use() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(Key {
        created: 1_500,
        ..key("user", 1)
    });
    bed.settle();
    let before = bed.addresses("user");
    bed.put_key(Key {
        created: 900,
        ..key("squatter", 1)
    });
    bed.settle();
    assert_eq!(bed.addresses("user"), before);
    assert_eq!(bed.ready("squatter"), Some(Reason::DuplicateKey));
}

#[test]
fn a_gateways_own_key_is_refused() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    let mut gateway_node = bed.world.gateway_node("gw.a").unwrap().clone();
    gateway_node.resource_version = bed.next_version();
    gateway_node.report.as_mut().unwrap().public_key = Some(public_key(1));
    bed.world
        .apply(Change::GatewayNode(Box::new(gateway_node)), bed.now.mono);
    bed.put_key(key("laptop", 1));
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::GatewayKey));
    assert_eq!(bed.claims.len(), 0);
}

#[test]
fn a_suspended_key_gives_its_addresses_back_and_gets_others_later() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(key("laptop", 1));
    bed.settle();
    bed.change_key("laptop", |key| key.suspend = true);
    bed.settle();
    assert!(bed.addresses("laptop").is_empty());
    assert_eq!(bed.ready("laptop"), Some(Reason::Suspended));
    assert!(bed.claims.values().all(|claim| claim.released));
    bed.change_key("laptop", |key| key.suspend = false);
    bed.settle();
    assert_eq!(bed.addresses("laptop").len(), 2);
}

/// A key, `laptop`, whose time is over.
fn expired() -> Bed {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(Key {
        expire_after: Some(Duration::from_secs(3600)),
        ..key("laptop", 1)
    });
    bed.settle();
    bed.pass(3602);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Expired));
    bed
}

#[test]
fn an_expired_key_stays_expired_across_a_restart() {
    let mut bed = expired();
    bed.pass(700);
    bed.settle();
    assert_eq!(bed.claims.len(), 0);
    let survivor = owned(bed.key("laptop"));
    let mut fresh = Bed::new("10.64.0.0/24");
    fresh.now = bed.now;
    fresh.version = bed.version;
    fresh.world.apply(Change::Key(Box::new(survivor)), fresh.now.mono);
    fresh.settle();
    assert_eq!(fresh.claims.len(), 0);
    assert_eq!(fresh.ready("laptop"), Some(Reason::Expired));
}

#[test]
fn an_expired_key_comes_back_with_another_public_key_alone() {
    let mut bed = expired();
    let changes: [fn(&mut Key); 4] = [
        |key| key.address_generation = 1,
        |key| key.suspend = true,
        |key| key.suspend = false,
        |key| key.expire_after = None,
    ];
    for change in changes {
        bed.change_key("laptop", change);
        bed.settle();
        assert_eq!(bed.ready("laptop"), Some(Reason::Expired));
        assert!(bed.addresses("laptop").is_empty());
    }
    bed.change_key("laptop", |key| key.public_key = Some(public_key(9)));
    bed.settle();
    assert_eq!(bed.addresses("laptop").len(), 2);
}

/// A key, `laptop`, that may live for an hour, and has lived for three quarters of it.
fn ageing() -> Bed {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(Key {
        expire_after: Some(Duration::from_secs(3600)),
        ..key("laptop", 1)
    });
    bed.settle();
    bed.pass(2700);
    bed.settle();
    bed
}

#[test]
fn other_addresses_give_a_public_key_no_more_time() {
    let mut bed = ageing();
    let end = bed.key("laptop").status.expires_at;
    let before = bed.addresses("laptop");
    bed.change_key("laptop", |key| key.address_generation = 1);
    bed.settle();
    assert_ne!(bed.addresses("laptop"), before);
    assert_eq!(bed.key("laptop").status.expires_at, end);
    // Long enough for the first claim to be forgotten.
    for _ in 0..2 {
        bed.pass(440);
        bed.settle();
        assert_ne!(bed.ready("laptop"), Some(Reason::Expired));
    }
    bed.pass(25);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Expired));
}

#[test]
fn a_suspension_gives_a_public_key_no_more_time() {
    let mut bed = ageing();
    let end = bed.key("laptop").status.expires_at;
    bed.change_key("laptop", |key| key.suspend = true);
    for _ in 0..2 {
        bed.settle();
        bed.pass(400);
    }
    bed.settle();
    assert!(bed.claims.is_empty(), "its status alone remembers");
    bed.change_key("laptop", |key| key.suspend = false);
    bed.settle();
    assert_eq!(bed.addresses("laptop").len(), 2);
    assert_eq!(bed.key("laptop").status.expires_at, end);
}

#[test]
fn a_key_whose_time_ends_while_it_is_suspended_is_expired() {
    let mut bed = ageing();
    bed.change_key("laptop", |key| key.suspend = true);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Suspended));
    bed.pass(901);
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::Expired));
}

#[test]
fn a_longer_limit_counts_from_when_the_public_key_was_first_served() {
    let mut bed = ageing();
    let end = bed.key("laptop").status.expires_at.unwrap();
    bed.change_key("laptop", |key| key.address_generation = 1);
    bed.settle();
    bed.change_key("laptop", |key| key.expire_after = Some(Duration::from_secs(7200)));
    bed.settle();
    assert_eq!(bed.key("laptop").status.expires_at, Some(end + 3600));
}

#[test]
fn another_public_key_has_a_time_of_its_own() {
    let mut bed = ageing();
    let end = bed.key("laptop").status.expires_at.unwrap();
    bed.change_key("laptop", |key| key.address_generation = 1);
    bed.settle();
    bed.change_key("laptop", |key| key.public_key = Some(public_key(9)));
    bed.settle();
    assert_eq!(bed.key("laptop").status.expires_at, Some(end + 2700));
}

#[test]
fn a_public_key_whose_claim_was_lost_goes_to_who_shows_addresses_for_it() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.put_key(Key {
        created: 1_500,
        ..key("user", 1)
    });
    bed.settle();
    let before = bed.addresses("user");
    bed.put_key(Key {
        created: 900,
        ..key("squatter", 1)
    });
    bed.settle();
    let claim = bed.claim_of("user");
    bed.claims.clear();
    bed.world
        .apply(Change::Gone(Kind::Claim, claim.uid), bed.now.mono);
    bed.settle();
    assert_eq!(bed.addresses("user"), before);
    assert_eq!(bed.ready("squatter"), Some(Reason::DuplicateKey));
}

#[test]
fn a_key_that_waits_for_an_address_is_told_when_another_gets_its_public_key() {
    let mut bed = Bed::new("10.64.0.0/30");
    bed.put_key(key("laptop", 1));
    bed.settle();
    let held = bed.claim_of("laptop");
    bed.change_key("laptop", |key| key.public_key = Some(public_key(2)));
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::PoolExhausted));
    // Made by somebody who had not heard of the rotation.
    bed.put_key(key("phone", 2));
    bed.put_claim(Claim {
        uid: uid("phone's"),
        public_key: public_key(2),
        addresses: Addresses::new(["10.64.9.9".parse::<IpAddr>().unwrap()]).unwrap(),
        key: uid("phone"),
        key_name: "phone".to_owned(),
        ..held
    });
    bed.settle();
    assert_eq!(bed.ready("laptop"), Some(Reason::DuplicateKey));
}

#[test]
fn of_two_claims_of_one_second_one_stays_and_the_other_is_released() {
    // Two operators that were both active, and whichever way the uids fall.
    for other in [Uid::from_u128(1), Uid::from_u128(u128::MAX)] {
        let mut bed = Bed::new("10.64.0.0/24");
        bed.put_key(key("laptop", 1));
        bed.settle();
        let held = bed.claim_of("laptop");
        bed.put_key(Key {
            created: 900,
            ..key("phone", 1)
        });
        let addresses = ["10.64.0.9".parse::<IpAddr>().unwrap()];
        bed.put_claim(Claim {
            uid: other,
            addresses: Addresses::new(addresses).unwrap(),
            key: uid("phone"),
            key_name: "phone".to_owned(),
            ..held.clone()
        });
        bed.settle();
        let (winner, loser) = if held.uid < other {
            ("laptop", "phone")
        } else {
            ("phone", "laptop")
        };
        assert!(!bed.addresses(winner).is_empty());
        assert!(bed.addresses(loser).is_empty());
        assert_eq!(bed.ready(loser), Some(Reason::DuplicateKey));
        let held = bed.claims.values().filter(|claim| !claim.released);
        assert_eq!(held.map(|claim| claim.key).collect::<Vec<_>>(), [uid(winner)]);
    }
}
