//! Claims: who holds which address, and whether the gateways have it.

use std::net::IpAddr;
use std::time::Duration;

use culvert_crds::peer::KeyRef;
use culvert_wireguard::PublicKey;

use super::{Target, Uid, World};

/// A `WireGuardPeer` as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Uid of the object.
    pub uid: Uid,
    /// Name of the object.
    pub name: String,
    /// Version of the object.
    pub resource_version: u64,
    /// Creation, seconds since the epoch.
    pub created: i64,
    /// The public key.
    pub public_key: PublicKey,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// Name of the pool.
    pub pool: String,
    /// The key it belongs to.
    pub key: KeyRef,
    /// The key's address generation when the addresses were drawn.
    pub address_generation: i64,
    /// The addresses are no longer the key's.
    pub released: bool,
    /// When this operator first saw the claim, or first saw it released.
    pub since: Duration,
    /// When this operator first saw it programmed everywhere.
    pub programmed: Option<Duration>,
}

/// Whether the gateways of a pool have a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programming {
    /// No gateway serves the pool.
    NoGateway,
    /// At least one has not got so far.
    Pending,
    /// At least one cannot program it.
    Refused,
    /// Every serving gateway has it.
    Done,
}

impl World {
    /// The claim of this uid.
    pub fn claim(&self, uid: &str) -> Option<&Claim> {
        self.claims.get(uid)
    }

    /// Every claim.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    /// The claims of a key, oldest first, released ones included.
    pub fn claims_of(&self, key: &str) -> impl Iterator<Item = &Claim> {
        let set = self.claims_by_key.get(key);
        set.into_iter()
            .flatten()
            .filter_map(|(_, uid)| self.claims.get(uid))
    }

    /// The key that holds this public key: the one whose unreleased claim is the oldest.
    pub fn incumbent(&self, public_key: &PublicKey) -> Option<&str> {
        self.incumbents
            .get(public_key)?
            .first()
            .map(|(_, _, key)| key.as_str())
    }

    /// How many unreleased claims a namespace holds in a pool.
    pub fn held(&self, pool: &str, namespace: &str) -> u32 {
        self.held_by_namespace
            .get(&(pool.to_owned(), namespace.to_owned()))
            .copied()
            .unwrap_or(0)
    }

    /// How many claims a pool has, released ones included.
    pub fn allocated(&self, pool: &str) -> i64 {
        self.held_by_pool.get(pool).copied().unwrap_or(0)
    }

    pub(super) fn apply_claim(&mut self, mut claim: Claim, now: Duration) {
        claim.since = now;
        if let Some(known) = self.claims.get(&claim.uid) {
            if known.resource_version >= claim.resource_version {
                return;
            }
            if known.released == claim.released {
                claim.since = known.since;
            }
            claim.programmed = known.programmed;
            let known = known.clone();
            self.unindex_claim(&known);
        }
        for pool in self.pools.values_mut() {
            claim.addresses.iter().for_each(|address| pool.take(*address));
        }
        self.index_claim(&claim);
        self.queue.touch(Target::Key(claim.key.uid.clone()));
        self.touch_claims_of(&claim.key.uid);
        self.queue.touch(Target::Pool(claim.pool.clone()));
        if claim.released {
            self.touch_carriers(Some(claim.public_key));
            self.touch_waiting(&claim.pool.clone());
        }
        self.claims.insert(claim.uid.clone(), claim);
    }

    pub(super) fn remove_claim(&mut self, uid: &str) {
        let Some(claim) = self.claims.remove(uid) else {
            return;
        };
        self.unindex_claim(&claim);
        for pool in self.pools.values_mut() {
            claim.addresses.iter().for_each(|address| pool.put_back(*address));
        }
        self.queue.touch(Target::Key(claim.key.uid.clone()));
        self.touch_claims_of(&claim.key.uid);
        self.queue.touch(Target::Pool(claim.pool.clone()));
        self.touch_carriers(Some(claim.public_key));
        self.touch_waiting(&claim.pool);
    }

