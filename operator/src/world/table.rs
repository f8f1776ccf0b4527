//! Records in slots that keep their number, found by uid.
//!
//! An index holds slot numbers only and looks into the records for the rest, so that a million objects cost what
//! their records cost, and a few bytes.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use slab::Slab;

use super::{Quick, Uid};

/// The number of a record; stable while the record stays.
pub(super) type Slot = u32;

/// "No record", in the place of a slot.
pub(super) const NOWHERE: Slot = Slot::MAX;

/// A record that knows which object it is of.
pub(super) trait Record {
    fn uid(&self) -> Uid;
}

/// Records of a chunk.
const CHUNK: usize = 4096;

/// Grows by a chunk at a time and copies nothing: one block that doubles needs three times its size while it does, and
/// leaves behind what it grew out of.
#[derive(Debug)]
pub(super) struct Table<T> {
    chunks: Vec<Slab<T>>,
    /// The chunks that have room.
    open: Vec<usize>,
    by_uid: HashTable<Slot>,
    hasher: Quick,
    /// A bit for each slot that the list under way has named.
    named: Vec<u64>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            open: Vec::new(),
            by_uid: HashTable::new(),
            hasher: Quick::default(),
            named: Vec::new(),
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
        let (chunk, index) = place(slot);
        &self.chunks[chunk][index]
    }

    pub fn at_mut(&mut self, slot: Slot) -> &mut T {
        let (chunk, index) = place(slot);
        &mut self.chunks[chunk][index]
    }

    /// Adds a record whose uid is not there yet.
    pub fn add(&mut self, record: T) -> Slot {
        let hash = self.hasher.hash_one(record.uid());
        let chunk = self.open.last().copied().unwrap_or_else(|| {
            self.chunks.push(Slab::with_capacity(CHUNK));
            self.open.push(self.chunks.len() - 1);
            self.chunks.len() - 1
        });
        let index = self.chunks[chunk].insert(record);
        if self.chunks[chunk].len() == CHUNK {
            self.open.pop();
        }
        // 2^32 - 1 records are a terabyte: memory ends first.
        let slot = Slot::try_from(chunk * CHUNK + index).unwrap_or(NOWHERE);
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        self.by_uid.insert_unique(hash, slot, |slot| {
            let (chunk, index) = place(*slot);
            hasher.hash_one(chunks[chunk][index].uid())
        });
        slot
    }

    pub fn remove(&mut self, slot: Slot) -> T {
        let (chunk, index) = place(slot);
        if self.chunks[chunk].len() == CHUNK {
            self.open.push(chunk);
        }
        let record = self.chunks[chunk].remove(index);
        let hash = self.hasher.hash_one(record.uid());
        if let Ok(found) = self.by_uid.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        // Whoever comes into the slot has not been named.
        if let Some(word) = self.named.get_mut(slot as usize / 64) {
            *word &= !bit(slot);
        }
        record
    }

    /// The first record at or after a slot.
    pub fn from(&self, slot: Slot) -> Option<(Slot, &T)> {
        let end = Slot::try_from(self.chunks.len() * CHUNK).unwrap_or(NOWHERE);
        (slot..end).find_map(|slot| {
            let (chunk, index) = place(slot);
            self.chunks[chunk].get(index).map(|record| (slot, record))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.chunks.iter().enumerate().flat_map(|(chunk, records)| {
            let slot = move |index| Slot::try_from(chunk * CHUNK + index).unwrap_or(NOWHERE);
            records.iter().map(move |(index, record)| (slot(index), record))
        })
    }

    /// A list begins, and has named nothing yet.
    pub fn name_none(&mut self) {
        self.named = vec![0; self.chunks.len() * CHUNK / 64];
    }

    /// The list has named this one.
    pub fn name(&mut self, slot: Slot) {
        let word = slot as usize / 64;
        if self.named.len() <= word {
            self.named.resize(self.chunks.len() * CHUNK / 64, 0);
        }
        self.named[word] |= bit(slot);
    }

    /// Whether the list has named this one.
    pub fn is_named(&self, slot: Slot) -> bool {
        self.named
            .get(slot as usize / 64)
            .is_some_and(|word| word & bit(slot) != 0)
    }
}

fn place(slot: Slot) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

fn bit(slot: Slot) -> u64 {
    1 << (slot % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bare(Uid);

    impl Record for Bare {
        fn uid(&self) -> Uid {
            self.0
        }
    }

    fn uid(n: usize) -> Uid {
        Uid::from_u128(n as u128)
    }

    #[test]
    fn slots_stay_and_are_used_again_across_chunks() {
        let mut table = Table::default();
        let all = 2 * CHUNK + 9;
        let slots: Vec<Slot> = (0..all).map(|n| table.add(Bare(uid(n)))).collect();
        let gone = |n: &usize| n.is_multiple_of(3);
        (0..all).filter(gone).for_each(|n| {
            table.remove(slots[n]);
        });
        for (n, slot) in slots.into_iter().enumerate() {
            let left = (!gone(&n)).then_some(slot);
            assert_eq!(table.slot(&uid(n)), left);
        }
        let left: Vec<Slot> = table.iter().map(|(slot, _)| slot).collect();
        let by_steps = std::iter::successors(table.from(0), |(slot, _)| table.from(slot + 1));
        assert_eq!(left, by_steps.map(|(slot, _)| slot).collect::<Vec<_>>());
        assert_eq!(left.len(), (0..all).filter(|n| !gone(n)).count());
        (0..all).filter(gone).for_each(|n| {
            table.add(Bare(uid(n)));
        });
        assert_eq!((table.chunks.len(), table.iter().count()), (3, all));
    }

    #[test]
    fn a_list_names_records_and_not_their_successors() {
        let mut table = Table::default();
        let slot = table.add(Bare(uid(1)));
        table.name_none();
        assert!(!table.is_named(slot));
        table.name(slot);
        assert!(table.is_named(slot));
        table.remove(slot);
        assert_eq!(table.add(Bare(uid(2))), slot);
        assert!(!table.is_named(slot));
        // More than there was room for when the list began.
        let slots: Vec<Slot> = (3..CHUNK + 9).map(|n| table.add(Bare(uid(n)))).collect();
        slots.iter().for_each(|slot| table.name(*slot));
        assert!(slots.iter().all(|slot| table.is_named(*slot)));
        table.name_none();
        assert!(!slots.iter().any(|slot| table.is_named(*slot)));
    }
}
