//! Keys, and who shares a public key with whom.

use std::time::Duration;

use culvert_wireguard::PublicKey;

use super::status::KeyStatus;
use super::{Target, Uid, World};

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
    pub generation: i64,
    /// Creation, seconds since the epoch.
    pub created: i64,
    /// Somebody has asked for its deletion.
    pub deleting: bool,
    /// The public key; `None` when it is not a usable one.
    pub public_key: Option<PublicKey>,
    /// Name of the pool.
    pub pool: String,
    /// The user wants no addresses for now.
    pub suspend: bool,
    /// The user's own limit of its age.
    pub expire_after: Option<Duration>,
    /// Generation of its addresses.
    pub address_generation: i64,
    /// What was last published.
    pub status: KeyStatus,
}

impl World {
    /// The key of this uid.
    pub fn key(&self, uid: &str) -> Option<&Key> {
        self.keys.get(uid)
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// Keys that carry this public key, oldest first.
    pub fn keys_carrying(&self, public_key: &PublicKey) -> impl Iterator<Item = &Key> {
        let set = self.keys_by_public_key.get(public_key);
        set.into_iter()
            .flatten()
            .filter_map(|(_, uid)| self.keys.get(uid))
    }

    pub(super) fn apply_key(&mut self, key: Key) {
        let known = self.keys.get(&key.uid);
        if known.is_some_and(|known| known.resource_version >= key.resource_version) {
            return;
        }
        let before = known.map(|known| (known.public_key, known.pool.clone()));
        let uid = key.uid.clone();
        if let Some((public_key, pool)) = &before {
            if *public_key != key.public_key {
                self.drop_public_key(*public_key, key.created, &uid);
            }
            if *pool != key.pool {
                self.stop_waiting(pool, &uid);
            }
        }
        if let Some(public_key) = key.public_key {
            self.keys_by_public_key
                .entry(public_key)
                .or_default()
                .insert((key.created, uid.clone()));
        }
        let released = key.suspend || key.deleting;
        let public_key = key.public_key;
        self.keys.insert(uid.clone(), key);
        if released {
            self.touch_carriers(public_key);
        }
        self.touch_claims_of(&uid);
        self.queue.touch(Target::Key(uid));
    }

    pub(super) fn touch_claims_of(&mut self, key: &str) {
        for (_, claim) in self.claims_by_key.get(key).into_iter().flatten() {
            self.queue.touch(Target::Claim(claim.clone()));
        }
    }

    pub(super) fn remove_key(&mut self, uid: &str) {
        if let Some(key) = self.keys.remove(uid) {
            self.drop_public_key(key.public_key, key.created, uid);
            self.stop_waiting(&key.pool, uid);
        }
        self.touch_claims_of(uid);
    }

    fn drop_public_key(&mut self, public_key: Option<PublicKey>, created: i64, uid: &str) {
        let Some(public_key) = public_key else { return };
        if let Some(set) = self.keys_by_public_key.get_mut(&public_key) {
            set.remove(&(created, uid.to_owned()));
            if set.is_empty() {
                self.keys_by_public_key.remove(&public_key);
            }
        }
        self.touch_carriers(Some(public_key));
    }

    /// Plans every key and claim with this public key again: its winner may have changed.
    pub(super) fn touch_carriers(&mut self, public_key: Option<PublicKey>) {
        let Some(public_key) = public_key else { return };
        for (_, uid) in self.keys_by_public_key.get(&public_key).into_iter().flatten() {
            self.queue.touch(Target::Key(uid.clone()));
        }
        for (_, uid, _) in self.incumbents.get(&public_key).into_iter().flatten() {
            self.queue.touch(Target::Claim(uid.clone()));
        }
    }

    /// Remembers that a key waits for an address of this pool.
    pub fn wait_for_address(&mut self, pool: &str, uid: &str) {
        self.waiting_for_address
            .entry(pool.to_owned())
            .or_default()
            .insert(uid.to_owned());
    }

    fn stop_waiting(&mut self, pool: &str, uid: &str) {
        if let Some(waiting) = self.waiting_for_address.get_mut(pool) {
            waiting.remove(uid);
        }
    }

    /// Plans the keys again that wait for something of this pool.
    pub fn touch_waiting(&mut self, pool: &str) {
        for uid in self.waiting_for_address.remove(pool).into_iter().flatten() {
            self.queue.touch(Target::Key(uid));
        }
    }
}
