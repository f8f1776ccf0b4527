//! Claims and the public keys that they carry, each in a slot, and how they are found.
//!
//! An index holds slot numbers alone and looks into the records for the rest, so that a peer costs its two records, 120
//! bytes, and four times some six bytes. Claims of one public key are a chain, oldest first.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use culvert_wireguard::PublicKey;
use hashbrown::HashTable;

use super::parse::{Peer, Uid};
use super::table::Table;
use super::{Place, Slot};

/// "No record", in the place of a slot.
pub(super) const NOWHERE: u32 = u32::MAX;

/// It is in use.
const LIVE: u8 = 1;
/// It has an IPv4 address.
const V4: u8 = 2;
/// It has an IPv6 address.
const V6: u8 = 4;
/// Others have its IPv6 address, too.
const CONTESTED: u8 = 8;

/// The key is waiting to be asked about.
const DIRTY: u32 = 1;
/// The key has no claims.
const RETIRED: u32 = 2;

/// A claim: one `WireGuardPeer` that is not released.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub uid: Uid,
    pub key_uid: Uid,
    v6: [u8; 16],
    pub version: u64,
    /// Seconds since the epoch.
    created: u32,
    v4: u32,
    /// Slot of its public key.
    key: u32,
    /// The next younger claim of the same public key.
    next: u32,
    /// The last list that was under way or over when it was seen.
    pub listed: u32,
    pub pool: u16,
    flags: u8,
}

/// Addresses do not print.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("uid", &self.uid)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A public key.
#[derive(Clone, Copy, Debug)]
struct Key {
    value: PublicKey,
    /// Its oldest claim.
    first: u32,
    flags: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Claims {
    table: Table<Claim>,
    keys: Table<Key>,
    by_uid: HashTable<u32>,
    by_key: HashTable<u32>,
    by_v4: HashTable<u32>,
    by_v6: HashTable<u32>,
    /// Of what no user can choose.
    quick: foldhash::fast::RandomState,
    /// Of public keys.
    careful: RandomState,
    dirty: Vec<Slot>,
    retired: Vec<Slot>,
}

impl Claim {
    /// The claim by itself; `None` when it has addresses that no claim has.
    fn of(uid: Uid, peer: &Peer, pool: u16, listed: u32) -> Option<Self> {
        let (v4, v6) = match *peer.addresses.as_slice() {
            [IpAddr::V4(v4)] => (Some(v4), None),
            [IpAddr::V6(v6)] => (None, Some(v6)),
            [IpAddr::V4(v4), IpAddr::V6(v6)] => (Some(v4), Some(v6)),
            _ => return None,
        };
        let flag = |is_there, flag| if is_there { flag } else { 0 };
        Some(Self {
            uid,
            key_uid: peer.key_uid,
            v6: v6.map_or([0; 16], |v6| v6.octets()),
            version: peer.version,
            created: u32::try_from(peer.created.max(0)).unwrap_or(u32::MAX),
            v4: v4.map_or(0, u32::from),
            key: NOWHERE,
            next: NOWHERE,
            listed,
            pool,
            flags: LIVE | flag(v4.is_some(), V4) | flag(v6.is_some(), V6),
        })
    }

    pub fn is_live(&self) -> bool {
        self.flags & LIVE != 0
    }

    pub fn place(&self) -> Place {
        (self.created, self.uid)
    }

    fn v4(&self) -> Option<u32> {
        (self.flags & V4 != 0).then_some(self.v4)
    }

    fn v6(&self) -> Option<[u8; 16]> {
        (self.flags & V6 != 0).then_some(self.v6)
    }

    /// Its addresses, the one that it is named by first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let v4 = self.v4().map(|v4| IpAddr::from(Ipv4Addr::from_bits(v4)));
        let v6 = self.v6().map(|v6| IpAddr::from(Ipv6Addr::from(v6)));
        v4.into_iter().chain(v6)
    }

    /// Whether both have one name, so that one of the two objects is gone.
    fn is_namesake(&self, other: &Self) -> bool {
        match (self.v4(), other.v4()) {
            (None, None) => self.v6() == other.v6(),
            (mine, theirs) => mine.is_some() && mine == theirs,
        }
    }
}

impl Claims {
    /// Whether there are so many claims.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Every claim.
    pub fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.table.iter().filter(|claim| claim.is_live())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Claim> {
        self.table.iter_mut().filter(|claim| claim.is_live())
    }

