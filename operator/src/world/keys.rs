//! Keys, and who shares a public key with whom.
//!
//! A record also stands in for a key that is not (or no longer) there as long as claims name it: they find its name and
//! uid here, and it is no key to anybody else.

use std::sync::Arc;
use std::time::Duration;

use culvert_wireguard::PublicKey;
use smol_str::SmolStr;

use super::status::{KeyStatus, Packed, Shown};
use super::symbols::Symbol;
use super::table::{NOWHERE, Record, Slot};
use super::{Kind, Target, Uid, World};

/// A `WireGuardKey` as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Uid of the object.
    pub uid: Uid,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Version of the object.
    pub resource_version: u64,
    /// Generation of its spec.
    pub generation: u32,
    /// Creation, seconds since the epoch.
    pub created: u32,
    /// Somebody has asked for its deletion.
    pub deleting: bool,
    /// The public key; `None` when it is not a usable one.
    pub public_key: Option<PublicKey>,
    /// Name of the pool.
    pub pool: String,
    /// The user wants no addresses for now.
    pub suspend: bool,
    /// The user's own limit of its age, at least a second.
    pub expire_after: Option<Duration>,
    /// Generation of its addresses.
    pub address_generation: u32,
    /// What was last published.
    pub status: KeyStatus,
}

/// A key of the world. The fields are those of [`Key`].
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "documented on Key")]
pub struct KeyView<'a> {
    pub uid: Uid,
    pub namespace: &'a Arc<str>,
    pub name: &'a str,
    pub resource_version: u64,
    pub generation: u32,
    pub created: u32,
    pub deleting: bool,
    pub public_key: Option<PublicKey>,
    pub pool: &'a Arc<str>,
    pub suspend: bool,
    pub expire_after: Option<Duration>,
    pub address_generation: u32,
    pub status: KeyStatus,
    pub(super) slot: Slot,
}

/// Where a key is, as long as the world does not change.
#[derive(Clone, Copy, Debug)]
pub struct Place(Slot);

#[derive(Debug)]
pub(super) struct KeyRecord {
    uid: Uid,
    pub resource_version: u64,
    name: SmolStr,
    status: Packed,
    /// Of a stand-in: what its claims carry, if they agree.
    pub public_key: Option<PublicKey>,
    pub namespace: Symbol,
    pub pool: Symbol,
    pub created: u32,
    generation: u32,
    address_generation: u32,
    /// Seconds; 0 for none.
    expire_after: u32,
    /// The oldest of its claims.
    pub first_claim: Slot,
    /// The claim that says what its status shows.
    pub shown_by: Slot,
    suspend: bool,
    deleting: bool,
    /// Whether there is such a key.
    pub exists: bool,
}

impl Record for KeyRecord {
    fn uid(&self) -> Uid {
        self.uid
    }
}

