//! Claims: who holds which address, and whether the gateways have it.

use std::net::IpAddr;
use std::time::Duration;

use culvert_wireguard::PublicKey;

use super::keys::{KeyRecord, KeyView};
use super::status::{KeyStatus, Shown};
use super::symbols::Symbol;
use super::table::{NOWHERE, Record, Slot, Table};
use super::{Addresses, Kind, Target, Uid, World};

/// A `WireGuardPeer` as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Uid of the object.
    pub uid: Uid,
    /// Version of the object.
    pub resource_version: u64,
    /// Creation, seconds since the epoch.
    pub created: u32,
    /// The public key.
    pub public_key: PublicKey,
    /// The addresses, at least one.
    pub addresses: Addresses,
    /// Name of the pool.
    pub pool: String,
    /// Uid of the key it belongs to.
    pub key: Uid,
    /// Namespace of that key.
    pub key_namespace: String,
    /// Name of that key.
    pub key_name: String,
    /// The key's address generation when the addresses were drawn.
    pub address_generation: u32,
    /// The addresses are no longer the key's.
    pub released: bool,
}

/// A claim of the world. The fields are those of [`Claim`], and two of the operator's own.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "documented on Claim")]
pub struct ClaimView<'a> {
    pub uid: Uid,
    pub resource_version: u64,
    pub created: u32,
    pub public_key: PublicKey,
    pub addresses: Addresses,
    pub pool: &'a str,
    pub key: Uid,
    pub key_namespace: &'a str,
    pub key_name: &'a str,
    pub address_generation: u32,
    pub released: bool,
    /// When this operator first saw the claim, or first saw it released.
    pub since: Duration,
    /// When this operator first saw it programmed everywhere.
    pub programmed: Option<Duration>,
    pub(super) slot: Slot,
}

#[derive(Debug)]
pub(super) struct ClaimRecord {
    pub uid: Uid,
    pub resource_version: u64,
    /// Unless it is its key's.
    public_key: Option<Box<PublicKey>>,
    addresses: Addresses,
    pub key: Slot,
    /// The next younger claim of the key.
    pub next: Slot,
    pub pool: Symbol,
    created: u32,
    phase: Phase,
    pub since: Moment,
    pub programmed: Moment,
}

/// An address generation, and whether the claim is released, in four bytes: the API bounds generations at 2^31 - 1.
#[derive(Clone, Copy, Debug)]
struct Phase(u32);

impl Phase {
    const RELEASED: u32 = 1 << 31;

    fn new(address_generation: u32, released: bool) -> Self {
        let generation = address_generation.min(Self::RELEASED - 1);
        Self(generation | if released { Self::RELEASED } else { 0 })
    }

    fn generation(self) -> u32 {
        self.0 & !Self::RELEASED
    }

    fn is_released(self) -> bool {
        self.0 & Self::RELEASED != 0
    }
}

/// A time since the start in 32nds of a second, rounded up, in four bytes: four years of it. 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment(u32);

impl Moment {
    pub fn at(time: Duration) -> Self {
        Self(u32::try_from((time.as_millis() * 32).div_ceil(1000) + 1).unwrap_or(u32::MAX))
    }

    pub fn time(self) -> Option<Duration> {
        let ticks = self.0.checked_sub(1)?;
        Some(Duration::from_micros(u64::from(ticks) * 31_250))
    }
}

/// What a namespace has of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Claims in use.
    pub held: u32,
    /// Released ones that cool down.
    pub cooling: u32,
}

impl Share {
    fn count(&mut self, released: bool, by: i32) {
        let count = if released {
            &mut self.cooling
        } else {
            &mut self.held
        };
        *count = count.saturating_add_signed(by);
    }
}

