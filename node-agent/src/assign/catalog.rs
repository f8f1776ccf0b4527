//! The few objects of one kind, by name.
//!
//! Guarantees: one that cannot be read stays as it was last read; one that a list leaves out goes when the next list
//! leaves it out, too, and one of which a Deleted event speaks goes at once.

use std::collections::HashMap;

use culvert_follow::Uid;

#[derive(Debug)]
struct Entry<K> {
    uid: Uid,
    /// `None` where it has never been read.
    object: Option<K>,
    /// How many lists in a row have left it out.
    missing: u32,
    named: bool,
}

/// Objects of one kind, and whether all of them are known.
#[derive(Debug)]
pub(super) struct Catalog<K> {
    entries: HashMap<String, Entry<K>>,
    complete: bool,
}

impl<K> Default for Catalog<K> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            complete: false,
        }
    }
}

impl<K> Catalog<K> {
    /// A list begins.
    pub(super) fn list_begins(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.named = false);
    }

    /// An object as it is now; `None` where it makes no sense.
    pub(super) fn now_is(&mut self, uid: Uid, name: &str, object: Option<K>) {
        // Of one made anew under this name what was read before says nothing.
        let before = self.entries.remove(name).filter(|entry| entry.uid == uid);
        let entry = Entry {
            uid,
            object: object.or_else(|| before.and_then(|entry| entry.object)),
            missing: 0,
            named: true,
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// The object of this uid is gone.
    pub(super) fn gone(&mut self, uid: Uid) {
        self.entries.retain(|_, entry| entry.uid != uid);
    }

    /// The list that began is whole. Whether another one has to agree with what it left out.
    pub(super) fn list_complete(&mut self) -> bool {
        self.complete = true;
        for entry in self.entries.values_mut() {
            entry.missing = if entry.named { 0 } else { entry.missing + 1 };
        }
        self.entries.retain(|_, entry| entry.missing < 2);
        self.entries.values().any(|entry| entry.missing > 0)
    }

    /// Whether a list has been whole.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The objects that can be read.
    pub(super) fn objects(&self) -> impl Iterator<Item = &K> {
        self.entries.values().filter_map(|entry| entry.object.as_ref())
    }

    /// The object of this name, as far as it can be read.
    pub(super) fn get(&self, name: &str) -> Option<&K> {
        self.entries.get(name)?.object.as_ref()
    }

    /// Whether there is an object of this name that has never been read.
    pub(super) fn is_unreadable(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.object.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(n: u128) -> Uid {
        Uid::from_u128(n)
    }

    fn listed(catalog: &mut Catalog<u8>, objects: &[(u128, &str, u8)]) -> bool {
        catalog.list_begins();
        for (n, name, object) in objects {
            catalog.now_is(uid(*n), name, Some(*object));
        }
        catalog.list_complete()
    }

    fn known(catalog: &Catalog<u8>) -> Vec<u8> {
        let mut known: Vec<u8> = catalog.objects().copied().collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn what_a_list_leaves_out_is_gone_when_the_next_one_agrees() {
        let mut catalog = Catalog::default();
        assert!(!listed(&mut catalog, &[(1, "a", 1), (2, "b", 2)]));
        assert!(listed(&mut catalog, &[(1, "a", 1)]));
        assert_eq!(known(&catalog), [1, 2]);
        assert!(!listed(&mut catalog, &[(1, "a", 1)]));
        assert_eq!(known(&catalog), [1]);
    }

    #[test]
    fn what_comes_back_in_between_is_not_gone() {
        let mut catalog = Catalog::default();
        listed(&mut catalog, &[(1, "a", 1)]);
        assert!(listed(&mut catalog, &[]));
        catalog.now_is(uid(1), "a", Some(3));
        assert!(listed(&mut catalog, &[]));
        assert_eq!(known(&catalog), [3]);
    }

    #[test]
    fn what_is_deleted_is_gone_at_once_and_its_successor_is_not() {
        let mut catalog = Catalog::default();
        listed(&mut catalog, &[(1, "a", 1), (2, "b", 2)]);
        catalog.gone(uid(1));
        assert_eq!(known(&catalog), [2]);
        catalog.now_is(uid(3), "b", Some(4));
        catalog.gone(uid(2));
        assert_eq!(known(&catalog), [4]);
        assert!(!listed(&mut catalog, &[(3, "b", 4)]));
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_was() {
        let mut catalog = Catalog::default();
        listed(&mut catalog, &[(1, "a", 1)]);
        catalog.now_is(uid(1), "a", None);
        assert_eq!(known(&catalog), [1]);
        assert!(!catalog.is_unreadable("a"));
        catalog.now_is(uid(2), "a", None);
        assert_eq!(known(&catalog), [0; 0]);
        assert!(catalog.is_unreadable("a") && !catalog.is_unreadable("b"));
    }

    #[test]
    fn nothing_is_known_before_the_first_whole_list() {
        let mut catalog = Catalog::<u8>::default();
        catalog.list_begins();
        catalog.now_is(uid(1), "a", Some(1));
        assert!(!catalog.is_complete());
        catalog.list_complete();
        assert!(catalog.is_complete());
    }
}
