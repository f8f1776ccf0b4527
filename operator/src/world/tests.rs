//! The world's indexes against a picture that has none.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::status::{KeyStatus, Mark, Shown};
use super::*;
use culvert_crds::Reason;

/// Every object as it was last applied, and nothing else.
#[derive(Default)]
struct Picture {
    keys: BTreeMap<Uid, Key>,
    claims: BTreeMap<Uid, Claim>,
    /// How often each claim has been dropped: the next one has another uid.
    dropped: [u8; 8],
}

fn public_key(n: u8) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[0] = n;
    PublicKey::from_bytes(bytes)
}

fn addresses(n: u8) -> Addresses {
    let texts = [
        format!("10.64.0.{}", 2 + n),
        format!("fd64::{:x}", 2 + u16::from(n)),
    ];
    Addresses::new(texts.iter().map(|text| text.parse().unwrap())).unwrap()
}

#[derive(Clone, Debug)]
enum Move {
    PutKey {
        key: u8,
        public_key: Option<u8>,
        pool: u8,
        shows: Option<u8>,
    },
    PutClaim {
        claim: u8,
        key: u8,
        public_key: u8,
        pool: u8,
        released: bool,
    },
    DropKey(u8),
    DropClaim(u8),
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (0..6_u8, prop::option::weighted(0.9, 0..4_u8), 0..2_u8, prop::option::of(0..8_u8))
            .prop_map(|(key, public_key, pool, shows)| Move::PutKey { key, public_key, pool, shows }),
        4 => (0..8_u8, 0..6_u8, 0..4_u8, 0..2_u8, any::<bool>())
            .prop_map(|(claim, key, public_key, pool, released)| Move::PutClaim { claim, key, public_key, pool, released }),
        1 => (0..6_u8).prop_map(Move::DropKey),
        1 => (0..8_u8).prop_map(Move::DropClaim),
    ]
}

fn uid_of(kind: u8, n: u8) -> Uid {
    Uid::from_u128(u128::from(kind) << 8 | u128::from(n))
}

impl Picture {
    fn claim_uid(&self, claim: u8) -> Uid {
        let dropped = self.dropped[usize::from(claim)];
        Uid::from_u128(u128::from(dropped) << 16 | uid_of(2, claim).as_u128())
    }

    fn change(&mut self, next: &Move, version: u64) -> Change {
        match *next {
            Move::PutKey {
                key,
                public_key: carries,
                pool,
                shows,
            } => {
                let shown = |n| Shown {
                    addresses: addresses(n),
                    public_key: carries.map(public_key),
                    address_generation: Some(0),
                    since: None,
                };
                let mut status = KeyStatus {
                    shown: shows.map(shown).unwrap_or_default(),
                    ..KeyStatus::default()
                };
                status.conditions[2] = shows.map(|n| Mark {
                    status: Some(true),
                    reason: Some(Reason::Ready),
                    since: u32::from(n),
                });
                let key = Key {
                    uid: uid_of(1, key),
                    namespace: format!("ns{}", key % 2),
                    name: format!("key{key}"),
                    resource_version: version,
                    generation: 1,
                    created: 100 - u32::from(key),
                    deleting: false,
                    public_key: carries.map(public_key),
                    pool: format!("pool{pool}"),
                    suspend: false,
                    expire_after: None,
                    address_generation: 0,
                    status,
                };
                self.keys.insert(key.uid, key.clone());
                Change::Key(Box::new(key))
            }
            Move::PutClaim {
                claim,
                key,
                public_key: carries,
                pool,
                released,
            } => {
                let claim = Claim {
                    uid: self.claim_uid(claim),
                    resource_version: version,
                    created: 200 - u32::from(claim / 2),
                    public_key: public_key(carries),
                    addresses: addresses(claim),
                    pool: format!("pool{pool}"),
                    key: uid_of(1, key),
                    key_namespace: format!("ns{}", key % 2),
                    key_name: format!("key{key}"),
                    address_generation: 0,
                    released,
                };
                self.claims.insert(claim.uid, claim.clone());
                Change::Claim(Box::new(claim))
            }
            Move::DropKey(key) => {
                self.keys.remove(&uid_of(1, key));
                Change::Gone(Kind::Key, uid_of(1, key))
            }
            Move::DropClaim(claim) => {
                let uid = self.claim_uid(claim);
                self.claims.remove(&uid);
                self.dropped[usize::from(claim)] += 1;
                Change::Gone(Kind::Claim, uid)
            }
        }
    }