    fn index_claim(&mut self, claim: &Claim) {
        let entry = (claim.created, claim.uid.clone());
        self.claims_by_key
            .entry(claim.key.uid.clone())
            .or_default()
            .insert(entry);
        *self.held_by_pool.entry(claim.pool.clone()).or_default() += 1;
        if !claim.released {
            let entry = (claim.created, claim.uid.clone(), claim.key.uid.clone());
            self.incumbents.entry(claim.public_key).or_default().insert(entry);
            *self
                .held_by_namespace
                .entry((claim.pool.clone(), claim.key.namespace.clone()))
                .or_default() += 1;
        }
        let place = (claim.pool.clone(), claim.resource_version);
        self.awaiting.entry(place).or_default().insert(claim.uid.clone());
    }

    fn unindex_claim(&mut self, claim: &Claim) {
        if let Some(set) = self.claims_by_key.get_mut(&claim.key.uid) {
            set.remove(&(claim.created, claim.uid.clone()));
            if set.is_empty() {
                self.claims_by_key.remove(&claim.key.uid);
            }
        }
        decrement(&mut self.held_by_pool, &claim.pool);
        if !claim.released {
            if let Some(set) = self.incumbents.get_mut(&claim.public_key) {
                set.remove(&(claim.created, claim.uid.clone(), claim.key.uid.clone()));
                if set.is_empty() {
                    self.incumbents.remove(&claim.public_key);
                }
            }
            decrement(
                &mut self.held_by_namespace,
                &(claim.pool.clone(), claim.key.namespace.clone()),
            );
        }
        let place = (claim.pool.clone(), claim.resource_version);
        if let Some(set) = self.awaiting.get_mut(&place) {
            set.remove(&claim.uid);
            if set.is_empty() {
                self.awaiting.remove(&place);
            }
        }
    }

    /// Whether the gateways that serve the claim's pool have it in their kernels.
    pub fn programming(&self, claim: &Claim, now: Duration) -> Programming {
        let mut any = false;
        let mut done = true;
        for node in self.serving(&claim.pool, now) {
            any = true;
            let Some(report) = &node.report else { continue };
            if report.refused.contains(&claim.uid) {
                return Programming::Refused;
            }
            // What is refused beyond the names in the list may be any newer peer.
            let overflow = report.refused_count > report.refused.len() && claim.programmed.is_none();
            done &= report
                .applied
                .is_some_and(|applied| applied >= claim.resource_version)
                && !overflow;
        }
        match (any, done) {
            (false, _) => Programming::NoGateway,
            (true, false) => Programming::Pending,
            (true, true) => Programming::Done,
        }
    }

    /// Plans the owners of claims again that wait for a watermark of this pool.
    pub(super) fn touch_awaiting(&mut self, pool: &str, upto: Option<u64>) {
        let Some(upto) = upto else { return };
        let range = (pool.to_owned(), 0)..=(pool.to_owned(), upto);
        let due: Vec<Uid> = self
            .awaiting
            .range(range)
            .flat_map(|(_, uids)| uids.iter().cloned())
            .collect();
        for uid in due {
            if let Some(claim) = self.claims.get(&uid) {
                self.queue.touch(Target::Key(claim.key.uid.clone()));
                self.queue.touch(Target::Claim(uid));
            }
        }
    }

    /// Notes that every serving gateway has the claim: it waits for no watermark any more.
    pub fn mark_programmed(&mut self, uid: &str, now: Duration) {
        let Some(claim) = self.claims.get_mut(uid) else {
            return;
        };
        claim.programmed.get_or_insert(now);
        let key = claim.key.uid.clone();
        let place = (claim.pool.clone(), claim.resource_version);
        if let Some(set) = self.awaiting.get_mut(&place) {
            set.remove(uid);
            if set.is_empty() {
                self.awaiting.remove(&place);
            }
        }
        // The overlap with what it replaces begins now.
        self.touch_claims_of(&key);
    }
}

fn decrement<K: std::hash::Hash + Eq, N: std::ops::SubAssign<N> + From<u8> + PartialOrd>(
    counts: &mut std::collections::HashMap<K, N>,
    key: &K,
) {
    if let Some(count) = counts.get_mut(key) {
        *count -= N::from(1);
        if *count < N::from(1) {
            counts.remove(key);
        }
    }
}
