//! What a list is worth: which peers are gone because a whole list does not name them.
//!
//! Guarantees: a list that is older than what was seen removes nothing; one that would remove much removes nothing
//! before a second one agrees; after the API's history has gone back no list removes anything alone, and whoever was
//! known to be released or deleted stays off for an hour, unless the API comes to agree.

use super::parse::Uid;
use super::{Claim, Desired};

/// A list that takes away more than this many peers …
const MANY: usize = 10;
/// … and more than this share of them, one in five, needs a second opinion.
const SHARE: usize = 5;

/// What a finished list was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken in.
    Believed,
    /// It would remove so much that a second list must agree: nothing was removed.
    ListAgain,
    /// It is older than what was seen before: nothing was removed.
    TooOld,
}

/// Lists so far.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The number of the list that is under way, or was last.
    pub number: u32,
    /// The version that it began with.
    begun: u64,
    /// The number of a list that was not believed alone.
    doubted: Option<u32>,
    /// History went back, and no list has been believed since.
    rewound: bool,
    /// Peers that an earlier agent has left in the kernel, until a list is believed.
    standing: usize,
}

/// Whether so many of all are too many to go on one list's word.
const fn is_much(gone: usize, all: usize) -> bool {
    gone > MANY && gone * SHARE > all
}

impl Desired {
    /// Takes in that so many peers stand in the kernel of which nothing is known yet: a first list that names far fewer is
    /// doubted as one would be that takes them away.
    pub fn expect(&mut self, standing: usize) {
        self.lists.standing = standing;
    }

    /// Takes in that a list begins, as of `version`. Whatever is applied from now on counts as named by it.
    pub fn list_begins(&mut self, version: u64) {
        self.lists.number += 1;
        self.lists.begun = version;
    }

    /// Takes in that the list is whole, as of `version`. Had its pages been of several versions, the first counts.
    pub fn finish_list(&mut self, version: u64) -> Verdict {
        let version = match self.lists.begun {
            0 => version,
            begun => version.min(begun),
        };
        if version < self.seen && self.complete {
            self.lists.doubted = None;
            return Verdict::TooOld;
        }
        let list = self.lists.number;
        let is_gone = |claim: &Claim| claim.listed != list && claim.version <= version;
        // Nothing is copied while everybody waits: a look through what is there.
        let mut gone = 0;
        let mut agreed = true;
        for claim in self.claims.iter().filter(|claim| is_gone(claim)) {
            gone += 1;
            agreed &= self.lists.doubted.is_some_and(|first| claim.listed < first);
        }
        let unnamed = self.lists.standing.saturating_sub(self.claims.keys());
        agreed &= unnamed == 0 || self.lists.doubted.is_some();
        let is_doubtful = is_much(gone, self.claims.len())
            || is_much(unnamed, self.lists.standing)
            || self.lists.rewound && gone > 0;
        if is_doubtful && !agreed {
            self.lists.doubted = Some(list);
            return Verdict::ListAgain;
        }
        self.lists.doubted = None;
        self.lists.rewound = false;
        self.lists.standing = 0;
        // What two lists had to agree about may be a history that is put right again; the rest was deleted unseen.
        let is_deleted = !is_doubtful;
        if gone > 0 {
            let gone: Vec<Uid> = self
                .claims
                .iter()
                .filter(|claim| is_gone(claim))
                .map(|claim| claim.uid)
                .collect();
            for uid in gone {
                self.lose(&uid, version);
                if is_deleted {
                    self.tombs.add(uid, self.now);
                }
            }
        }
        self.unreadable.retain(|_, listed| *listed == list);
        self.tombs.finish_list(list);
        let now = self.now;
        let tombs = &mut self.tombs;
        self.released.retain(|uid, listed| {
            let is_there = *listed == list;
            if !is_there {
                tombs.add(*uid, now);
            }
            is_there
        });
        self.note(version);
        self.complete = true;
        Verdict::Believed
    }

    /// Takes in that the API's history went back, as after a restored backup: versions mean nothing any more, and what
    /// is listed may be older than what is known. Every peer stays.
    pub fn rewound(&mut self) {
        self.history += 1;
        self.complete = false;
        self.seen = 0;
        self.lists.rewound = true;
        self.lists.doubted = None;
        self.pools.forget_changes();
        for claim in self.claims.iter_mut() {
            claim.version = 0;
        }
        for (uid, _) in self.released.drain() {
            self.tombs.add(uid, self.now);
        }
    }
}