impl World {
    /// The key of this uid.
    pub fn key(&self, uid: &Uid) -> Option<KeyView<'_>> {
        self.keys
            .slot(uid)
            .filter(|slot| self.keys.at(*slot).exists)
            .map(|slot| self.key_at(slot))
    }

    /// Where the key of a target is.
    pub fn place(&self, target: &Target) -> Option<Place> {
        let Target::Key(uid) = target else { return None };
        self.keys.slot(uid).map(Place)
    }

    /// The key in a place.
    pub fn key_of_place(&self, place: Place) -> Option<KeyView<'_>> {
        self.keys.at(place.0).exists.then(|| self.key_at(place.0))
    }

    /// Whether nobody else has to do with the public key of a key, as far as that can be told at once. `holds` says that
    /// the key has an unreleased claim of it.
    pub fn is_undisputed(&self, key: &KeyView<'_>, holds: bool) -> bool {
        key.public_key.is_some_and(|public_key| {
            if holds {
                !self.incumbents.is_shared(&public_key)
            } else {
                !self.carriers.is_shared(&public_key) && self.claims_carrying(&public_key).next().is_none()
            }
        })
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = KeyView<'_>> {
        self.keys
            .iter()
            .filter(|(_, record)| record.exists)
            .map(|(slot, _)| self.key_at(slot))
    }

    pub(super) fn key_at(&self, slot: Slot) -> KeyView<'_> {
        let record = self.keys.at(slot);
        let claimed = (record.shown_by != NOWHERE).then(|| self.claimed(record.shown_by));
        KeyView {
            uid: record.uid,
            namespace: self.symbols.name(record.namespace),
            name: &record.name,
            resource_version: record.resource_version,
            generation: record.generation,
            created: record.created,
            deleting: record.deleting,
            public_key: record.public_key,
            pool: self.symbols.name(record.pool),
            suspend: record.suspend,
            expire_after: (record.expire_after != 0)
                .then(|| Duration::from_secs(u64::from(record.expire_after))),
            address_generation: record.address_generation,
            status: record.status.unpack(claimed),
            slot,
        }
    }

    /// Uid, namespace and name of a key or of its stand-in.
    pub(super) fn key_name_at(&self, slot: Slot) -> (Uid, &str, &str) {
        let record = self.keys.at(slot);
        (record.uid, self.symbols.name(record.namespace), &record.name)
    }

    /// Keys that carry this public key, oldest first; of very many the oldest.
    pub fn keys_carrying<'a>(&'a self, public_key: &'a PublicKey) -> impl Iterator<Item = KeyView<'a>> {
        self.carriers
            .of(public_key, &|slot| self.keys.at(slot).carried())
            .map(|slot| self.key_at(slot))
    }

    pub(super) fn apply_key(&mut self, key: Key) {
        let known = self.keys.slot(&key.uid);
        if let Some(slot) = known
            && self.keys.at(slot).exists
            && self.is_old(
                Kind::Key,
                self.keys.at(slot).resource_version,
                key.resource_version,
            )
        {
            return;
        }
        let before = known
            .filter(|slot| self.keys.at(*slot).exists)
            .map(|slot| claims_on(&self.key_at(slot)));
        let (namespace, pool) = (self.symbols.hold(&key.namespace), self.symbols.hold(&key.pool));
        let mut record = KeyRecord {
            uid: key.uid,
            resource_version: key.resource_version,
            name: key.name.into(),
            status: Packed::new(&key.status),
            public_key: key.public_key,
            namespace,
            pool,
            created: key.created,
            generation: key.generation,
            address_generation: key.address_generation,
            expire_after: key
                .expire_after
                .map_or(0, |limit| u32::try_from(limit.as_secs()).unwrap_or(u32::MAX)),
            first_claim: NOWHERE,
            shown_by: NOWHERE,
            suspend: key.suspend,
            deleting: key.deleting,
            exists: true,
        };
        let slot = if let Some(slot) = known {
            let before = self.keys.at(slot);
            record.first_claim = before.first_claim;
            let (existed, carried) = (before.exists, before.public_key);
            let turned = carried != key.public_key;
            if existed && turned {
                self.stop_carrying(slot);
            }
            if existed {
                // Whether it still does is about to be planned.
                self.stop_waiting(slot);
            }
            if turned {
                self.keep_claimed_key(slot, key.public_key);
            }
            let before = std::mem::replace(self.keys.at_mut(slot), record);
            self.symbols.drop(before.namespace);
            self.symbols.drop(before.pool);
            self.carry(slot, !existed || turned);
            slot
        } else {
            let slot = self.keys.add(record);
            self.carry(slot, true);
            slot
        };
        self.share_shown(slot);
        // Whether it may have its public key decides about the others that carry it.
        if before != Some(claims_on(&self.key_at(slot))) {
            self.touch_rivals(key.public_key);
        }
        self.touch_claims_at(slot);
        self.touch(Target::Key(key.uid));
    }

    fn carry(&mut self, slot: Slot, news: bool) {
        if news && self.keys.at(slot).public_key.is_some() {
            let keys = &self.keys;
            self.carriers.add(slot, &|slot| keys.at(slot).carried());
        }
    }

    fn stop_carrying(&mut self, slot: Slot) {
        let Some(public_key) = self.keys.at(slot).public_key else {
            return;
        };
        let keys = &self.keys;
        self.carriers.remove(slot, &|slot| keys.at(slot).carried());
        self.touch_carriers(Some(public_key));
    }

    /// Lets the status refer to the claim that says the same.
    pub(super) fn share_shown(&mut self, slot: Slot) {
        let record = self.keys.at(slot);
        let Some(shown) = record.status.other.as_deref() else {
            return;
        };
        let same = self.claims_at(slot).find(|claim| claim.shown() == *shown);
        if let Some(claim) = same.map(|claim| claim.slot) {
            let record = self.keys.at_mut(slot);
            record.shown_by = claim;
            record.status.other = None;
        }
    }

    /// What the status shows is kept by itself: the claim that said it goes.
    pub(super) fn unshare_shown(&mut self, slot: Slot, shown: Shown) {
        let record = self.keys.at_mut(slot);
        record.shown_by = NOWHERE;
        record.status.other = Some(Box::new(shown));
    }

    pub(super) fn touch_claims_at(&mut self, key: Slot) {
        let mut next = self.keys.at(key).first_claim;
        while next != NOWHERE {
            let claim = self.claims.at(next);
            let uid = claim.uid();
            next = claim.next;
            self.touch(Target::Claim(uid));
        }
    }

    /// A stand-in for the key that a claim names, unless the key is known.
    pub(super) fn stand_in(&mut self, uid: Uid, namespace: &str, name: &str, public_key: PublicKey) -> Slot {
        if let Some(slot) = self.keys.slot(&uid) {
            return slot;
        }
        let (namespace, pool) = (self.symbols.hold(namespace), self.symbols.hold(""));
        self.keys.add(KeyRecord {
            uid,
            resource_version: 0,
            name: name.into(),
            status: Packed::default(),
            public_key: Some(public_key),
            namespace,
            pool,
            created: 0,
            generation: 0,
            address_generation: 0,
            expire_after: 0,
            first_claim: NOWHERE,
            shown_by: NOWHERE,
            suspend: false,
            deleting: false,
            exists: false,
        })
    }

    /// Forgets a stand-in that no claim names any more.
    pub(super) fn drop_stand_in(&mut self, slot: Slot) {
        let record = self.keys.at(slot);
        if !record.exists && record.first_claim == NOWHERE {
            let record = self.keys.remove(slot);
            self.symbols.drop(record.namespace);
            self.symbols.drop(record.pool);
        }
    }

    pub(super) fn remove_key(&mut self, uid: &Uid) {
        let Some(slot) = self.keys.slot(uid) else { return };
        self.queue.forget(&Target::Key(*uid));
        if self.keys.at(slot).exists {
            self.stop_waiting(slot);
            self.stop_carrying(slot);
            let record = self.keys.at_mut(slot);
            record.exists = false;
            record.shown_by = NOWHERE;
            record.status = Packed::default();
        }
        self.touch_claims_at(slot);
        self.drop_stand_in(slot);
    }

    /// Plans every key and claim with this public key again: its winner may have changed.
    pub fn touch_carriers(&mut self, public_key: Option<PublicKey>) {
        let Some(public_key) = public_key else { return };
        let keys: Vec<Uid> = self.keys_carrying(&public_key).map(|key| key.uid).collect();
        let claims: Vec<Uid> = self.claims_carrying(&public_key).map(|claim| claim.uid).collect();
        keys.into_iter().for_each(|uid| self.touch(Target::Key(uid)));
        claims.into_iter().for_each(|uid| self.touch(Target::Claim(uid)));
    }

    /// Plans every key and claim with this public key again, where more than one key has it.
    pub(super) fn touch_rivals(&mut self, public_key: Option<PublicKey>) {
        if public_key.is_some_and(|public_key| self.carriers.is_shared(&public_key)) {
            self.touch_carriers(public_key);
        }
    }

    /// Remembers that a key waits for its pool.
    pub fn wait(&mut self, uid: &Uid, queue: Waiting) {
        if let Some(slot) = self.keys.slot(uid) {
            let record = self.keys.at(slot);
            let place = (record.pool, queue.of(record.namespace));
            let turn = (record.created, *uid);
            self.waiting.entry(place).or_default().insert(turn);
        }
    }

    fn stop_waiting(&mut self, slot: Slot) {
        let record = self.keys.at(slot);
        for queue in [Waiting::Address, Waiting::Share] {
            let place = (record.pool, queue.of(record.namespace));
            if let Some(waiting) = self.waiting.get_mut(&place) {
                waiting.remove(&(record.created, record.uid));
                if waiting.is_empty() {
                    self.waiting.remove(&place);
                }
            }
        }
    }

    /// Plans keys again that wait for an address of this pool, or for this namespace's share of it, the oldest first: as
    /// many as can get one, and some in the place of those that no longer may. The others cost nothing.
    pub fn touch_waiting(&mut self, pool: &str, namespace: &str) {
        let available = self.pools.get(pool).map_or(i64::MAX, super::Pool::available);
        let most = usize::try_from(available)
            .unwrap_or(usize::MAX)
            .saturating_add(16);
        let (Some(pool), namespace) = (self.symbols.find(pool), self.symbols.find(namespace)) else {
            return;
        };
        let share = namespace.map(|namespace| (pool, Some(namespace)));
        for place in [Some((pool, None)), share].into_iter().flatten() {
            let Some(waiting) = self.waiting.get_mut(&place) else {
                continue;
            };
            let first: Vec<(u32, Uid)> = waiting.iter().take(most).copied().collect();
            first.iter().for_each(|turn| {
                waiting.remove(turn);
            });
            if waiting.is_empty() {
                self.waiting.remove(&place);
            }
            first
                .into_iter()
                .for_each(|(_, uid)| self.touch(Target::Key(uid)));
        }
    }
}

/// What a key waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Any free address of its pool.
    Address,
    /// Its namespace's share of the pool.
    Share,
}

impl Waiting {
    fn of(self, namespace: Symbol) -> Option<Symbol> {
        (self == Self::Share).then_some(namespace)
    }
}

/// What decides whether a key may have its public key, apart from its pool.
fn claims_on(key: &KeyView<'_>) -> impl PartialEq + use<> {
    let shown = &key.status.shown;
    (
        key.public_key,
        key.suspend || key.deleting,
        key.pool.clone(),
        key.address_generation,
        key.status.is_expired(),
        shown.public_key,
        shown.addresses.is_empty(),
    )
}

impl KeyRecord {
    /// What the index of public keys reads; only of records that carry one.
    pub fn carried(&self) -> (PublicKey, u32, Uid) {
        let none = PublicKey::from_bytes([0; 32]);
        (self.public_key.unwrap_or(none), self.created, self.uid)
    }
}
