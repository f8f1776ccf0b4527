//! Which addresses a key gets, and when it gets none.

use super::*;

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
    for _ in 0..10 {
        bed.pass(60);
        assert_eq!(bed.settle(), 0);
    }
}
