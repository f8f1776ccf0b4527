//! Who carries a public key, oldest first.
//!
//! Nearly every public key has one carrier, which costs a slot number. The few that have more are kept in order, so that
//! a hundred thousand copies of one public key cost no more per change than a few: only the oldest of them are looked at.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use culvert_wireguard::PublicKey;
use hashbrown::HashTable;

use super::Uid;
use super::table::Slot;

/// So many carriers of one public key are looked at, the oldest: who copies it more often harms the copies alone.
const MOST: usize = 64;

/// A place in the order of carriers: creation, uid; and where the record is.
pub(super) type Place = (u32, Uid, Slot);

#[derive(Debug, Default)]
pub(super) struct Carriers {
    alone: HashTable<Slot>,
    shared: HashMap<PublicKey, BTreeSet<Place>>,
    hasher: RandomState,
}

/// What the index reads from a record.
pub(super) type Look<'a> = &'a dyn Fn(Slot) -> (PublicKey, u32, Uid);

impl Carriers {
    /// Adds a carrier; `look` must know it already.
    pub fn add(&mut self, slot: Slot, look: Look<'_>) {
        let (public_key, created, uid) = look(slot);
        if let Some(set) = self.shared.get_mut(&public_key) {
            set.insert((created, uid, slot));
            return;
        }
        let hash = self.hasher.hash_one(public_key);
        if let Ok(found) = self.alone.find_entry(hash, |other| look(*other).0 == public_key) {
            let (other, _) = found.remove();
            let (_, other_created, other_uid) = look(other);
            let both = [(created, uid, slot), (other_created, other_uid, other)];
            self.shared.insert(public_key, both.into());
            return;
        }
        let hasher = &self.hasher;
        self.alone
            .insert_unique(hash, slot, |other| hasher.hash_one(look(*other).0));
    }

    /// Takes a carrier out; `look` must still know it.
    pub fn remove(&mut self, slot: Slot, look: Look<'_>) {
        let (public_key, created, uid) = look(slot);
        if let Some(set) = self.shared.get_mut(&public_key) {
            set.remove(&(created, uid, slot));
            if set.len() == 1
                && let Some((_, _, last)) = set.pop_first()
            {
                self.shared.remove(&public_key);
                self.add(last, look);
            }
            return;
        }
        let hash = self.hasher.hash_one(public_key);
        if let Ok(found) = self.alone.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
    }

    /// Whether more than one carries it.
    pub fn is_shared(&self, public_key: &PublicKey) -> bool {
        self.shared.contains_key(public_key)
    }

    /// The carriers, oldest first, of many the oldest [`MOST`].
    pub fn of<'a>(
        &'a self,
        public_key: &'a PublicKey,
        look: Look<'_>,
    ) -> impl Iterator<Item = Slot> + use<'a> {
        let hash = self.hasher.hash_one(public_key);
        let alone = self
            .alone
            .find(hash, |other| look(*other).0 == *public_key)
            .copied();
        let shared = self.shared.get(public_key).into_iter().flatten();
        alone
            .into_iter()
            .chain(shared.take(MOST).map(|(_, _, slot)| *slot))
    }
}