    /// The number of a claim.
    pub fn find(&self, uid: &Uid) -> Option<u32> {
        let is_it = |at: &u32| self.table.at(*at).uid == *uid;
        self.by_uid.find(self.quick.hash_one(uid), is_it).copied()
    }

    pub fn at(&self, claim: u32) -> &Claim {
        self.table.at(claim)
    }

    pub fn at_mut(&mut self, claim: u32) -> &mut Claim {
        self.table.at_mut(claim)
    }

    /// The slot of a public key that has been claimed, and whose slot nobody else has had since.
    pub fn slot(&self, public_key: &PublicKey) -> Option<Slot> {
        let is_it = |at: &u32| self.keys.at(*at).value == *public_key;
        let found = self.by_key.find(self.careful.hash_one(public_key), is_it);
        found.copied().map(Slot)
    }

    /// Public keys, those without claims included.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The first slot that was never used.
    pub fn end(&self) -> Slot {
        Slot(self.keys.end())
    }

    pub fn public_key(&self, slot: Slot) -> PublicKey {
        self.keys.at(slot.0).value
    }

    /// The claims of a public key, oldest first.
    pub fn of(&self, slot: Slot) -> impl Iterator<Item = &Claim> {
        let there = |at: u32| (at != NOWHERE).then_some(at);
        std::iter::successors(there(self.keys.at(slot.0).first), move |at| {
            there(self.table.at(*at).next)
        })
        .map(|at| self.table.at(at))
    }

    /// Whether an older claim of another public key has an address of this one's.
    pub fn loses(&self, claim: &Claim) -> bool {
        let older = |other: &Claim| other.key != claim.key && other.place() < claim.place();
        claim.flags & CONTESTED != 0
            && claim
                .v6()
                .is_some_and(|v6| self.holders(v6).any(|at| older(self.table.at(at))))
    }

    fn holders(&self, v6: [u8; 16]) -> impl Iterator<Item = u32> {
        let found = self.by_v6.iter_hash(self.quick.hash_one(v6)).copied();
        found.filter(move |at| self.table.at(*at).v6() == Some(v6))
    }

    /// Puts a claim in whose uid is not there; whether it is one. Whoever has its name is taken out: names are unique, so
    /// that object is gone.
    pub fn put(&mut self, uid: Uid, peer: &Peer, pool: u16, listed: u32) -> bool {
        let Some(mut claim) = Claim::of(uid, peer, pool, listed) else {
            return false;
        };
        if let Some(namesake) = self.namesake(&claim) {
            if self.table.at(namesake).version > claim.version {
                // Old news of an object that is gone.
                return true;
            }
            self.take(namesake);
        }
        let slot = self.key_of(&peer.public_key);
        claim.key = slot.0;
        let at = self.table.add(claim);
        self.link(at);
        self.index(at);
        self.touch(slot);
        self.settle_contest(at);
        true
    }

    /// Takes a claim out.
    pub fn take(&mut self, at: u32) {
        let claim = *self.table.at(at);
        let slot = Slot(claim.key);
        self.unlink(at);
        remove(&mut self.by_uid, self.quick.hash_one(claim.uid), at);
        if let Some(v4) = claim.v4() {
            remove(&mut self.by_v4, self.quick.hash_one(v4), at);
        }
        if let Some(v6) = claim.v6() {
            remove(&mut self.by_v6, self.quick.hash_one(v6), at);
        }
        self.touch(slot);
        self.settle_contest(at);
        self.table.at_mut(at).flags = 0;
        self.table.free(at);
        let key = self.keys.at_mut(slot.0);
        if key.first == NOWHERE && key.flags & RETIRED == 0 {
            key.flags |= RETIRED;
            self.retired.push(slot);
        }
    }

    fn namesake(&self, claim: &Claim) -> Option<u32> {
        let namesake = |at: &u32| self.table.at(*at).is_namesake(claim);
        match (claim.v4(), claim.v6()) {
            (Some(v4), _) => self.by_v4.find(self.quick.hash_one(v4), namesake),
            (None, v6) => self.by_v6.find(self.quick.hash_one(v6?), namesake),
        }
        .copied()
    }