    fn compare(&self, world: &World) {
        let known: BTreeSet<Uid> = world.keys().map(|key| key.uid).collect();
        assert_eq!(known, self.keys.keys().copied().collect());
        let known: BTreeSet<Uid> = world.claims().map(|claim| claim.uid).collect();
        assert_eq!(known, self.claims.keys().copied().collect());
        for key in self.keys.values() {
            let seen = world.key(&key.uid).unwrap();
            assert_eq!(
                (seen.status, seen.public_key, &**seen.pool, seen.name),
                (key.status, key.public_key, key.pool.as_str(), key.name.as_str())
            );
            let of_key: Vec<Uid> = world.claims_of(&seen).map(|claim| claim.uid).collect();
            let mut expected: Vec<_> = self
                .claims
                .values()
                .filter(|claim| claim.key == key.uid)
                .map(|claim| (claim.created, claim.uid))
                .collect();
            expected.sort();
            assert_eq!(of_key, expected.iter().map(|(_, uid)| *uid).collect::<Vec<_>>());
        }
        for claim in self.claims.values() {
            let seen = world.claim(&claim.uid).unwrap();
            assert_eq!(seen.to_claim(), *claim);
            assert_eq!(
                world.key_of(&seen).map(|key| key.uid),
                self.keys.get(&claim.key).map(|key| key.uid)
            );
            assert!(
                claim
                    .addresses
                    .iter()
                    .filter(std::net::IpAddr::is_ipv6)
                    .all(|v6| world.holds_v6(v6))
            );
        }
        for n in 0..4 {
            let carrying: Vec<Uid> = world.keys_carrying(&public_key(n)).map(|key| key.uid).collect();
            let mut expected: Vec<_> = self
                .keys
                .values()
                .filter(|key| key.public_key == Some(public_key(n)))
                .map(|key| (key.created, key.uid))
                .collect();
            expected.sort();
            assert_eq!(carrying, expected.iter().map(|(_, uid)| *uid).collect::<Vec<_>>());
            let held = self
                .claims
                .values()
                .filter(|claim| !claim.released && claim.public_key == public_key(n));
            assert_eq!(
                world.incumbent(&public_key(n)),
                held.min_by_key(|claim| (claim.created, claim.uid))
                    .map(|claim| claim.key)
            );
        }
        for pool in ["pool0", "pool1"] {
            let all = self.claims.values().filter(|claim| claim.pool == pool);
            assert_eq!(world.allocated(pool), i64::try_from(all.count()).unwrap());
            for namespace in ["ns0", "ns1"] {
                let count = |released| {
                    let own = self
                        .claims
                        .values()
                        .filter(|c| c.pool == pool && c.key_namespace == namespace && c.released == released);
                    u32::try_from(own.count()).unwrap()
                };
                assert_eq!(
                    world.share(pool, namespace),
                    Share {
                        held: count(false),
                        cooling: count(true)
                    }
                );
            }
        }
        if self.keys.is_empty() && self.claims.is_empty() {
            assert!(world.keys.iter().next().is_none(), "no stand-in is left");
            assert!(world.shares.is_empty() && world.awaiting.is_empty() && world.by_v6.is_empty());
        }
    }
}

