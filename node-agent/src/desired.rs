//! Which peers there should be: the watch folded into a compact table.
//!
//! Guarantees: the newest version of a peer wins; a peer leaves by a Deleted event, by its release, by the coming of
//! another object with its name, or by its absence from a whole list that is believed ([`lists`]). Of several keys that
//! carry one public key the first claim by (creation, uid) wins, as it does for the operator; peers of one key with one
//! public key are one kernel peer with all their addresses ([`view`]). What is doubtful is refused by uid.
//!
//! Nothing is rebuilt: an event costs the same however many peers there are, and marks the public keys that are to be
//! asked about again ([`News`]).

mod claims;
pub mod lists;
pub mod parse;
mod pools;
mod shared;
mod slots;
mod table;
mod tombs;
mod view;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use culvert_wireguard::PublicKey;

use claims::{Claim, Claims};
use lists::Lists;
pub use lists::Verdict;
use parse::{Peer, Uid};
use pools::Pools;
pub use shared::Shared;
pub use slots::Slots;
use tombs::Tombs;
pub use view::{Standing, View};

/// The number of a public key; it stays while the key has claims, and until [`Desired::recycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Where a claim stands among all: by its creation in seconds since the epoch, then by its uid.
pub type Place = (u32, Uid);

/// The peers as the API has them, and how far it has been followed.
#[derive(Debug, Default)]
pub struct Desired {
    claims: Claims,
    pools: Pools,
    /// Peers that exist and cannot be understood, with the last list that named each.
    unreadable: HashMap<Uid, u32>,
    /// Released peers, with the last list that named each: an older list may still show them as they were.
    released: HashMap<Uid, u32>,
    tombs: Tombs,
    lists: Lists,
    seen: u64,
    complete: bool,
    history: u64,
    now: Duration,
    /// Addresses of claims that have ended since this was last asked.
    left: Vec<IpAddr>,
}

/// What has changed since it was asked last.
#[derive(Debug, Default)]
pub struct News {
    /// Public keys to be asked about again, each once.
    pub slots: Vec<Slot>,
    /// Those of them that nobody claims any more.
    pub off: Vec<Slot>,
    /// Everything up to this version has been taken in.
    pub version: u64,
    /// Addresses that somebody had.
    pub left: Vec<IpAddr>,
    /// A list has been taken in whole, so that absence means something.
    pub complete: bool,
    /// Grows when the API's history goes back: versions from before mean nothing.
    pub history: u64,
}

impl Desired {
    /// Takes in a peer as it is now; `None` when it exists and cannot be understood. How far that gets the watermark is
    /// another question: see [`Desired::note`].
    pub fn apply(&mut self, uid: Uid, peer: Option<Peer>) {
        let listed = self.lists.number;
        let known = self.claims.find(&uid);
        if let Some(known) = known {
            self.claims.at_mut(known).listed = listed;
        }
        let number = |peer: Peer| Some((self.pools.number(&peer.pool)?, peer));
        let Some((pool, peer)) = peer.and_then(number) else {
            // What was known of it stays.
            self.refuse(uid);
            return;
        };
        self.unreadable.remove(&uid);
        if let Some(mark) = self.released.get_mut(&uid) {
            *mark = listed;
            return;
        }
        if known.is_some_and(|known| self.claims.at(known).version >= peer.version) {
            return;
        }
        if peer.released {
            self.pools.changed(pool, peer.version);
            self.lose(&uid, peer.version);
            self.tombs.remove(&uid);
            self.released.insert(uid, listed);
            return;
        }
        if self.tombs.withhold(uid, &peer, listed) {
            return;
        }
        self.take(&uid, peer.version);
        if self.claims.put(uid, &peer, pool, listed) {
            self.pools.changed(pool, peer.version);
        } else {
            self.refuse(uid);
        }
    }