    fn key_of(&mut self, public_key: &PublicKey) -> Slot {
        if let Some(slot) = self.slot(public_key) {
            return slot;
        }
        let at = self.keys.add(Key {
            value: *public_key,
            first: NOWHERE,
            flags: 0,
        });
        let (keys, careful) = (&self.keys, &self.careful);
        self.by_key.insert_unique(careful.hash_one(public_key), at, |at| {
            careful.hash_one(keys.at(*at).value)
        });
        Slot(at)
    }

    fn link(&mut self, at: u32) {
        let (slot, place) = (self.table.at(at).key, self.table.at(at).place());
        // There are hardly ever more than two.
        let (mut before, mut after) = (NOWHERE, self.keys.at(slot).first);
        while after != NOWHERE && self.table.at(after).place() < place {
            (before, after) = (after, self.table.at(after).next);
        }
        self.table.at_mut(at).next = after;
        match before {
            NOWHERE => self.keys.at_mut(slot).first = at,
            before => self.table.at_mut(before).next = at,
        }
    }

    fn unlink(&mut self, at: u32) {
        let (slot, next) = (self.table.at(at).key, self.table.at(at).next);
        if self.keys.at(slot).first == at {
            self.keys.at_mut(slot).first = next;
            return;
        }
        let mut before = self.keys.at(slot).first;
        while self.table.at(before).next != at {
            before = self.table.at(before).next;
        }
        self.table.at_mut(before).next = next;
    }

    fn index(&mut self, at: u32) {
        let (claims, quick) = (&self.table, &self.quick);
        let claim = claims.at(at);
        self.by_uid.insert_unique(quick.hash_one(claim.uid), at, |at| {
            quick.hash_one(claims.at(*at).uid)
        });
        if let Some(v4) = claim.v4() {
            self.by_v4
                .insert_unique(quick.hash_one(v4), at, |at| quick.hash_one(claims.at(*at).v4));
        }
        if let Some(v6) = claim.v6() {
            self.by_v6
                .insert_unique(quick.hash_one(v6), at, |at| quick.hash_one(claims.at(*at).v6));
        }
    }

    /// Marks the claims that share this one's IPv6 address, which has just come or gone.
    fn settle_contest(&mut self, at: u32) {
        let Some(v6) = self.table.at(at).v6() else {
            return;
        };
        let mut holders = self.holders(v6);
        if self.table.at(at).flags & CONTESTED == 0 && (holders.next(), holders.next()) == (Some(at), None) {
            return;
        }
        drop(holders);
        let holders: Vec<u32> = self.holders(v6).collect();
        for holder in &holders {
            let claim = self.table.at_mut(*holder);
            if holders.len() > 1 {
                claim.flags |= CONTESTED;
            } else {
                claim.flags &= !CONTESTED;
            }
            let slot = Slot(claim.key);
            self.touch(slot);
        }
    }

    fn touch(&mut self, slot: Slot) {
        let key = self.keys.at_mut(slot.0);
        if key.flags & DIRTY == 0 {
            key.flags |= DIRTY;
            self.dirty.push(slot);
        }
    }

    /// The public keys that have changed since this was asked last, each once.
    pub fn take_dirty(&mut self) -> Vec<Slot> {
        let dirty = std::mem::take(&mut self.dirty);
        for slot in &dirty {
            self.keys.at_mut(slot.0).flags &= !DIRTY;
        }
        dirty
    }

    /// Frees the slots of public keys that have no claims, for others to have.
    pub fn recycle(&mut self) -> Vec<Slot> {
        let mut freed = std::mem::take(&mut self.retired);
        freed.retain(|slot| {
            let key = *self.keys.at(slot.0);
            if key.first != NOWHERE {
                // It came back.
                self.keys.at_mut(slot.0).flags &= !RETIRED;
                return false;
            }
            if key.flags & DIRTY != 0 {
                self.retired.push(*slot);
                return false;
            }
            remove(&mut self.by_key, self.careful.hash_one(key.value), slot.0);
            self.keys.free(slot.0);
            true
        });
        freed
    }
}

fn remove(index: &mut HashTable<u32>, hash: u64, at: u32) {
    if let Ok(found) = index.find_entry(hash, |other| *other == at) {
        found.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_takes_no_more_than_160_bytes() {
        // An index is half full at worst: 4 bytes of a slot and 1 of hashbrown's own for each place.
        let indexes = 4 * 2 * 5;
        assert_eq!((size_of::<Claim>(), size_of::<Key>()), (80, 40));
        assert!(size_of::<Claim>() + size_of::<Key>() + indexes <= 160);
    }
}