proptest! {
    /// What the indexes say is what a look at everything says, in whatever order objects come, change and go.
    #[test]
    fn indexes_say_what_a_look_at_everything_says(moves in prop::collection::vec(a_move(), 0..80)) {
        let mut picture = Picture::default();
        let mut world = World::default();
        for (next, version) in moves.iter().zip(1..) {
            world.apply(picture.change(next, version), Duration::from_secs(version));
            picture.compare(&world);
        }
        for n in 0..8 {
            for next in [Move::DropKey(n), Move::DropClaim(n)] {
                world.apply(picture.change(&next, 1000), Duration::from_secs(1000));
            }
        }
        picture.compare(&world);
    }
}

#[test]
fn an_older_version_is_no_news() {
    let mut picture = Picture::default();
    let mut world = World::default();
    let put = |carries| Move::PutKey {
        key: 1,
        public_key: Some(carries),
        pool: 0,
        shows: None,
    };
    let now = Duration::from_secs(1);
    let older = picture.change(&put(1), 40);
    world.apply(picture.change(&put(2), 90), now);
    world.apply(older, now);
    assert_eq!(world.key(&uid_of(1, 1)).unwrap().public_key, Some(public_key(2)));
}

#[test]
fn what_a_reply_has_taught_is_not_undone_by_a_list_that_began_before_it() {
    let mut picture = Picture::default();
    let mut world = World::default();
    let put = |carries| Move::PutKey {
        key: 1,
        public_key: Some(carries),
        pool: 0,
        shows: None,
    };
    let now = Duration::from_secs(1);
    let older = picture.change(&put(1), 40);
    let newer = picture.change(&put(2), 90);
    world.apply(older.clone(), now);
    world.apply(Change::ListBegins(Kind::Key, 60), now);
    world.learn(newer, now);
    world.apply(older, now);
    world.apply(Change::ListComplete(Kind::Key), now);
    assert_eq!(world.key(&uid_of(1, 1)).unwrap().public_key, Some(public_key(2)));
}

#[test]
fn a_list_that_shows_an_object_older_than_it_was_known_is_of_another_history() {
    let mut picture = Picture::default();
    let put = |carries| Move::PutKey {
        key: 1,
        public_key: Some(carries),
        pool: 0,
        shows: None,
    };
    let now = Duration::from_secs(1);
    let older = picture.change(&put(1), 40);
    let newer = picture.change(&put(2), 90);
    // A list of version 60 cannot know what came with 90; one of version 1000, as after a restore that raises versions, must.
    for (list, rewound) in [(60, false), (1000, true)] {
        let mut world = World::default();
        world.apply(newer.clone(), now);
        world.apply(older.clone(), now);
        assert!(!world.is_rewound());
        world.apply(Change::ListBegins(Kind::Key, list), now);
        world.apply(older.clone(), now);
        assert_eq!(world.is_rewound(), rewound);
    }
}

/// A claim that is about to be deleted.
const RELEASED: Move = Move::PutClaim {
    claim: 1,
    key: 1,
    public_key: 1,
    pool: 0,
    released: true,
};

#[test]
fn a_list_that_names_a_claim_long_after_its_end_is_of_another_history() {
    let mut picture = Picture::default();
    let claim = picture.change(&RELEASED, 40);
    for (begun, rewound) in [(59, false), (61, true)] {
        let mut world = World::default();
        world.apply(claim.clone(), Duration::ZERO);
        world.learn(Change::Gone(Kind::Claim, uid_of(2, 1)), Duration::ZERO);
        let begun = Duration::from_secs(begun);
        world.apply(Change::ListBegins(Kind::Claim, 1000), begun);
        world.apply(claim.clone(), begun + Duration::from_mins(10));
        assert_eq!(world.is_rewound(), rewound);
        assert_eq!(world.claims().count(), 0);
    }
}