impl ClaimView<'_> {
    /// The name of the object.
    pub fn name(&self) -> String {
        self.addresses.claim_name()
    }

    /// The claim by itself.
    pub fn to_claim(&self) -> Claim {
        Claim {
            uid: self.uid,
            resource_version: self.resource_version,
            created: self.created,
            public_key: self.public_key,
            addresses: self.addresses,
            pool: self.pool.to_owned(),
            key: self.key,
            key_namespace: self.key_namespace.to_owned(),
            key_name: self.key_name.to_owned(),
            address_generation: self.address_generation,
            released: self.released,
        }
    }

    /// Whether this is what a status shows, since whenever that may be.
    pub fn is_shown_by(&self, status: &KeyStatus) -> bool {
        let shown = Shown {
            since: None,
            ..status.shown
        };
        shown == self.shown()
    }

    /// What a status shows that shows this claim.
    pub fn shown(&self) -> Shown {
        Shown {
            addresses: self.addresses,
            public_key: Some(self.public_key),
            address_generation: Some(self.address_generation),
            since: None,
        }
    }
}

impl Claim {
    /// The name of the object.
    pub fn name(&self) -> String {
        self.addresses.claim_name()
    }
}

impl Record for ClaimRecord {
    fn uid(&self) -> Uid {
        self.uid
    }
}

