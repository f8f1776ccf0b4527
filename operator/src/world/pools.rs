//! Pools and their free addresses.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use culvert_crds::Reason;
use culvert_wireguard::PublicKey;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::Rng;

use super::free::{Free, FreeV4, FreeV6};
use super::{Addresses, Kind, Target, Uid, World};

/// An `IPPool` as observed.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Uid of the object.
    pub uid: Uid,
    /// Name of the object.
    pub name: String,
    /// Version of the object.
    pub resource_version: u64,
    /// Generation of its spec.
    pub generation: i64,
    /// Creation, seconds since the epoch.
    pub created: u32,
    /// Somebody has asked for its deletion.
    pub deleting: bool,
    /// Our finalizer is on it.
    pub guarded: bool,
    /// Its ranges; `None` when the spec cannot be read.
    pub ranges: Option<Ranges>,
    /// Namespaces that may use it; all of them when empty.
    pub allowed_namespaces: Vec<String>,
    /// Most keys a namespace may have.
    pub max_keys_per_namespace: Option<u32>,
    /// Age at which addresses are released.
    pub max_age: Option<Duration>,
    /// How long old and new addresses work side by side.
    pub overlap: Duration,
    /// How long released addresses stay out of the draw.
    pub cooldown: Duration,
    /// What was last published.
    pub status: culvert_crds::pool::IPPoolStatus,
    /// When its status last changed.
    pub published: Duration,
    /// The free addresses of each family.
    pub free: Vec<Free>,
    /// Why its ranges cannot be used, if they cannot.
    pub refused: Option<Reason>,
}

/// The ranges of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// IPv4.
    pub v4: Option<Ipv4Net>,
    /// IPv6.
    pub v6: Option<Ipv6Net>,
    /// Never given to a key.
    pub exclude: Vec<IpNet>,
}

impl Ranges {
    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = IpNet> {
        self.v4.map(IpNet::V4).into_iter().chain(self.v6.map(IpNet::V6))
    }

    fn free(&self) -> Vec<Free> {
        let v4 = self.v4.map(|net| Free::V4(FreeV4::new(net, &self.exclude)));
        let v6 = self.v6.map(|net| Free::V6(FreeV6::new(net, &self.exclude)));
        v4.into_iter().chain(v6).collect()
    }
}

impl Pool {
    /// Draws one address of each family, IPv4 first; `None` when a family has none left.
    ///
    /// `elsewhere` holds for addresses that are taken without being marked here; of IPv4's they must be few.
    pub fn draw(&self, rng: &mut impl Rng, elsewhere: impl Fn(IpAddr) -> bool) -> Option<Addresses> {
        let drawn: Option<Vec<_>> = self.free.iter().map(|free| free.draw(rng, &elsewhere)).collect();
        Addresses::new(drawn?).filter(|drawn| !drawn.is_empty())
    }

    /// Whether a key may have exactly these addresses.
    pub fn could_give(&self, addresses: Addresses, elsewhere: impl Fn(IpAddr) -> bool) -> bool {
        !addresses.is_empty()
            && addresses.len() == self.free.len()
            && self
                .free
                .iter()
                .zip(addresses.iter())
                .all(|(free, address)| free.is_free(address) && !elsewhere(address))
    }

    /// Whether the pool would not give these addresses any more: it excludes them by now.
    pub fn excludes(&self, addresses: Addresses) -> bool {
        let ranges = self.ranges.iter().flat_map(|ranges| &ranges.exclude);
        ranges
            .into_iter()
            .any(|range| addresses.iter().any(|address| range.contains(&address)))
    }

    /// How many keys the pool can hold.
    pub fn capacity(&self) -> i64 {
        self.free.iter().map(Free::capacity).min().unwrap_or(0)
    }

    /// How many keys could still get addresses.
    pub fn available(&self) -> i64 {
        self.free.iter().map(Free::free).min().unwrap_or(0)
    }

    pub(super) fn take(&mut self, address: IpAddr) {
        self.free.iter_mut().for_each(|free| free.take(address));
    }

    pub(super) fn put_back(&mut self, address: IpAddr) {
        self.free.iter_mut().for_each(|free| free.put_back(address));
    }
}

impl World {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.get(name)
    }

    pub(super) fn apply_pool(&mut self, mut pool: Pool, now: Duration) {
        let known = self.pools.get(&pool.name).filter(|known| known.uid == pool.uid);
        let known = known.map(|known| known.resource_version);
        if known.is_some_and(|known| self.is_old(Kind::Pool, known, pool.resource_version)) {
            return;
        }
        let known = self.pools.remove(&pool.name);
        let asks = |pool: &Pool| (pool.uid, pool.generation, pool.deleting);
        let turned = known.as_ref().map(asks) != Some(asks(&pool));
        pool.published = known
            .as_ref()
            .filter(|known| known.status == pool.status)
            .map_or(now, |k| k.published);
        pool.refused = known.as_ref().and_then(|known| known.refused);
        if let Some(known) = known
            && known.ranges == pool.ranges
        {
            pool.free = known.free;
        } else {
            pool.free = pool.ranges.as_ref().map(Ranges::free).unwrap_or_default();
            let held = self.claims().flat_map(|claim| claim.addresses.iter());
            held.for_each(|address| pool.take(address));
        }
        let name = pool.name.clone();
        self.pools.insert(name.clone(), pool);
        self.judge_ranges();
        if turned {
            self.touch_keys_of(&name);
            self.touch_claims_of(&name);
        }
        self.touch(Target::Pool(name));
    }

    /// Every pool.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values()
    }

    /// Plans the claims of a pool again: what its keys asked of it before, such as a cooldown, may have changed.
    fn touch_claims_of(&mut self, pool: &str) {
        let claims = self.claims().filter(|claim| claim.pool == pool);
        let claims: Vec<Uid> = claims.map(|claim| claim.uid).collect();
        claims.into_iter().for_each(|uid| self.touch(Target::Claim(uid)));
    }

    pub(super) fn touch_keys_of(&mut self, pool: &str) {
        let keys: Vec<(Uid, Option<PublicKey>)> = self
            .keys()
            .filter(|key| **key.pool == *pool)
            .map(|key| (key.uid, key.public_key))
            .collect();
        let mut carried = HashSet::new();
        for (uid, public_key) in keys {
            self.touch(Target::Key(uid));
            if carried.insert(public_key) {
                self.touch_rivals(public_key);
            }
        }
    }

    pub(super) fn remove_pool(&mut self, uid: &Uid) {
        let Some(name) = self
            .pools
            .values()
            .find(|pool| pool.uid == *uid)
            .map(|pool| pool.name.clone())
        else {
            return;
        };
        self.pools.remove(&name);
        self.judge_ranges();
        self.touch_keys_of(&name);
    }
}