    /// Takes in the end of a peer.
    pub fn delete(&mut self, version: u64, uid: Uid) {
        self.note(version);
        self.unreadable.remove(&uid);
        self.released.remove(&uid);
        self.lose(&uid, version);
        self.tombs.show_no_more(&uid);
        self.tombs.add(uid, self.now);
    }

    /// Takes in how far the watch has got: everything up to `version` has been told. A page of a list tells no such
    /// thing, as older peers may stand on the next one.
    pub fn note(&mut self, version: u64) {
        self.seen = self.seen.max(version);
    }

    /// Takes in what time it is, on any clock that does not jump. Without it nothing is ever an hour old.
    pub fn pass_time(&mut self, now: Duration) {
        self.now = now;
        for (uid, peer) in self.tombs.expire(now) {
            self.apply(uid, Some(peer));
        }
    }

    fn refuse(&mut self, uid: Uid) {
        self.unreadable.insert(uid, self.lists.number);
        if let Some(mark) = self.released.get_mut(&uid) {
            *mark = self.lists.number;
        }
    }

    fn take(&mut self, uid: &Uid, version: u64) {
        if let Some(known) = self.claims.find(uid) {
            self.pools.changed(self.claims.at(known).pool, version);
            self.claims.take(known);
        }
    }

    /// The same of one whose addresses nobody has any more.
    fn lose(&mut self, uid: &Uid, version: u64) {
        if let Some(known) = self.claims.find(uid) {
            self.left.extend(self.claims.at(known).addresses());
        }
        self.take(uid, version);
    }

    /// Whether a list has been taken in whole, so that absence means something.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The version up to which everything has been taken in.
    pub fn version(&self) -> u64 {
        self.seen
    }

    /// The last version that concerned one of these pools.
    pub fn last_change<'a>(&self, pools: impl Iterator<Item = &'a str>) -> u64 {
        pools.map(|pool| self.pools.last_change(pool)).max().unwrap_or(0)
    }

    /// What has changed since this was asked last.
    pub fn news(&mut self) -> News {
        let slots = self.claims.take_dirty();
        let is_off = |slot: &Slot| self.is_off(*slot);
        News {
            off: slots.iter().copied().filter(is_off).collect(),
            slots,
            left: std::mem::take(&mut self.left),
            version: self.seen,
            complete: self.complete,
            history: self.history,
        }
    }

    /// How far the API has been followed, for whoever comes late: no public key has changed since.
    pub fn known(&self) -> News {
        News {
            version: self.seen,
            complete: self.complete,
            history: self.history,
            ..News::default()
        }
    }

    /// The slot of a public key that was claimed once.
    pub fn slot(&self, public_key: &PublicKey) -> Option<Slot> {
        self.claims.slot(public_key)
    }

    /// The public key in a slot.
    pub fn public_key(&self, slot: Slot) -> PublicKey {
        self.claims.public_key(slot)
    }

    /// Whether a public key was claimed and is no more: released or deleted, which is told and not inferred.
    pub fn is_off(&self, slot: Slot) -> bool {
        self.claims.of(slot).next().is_none()
    }

    /// The first slot that was never used.
    pub fn end(&self) -> Slot {
        self.claims.end()
    }

    /// How many public keys there are.
    pub fn len(&self) -> usize {
        self.claims.keys()
    }

    /// Whether there is no public key.
    pub fn is_empty(&self) -> bool {
        self.claims.keys() == 0
    }

    /// Peers that exist and are refused whatever the gateway: what cannot be understood, and what the API shows though
    /// it was released or deleted.
    pub fn doubtful(&self) -> impl Iterator<Item = &Uid> {
        self.unreadable.keys().chain(self.tombs.withheld())
    }

    /// Lets others have the slots of public keys without claims, and says which: nobody may hold one, in a look that is
    /// open or in work that is to be done. Those that nobody has been told about stay.
    pub fn recycle(&mut self) -> Vec<Slot> {
        self.claims.recycle()
    }
}

#[cfg(test)]
mod tests;
