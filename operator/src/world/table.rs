//! Records in slots that keep their number, found by uid.
//!
//! An index holds slot numbers only and looks into the records for the rest, so that a million objects cost what
//! their records cost, and a few bytes.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;

use super::Uid;

/// The number of a record; stable while the record stays.
pub(super) type Slot = u32;

/// "No record", in the place of a slot.
pub(super) const NOWHERE: Slot = Slot::MAX;

/// A record that knows which object it is of.
pub(super) trait Record {
    fn uid(&self) -> Uid;
}

#[derive(Debug)]
pub(super) struct Table<T> {
    records: Slab<T>,
    by_uid: HashTable<Slot>,
    hasher: RandomState,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            records: Slab::new(),
            by_uid: HashTable::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<T: Record> Table<T> {
    /// Where the record of this uid is.
    pub fn slot(&self, uid: &Uid) -> Option<Slot> {
        let is_it = |slot: &Slot| self.at(*slot).uid() == *uid;
        self.by_uid.find(self.hasher.hash_one(uid), is_it).copied()
    }

    /// The record of this uid.
    pub fn get(&self, uid: &Uid) -> Option<&T> {
        self.slot(uid).map(|slot| self.at(slot))
    }

    pub fn at(&self, slot: Slot) -> &T {
        &self.records[slot as usize]
    }

    pub fn at_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.records[slot as usize]
    }

    /// Adds a record whose uid is not there yet.
    pub fn add(&mut self, record: T) -> Slot {
        let hash = self.hasher.hash_one(record.uid());
        // 2^32 - 1 records are a terabyte: memory ends first.
        let slot = Slot::try_from(self.records.insert(record)).unwrap_or(NOWHERE);
        let (records, hasher) = (&self.records, &self.hasher);
        self.by_uid
            .insert_unique(hash, slot, |slot| hasher.hash_one(records[*slot as usize].uid()));
        slot
    }

    pub fn remove(&mut self, slot: Slot) -> T {
        let record = self.records.remove(slot as usize);
        let hash = self.hasher.hash_one(record.uid());
        if let Ok(found) = self.by_uid.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        record
    }

    /// The first record at or after a slot.
    pub fn from(&self, slot: Slot) -> Option<(Slot, &T)> {
        let end = Slot::try_from(self.records.capacity()).unwrap_or(NOWHERE);
        (slot..end).find_map(|slot| self.records.get(slot as usize).map(|record| (slot, record)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.records
            .iter()
            .map(|(slot, record)| (Slot::try_from(slot).unwrap_or(NOWHERE), record))
    }
}
