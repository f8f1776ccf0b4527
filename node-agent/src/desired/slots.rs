//! Sets of slots: a bit each.

use super::Slot;

/// A set of slots.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    words: Vec<u64>,
    len: usize,
}

impl Slots {
    /// Puts a slot in; whether it was not there.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    /// Takes a slot out; whether it was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        let Some(word) = self.words.get_mut(word) else {
            return false;
        };
        let was_there = *word & bit != 0;
        *word &= !bit;
        self.len -= usize::from(was_there);
        was_there
    }

    /// Whether a slot is in it.
    pub fn contains(&self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all out, and keeps the room.
    pub fn clear(&mut self) {
        self.words.fill(0);
        self.len = 0;
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        (0_u32..).zip(&self.words).flat_map(|(at, word)| {
            let rest = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
            std::iter::successors(Some(*word).filter(|word| *word != 0), rest)
                .map(move |word| Slot(at * 64 + word.trailing_zeros()))
        })
    }
}

fn place(slot: Slot) -> (usize, u64) {
    (slot.0 as usize / 64, 1 << (slot.0 % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0_u32..300), 0..200)) {
            let mut slots = Slots::default();
            let mut set = BTreeSet::new();
            for (is_in, slot) in steps {
                let slot = Slot(slot);
                if is_in {
                    prop_assert_eq!(slots.insert(slot), set.insert(slot));
                } else {
                    prop_assert_eq!(slots.remove(slot), set.remove(&slot));
                }
                prop_assert_eq!(slots.contains(slot), is_in);
            }
            prop_assert_eq!(slots.len(), set.len());
            prop_assert_eq!(slots.iter().collect::<Vec<_>>(), set.into_iter().collect::<Vec<_>>());
        }
    }
}