#[test]
fn a_deleted_claim_that_comes_back_when_the_watch_has_told_its_end_is_there() {
    let mut picture = Picture::default();
    let claim = picture.change(&RELEASED, 40);
    let gone = Change::Gone(Kind::Claim, uid_of(2, 1));
    let now = Duration::from_secs(1);
    // In whatever order the two tell of it, etcd was restored from a backup since.
    for watch_first in [true, false] {
        let mut world = World::default();
        world.apply(claim.clone(), now);
        if watch_first {
            world.apply(gone.clone(), now);
        }
        world.learn(gone.clone(), now);
        if !watch_first {
            world.apply(gone.clone(), now);
        }
        world.apply(Change::ListBegins(Kind::Claim, 1000), now);
        world.apply(claim.clone(), now);
        world.apply(Change::ListComplete(Kind::Claim), now);
        assert_eq!(world.claims().count(), 1);
    }
}

#[test]
fn a_key_that_a_reply_has_shown_is_gone_when_a_newer_list_lacks_it() {
    let mut picture = Picture::default();
    let mut world = World::default();
    let now = Duration::from_secs(1);
    let put = Move::PutKey {
        key: 1,
        public_key: Some(1),
        pool: 0,
        shows: None,
    };
    assert!(world.learn(picture.change(&put, 90), now));
    for (list, left) in [(80, 1), (95, 0)] {
        world.apply(Change::ListBegins(Kind::Key, list), now);
        world.apply(Change::ListComplete(Kind::Key), now);
        assert_eq!(world.keys().count(), left);
    }
}

#[test]
fn a_reply_is_no_word_of_a_list_under_way() {
    let mut picture = Picture::default();
    let now = Duration::from_secs(1);
    let put = Move::PutKey {
        key: 1,
        public_key: Some(1),
        pool: 0,
        shows: None,
    };
    let mut key = |version| picture.change(&put, version);
    // Deleted before the list: a late reply does not name it.
    let mut world = World::default();
    world.apply(key(80), now);
    world.apply(Change::ListBegins(Kind::Key, 100), now);
    world.learn(key(85), now);
    world.apply(Change::ListComplete(Kind::Key), now);
    assert_eq!(world.keys().count(), 0);
    // Shown by the list: a reply that is older is late, and tells of no other history.
    let mut world = World::default();
    world.apply(Change::ListBegins(Kind::Key, 100), now);
    world.apply(key(90), now);
    assert!(!world.learn(key(80), now));
    assert!(!world.is_rewound());
}

#[test]
fn a_claim_that_a_reply_has_shown_during_a_list_is_ahead_of_it() {
    let mut picture = Picture::default();
    let mut world = World::default();
    let now = Duration::from_secs(1);
    let put = Move::PutClaim {
        claim: 1,
        key: 1,
        public_key: 1,
        pool: 0,
        released: false,
    };
    world.apply(Change::ListBegins(Kind::Claim, 100), now);
    let claim = picture.change(&put, 120);
    world.learn(claim.clone(), now);
    world.apply(Change::ListComplete(Kind::Claim), now);
    assert!(world.is_ahead(&uid_of(2, 1)));
    // Nor does the same reply, given twice, stand for the watch.
    world.learn(claim.clone(), now);
    assert!(world.is_ahead(&uid_of(2, 1)));
    world.apply(claim, now);
    assert!(!world.is_ahead(&uid_of(2, 1)));
}

#[test]
fn nothing_waits_for_what_is_no_more() {
    let mut picture = Picture::default();
    let mut world = World::default();
    let now = Duration::from_secs(1);
    for kind in Kind::ALL {
        world.apply(Change::ListBegins(kind, 1), now);
        world.apply(Change::ListComplete(kind), now);
    }
    let put = Move::PutKey {
        key: 1,
        public_key: Some(1),
        pool: 0,
        shows: None,
    };
    world.apply(picture.change(&put, 2), now);
    world.touch_at(Duration::from_hours(8760), Target::Key(uid_of(1, 1)));
    world.apply(picture.change(&Move::DropKey(1), 3), now);
    assert_eq!(world.next_timer(), None);
}