impl World {
    /// The claim of this uid.
    pub fn claim(&self, uid: &Uid) -> Option<ClaimView<'_>> {
        self.claims.slot(uid).map(|slot| self.claim_at(slot))
    }

    /// Every claim.
    pub fn claims(&self) -> impl Iterator<Item = ClaimView<'_>> {
        self.claims.iter().map(|(slot, _)| self.claim_at(slot))
    }

    fn claim_at(&self, slot: Slot) -> ClaimView<'_> {
        let record = self.claims.at(slot);
        let (key, key_namespace, key_name) = self.key_name_at(record.key);
        ClaimView {
            uid: record.uid,
            resource_version: record.resource_version,
            created: record.created,
            public_key: self.claimed_key(record),
            addresses: record.addresses,
            pool: self.symbols.name(record.pool),
            key,
            key_namespace,
            key_name,
            address_generation: record.phase.generation(),
            released: record.phase.is_released(),
            since: record.since.time().unwrap_or_default(),
            programmed: record.programmed.time(),
            slot,
        }
    }

    fn claimed_key(&self, record: &ClaimRecord) -> PublicKey {
        claimed_key(&self.keys, record)
    }

    /// What a status shows that shows the claim in this slot.
    pub(super) fn claimed(&self, slot: Slot) -> Shown {
        let record = self.claims.at(slot);
        Shown {
            addresses: record.addresses,
            public_key: Some(self.claimed_key(record)),
            address_generation: Some(record.phase.generation()),
            since: None,
        }
    }

    /// The claims of a key, oldest first, released ones included.
    pub fn claims_of<'a>(&'a self, key: &KeyView<'_>) -> impl Iterator<Item = ClaimView<'a>> + use<'a> {
        self.claims_at(key.slot)
    }

    pub(super) fn claims_at(&self, key: Slot) -> impl Iterator<Item = ClaimView<'_>> {
        let existing = |slot: &Slot| *slot != NOWHERE;
        let first = Some(self.keys.at(key).first_claim).filter(existing);
        std::iter::successors(first, move |slot| {
            Some(self.claims.at(*slot).next).filter(existing)
        })
        .map(|slot| self.claim_at(slot))
    }

    /// The key that a claim belongs to, if there is one.
    pub fn key_of(&self, claim: &ClaimView<'_>) -> Option<KeyView<'_>> {
        let slot = self.claims.at(claim.slot).key;
        self.keys.at(slot).exists.then(|| self.key_at(slot))
    }

    /// Unreleased claims of this public key, oldest first.
    pub(super) fn claims_carrying<'a>(
        &'a self,
        public_key: &'a PublicKey,
    ) -> impl Iterator<Item = ClaimView<'a>> {
        self.incumbents
            .of(public_key, &|slot| place_of(&self.keys, &self.claims, slot))
            .map(|slot| self.claim_at(slot))
    }

    /// The key that holds this public key: the one whose unreleased claim is the oldest.
    pub fn incumbent(&self, public_key: &PublicKey) -> Option<Uid> {
        self.claims_carrying(public_key).next().map(|claim| claim.key)
    }

    /// What a namespace has of a pool.
    pub fn share(&self, pool: &str, namespace: &str) -> Share {
        let place = self.symbols.find(pool).zip(self.symbols.find(namespace));
        place
            .and_then(|place| self.shares.get(&place).copied())
            .unwrap_or_default()
    }

    /// How many claims a pool has, released ones included.
    pub fn allocated(&self, pool: &str) -> i64 {
        let pool = self.symbols.find(pool);
        pool.and_then(|pool| self.held_by_pool.get(&pool).copied())
            .unwrap_or(0)
    }

    /// Whether a claim holds this IPv6 address. IPv4 addresses are their pools' own affair.
    pub fn holds_v6(&self, address: IpAddr) -> bool {
        let is_it = |slot: &Slot| self.claims.at(*slot).addresses.iter().any(|own| own == address);
        address.is_ipv6() && self.by_v6.find(self.hash_of(address), is_it).is_some()
    }

    pub(super) fn apply_claim(&mut self, claim: Claim, now: Duration) {
        let (mut since, mut programmed) = (Moment::at(now), Moment::default());
        let is_new = self.claims.slot(&claim.uid).is_none();
        if let Some(slot) = self.claims.slot(&claim.uid) {
            let known = self.claims.at(slot).resource_version;
            if self.is_old(Kind::Claim, known, claim.resource_version) {
                return;
            }
            let known = self.claims.at(slot);
            if known.phase.is_released() == claim.released {
                since = known.since;
            }
            programmed = known.programmed;
            self.take_out(slot);
        }
        for pool in self.pools.values_mut() {
            claim.addresses.iter().for_each(|address| pool.take(address));
        }
        let key = self.stand_in(claim.key, &claim.key_namespace, &claim.key_name, claim.public_key);
        let own = self.keys.at(key).public_key != Some(claim.public_key);
        let pool = self.symbols.hold(&claim.pool);
        let slot = self.claims.add(ClaimRecord {
            uid: claim.uid,
            resource_version: claim.resource_version,
            public_key: own.then(|| Box::new(claim.public_key)),
            addresses: claim.addresses,
            key,
            next: NOWHERE,
            pool,
            created: claim.created,
            phase: Phase::new(claim.address_generation, claim.released),
            since,
            programmed,
        });
        self.index_claim(slot);
        self.share_shown(key);
        self.touch(Target::Key(claim.key));
        self.touch_claims_at(key);
        // Whoever else has the public key, and waits for an address, waits in vain from now on.
        if is_new || claim.released {
            self.touch_carriers(Some(claim.public_key));
        }
        if claim.released {
            self.touch_waiting(&claim.pool, &claim.key_namespace);
        } else {
            self.touch_rivals(Some(claim.public_key));
        }
        self.touch(Target::Pool(claim.pool));
    }

    /// Plans a claim and its key again.
    pub(super) fn touch_claim(&mut self, uid: &Uid) {
        if let Some(key) = self.claim(uid).map(|claim| claim.key) {
            self.touch(Target::Key(key));
            self.touch(Target::Claim(*uid));
        }
    }

    pub(super) fn remove_claim(&mut self, uid: &Uid) {
        let Some(slot) = self.claims.slot(uid) else { return };
        self.queue.forget(&Target::Claim(*uid));
        let claim = self.claim_at(slot).to_claim();
        let key = self.claims.at(slot).key;
        self.touch_claims_at(key);
        self.take_out(slot);
        for pool in self.pools.values_mut() {
            claim.addresses.iter().for_each(|address| pool.put_back(address));
        }
        self.touch(Target::Key(claim.key));
        self.touch_carriers(Some(claim.public_key));
        self.touch_waiting(&claim.pool, &claim.key_namespace);
        self.touch(Target::Pool(claim.pool));
    }

    /// Marks every address again that a claim holds.
    pub(super) fn take_all(&mut self) {
        for pool in self.pools.values_mut() {
            for (_, claim) in self.claims.iter() {
                claim.addresses.iter().for_each(|address| pool.take(address));
            }
        }
    }

    fn index_claim(&mut self, slot: Slot) {
        let record = self.claims.at(slot);
        let (key, pool, released) = (record.key, record.pool, record.phase.is_released());
        let place = (record.created, record.uid);
        // Oldest first; there are hardly ever more than two.
        let (mut before, mut after) = (NOWHERE, self.keys.at(key).first_claim);
        while after != NOWHERE && (self.claims.at(after).created, self.claims.at(after).uid) < place {
            (before, after) = (after, self.claims.at(after).next);
        }
        self.claims.at_mut(slot).next = after;
        if before == NOWHERE {
            self.keys.at_mut(key).first_claim = slot;
        } else {
            self.claims.at_mut(before).next = slot;
        }
        *self.held_by_pool.entry(pool).or_default() += 1;
        let share = self
            .shares
            .entry((pool, self.keys.at(key).namespace))
            .or_default();
        share.count(released, 1);
        if !released {
            let (keys, claims) = (&self.keys, &self.claims);
            self.incumbents.add(slot, &|slot| place_of(keys, claims, slot));
        }
        let record = self.claims.at(slot);
        if released || record.programmed == Moment::default() {
            self.awaiting.insert((pool, record.resource_version, slot));
        }
        if let Some(v6) = record.addresses.iter().find(IpAddr::is_ipv6) {
            let hash = self.hash_of(v6);
            let (claims, hasher) = (&self.claims, &self.hasher);
            self.by_v6.insert_unique(hash, slot, |slot| {
                let v6 = claims.at(*slot).addresses.iter().find(IpAddr::is_ipv6);
                std::hash::BuildHasher::hash_one(hasher, v6)
            });
        }
    }

    fn hash_of(&self, v6: IpAddr) -> u64 {
        std::hash::BuildHasher::hash_one(&self.hasher, Some(v6))
    }

    /// Takes a claim out of every index, and forgets it.
    fn take_out(&mut self, slot: Slot) {
        let shown = self.claimed(slot);
        let record = self.claims.at(slot);
        let (key, pool, next) = (record.key, record.pool, record.next);
        if self.keys.at(key).shown_by == slot {
            self.unshare_shown(key, shown);
        }
        let record = self.claims.at(slot);
        if let Some(v6) = record.addresses.iter().find(IpAddr::is_ipv6) {
            let hash = self.hash_of(v6);
            if let Ok(found) = self.by_v6.find_entry(hash, |other| *other == slot) {
                found.remove();
            }
        }
        self.awaiting.remove(&(pool, record.resource_version, slot));
        let (released, place) = (record.phase.is_released(), (pool, self.keys.at(key).namespace));
        if let Some(held) = self.held_by_pool.get_mut(&pool) {
            *held -= 1;
            if *held == 0 {
                self.held_by_pool.remove(&pool);
            }
        }
        if let Some(share) = self.shares.get_mut(&place) {
            share.count(released, -1);
            if *share == Share::default() {
                self.shares.remove(&place);
            }
        }
        if !released {
            let (keys, claims) = (&self.keys, &self.claims);
            self.incumbents.remove(slot, &|slot| place_of(keys, claims, slot));
        }
        if self.keys.at(key).first_claim == slot {
            self.keys.at_mut(key).first_claim = next;
        } else {
            let mut before = self.keys.at(key).first_claim;
            while self.claims.at(before).next != slot {
                before = self.claims.at(before).next;
            }
            self.claims.at_mut(before).next = next;
        }
        self.claims.remove(slot);
        self.symbols.drop(pool);
        self.drop_stand_in(key);
    }

    /// The key in this slot is about to carry another public key: its claims keep the one they were made for.
    pub(super) fn keep_claimed_key(&mut self, key: Slot, next: Option<PublicKey>) {
        let mut slot = self.keys.at(key).first_claim;
        while slot != NOWHERE {
            let own = self.claimed_key(self.claims.at(slot));
            let record = self.claims.at_mut(slot);
            record.public_key = (next != Some(own)).then(|| Box::new(own));
            slot = record.next;
        }
    }
}

fn claimed_key(keys: &Table<KeyRecord>, record: &ClaimRecord) -> PublicKey {
    match &record.public_key {
        Some(own) => **own,
        None => keys.at(record.key).carried().0,
    }
}

/// What the index of incumbents reads.
fn place_of(keys: &Table<KeyRecord>, claims: &Table<ClaimRecord>, slot: Slot) -> (PublicKey, u32, Uid) {
    let record = claims.at(slot);
    (claimed_key(keys, record), record.created, record.uid)
}
