//! The operator's picture of the API: keys, claims, pools, gateways and nodes as last observed.
//!
//! Guarantees: the newest version of an object wins, whether it came from a watch or from the reply
//! to a write; nothing is planned before every kind has been listed once ([`World::is_complete`]);
//! an object disappears only by a Deleted event or by its absence from a complete list; an object
//! that no longer decodes keeps its place. It remembers which keys and claims a change touches, so
//! that planning costs what changed and not what exists.
//!
//! Nothing here talks to anybody or reads a clock.

mod addresses;
mod carriers;
mod claims;
mod cluster;
mod figures;
mod fleet;
pub mod free;
mod keys;
mod orphans;
mod pools;
mod programming;
mod queue;
mod ranges;
pub mod status;
mod sweep;
mod symbols;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::RandomState;
use std::time::Duration;

use culvert_wireguard::PublicKey;

pub use addresses::Addresses;
use carriers::Carriers;
use claims::ClaimRecord;
pub use claims::{Claim, ClaimView, Share};
use cluster::ClusterRanges;
pub use figures::Figures;
pub use fleet::{Gateway, GatewayNode, Node, Report, SERVING_LEASE};
use hashbrown::HashTable;
use ipnet::IpNet;
use keys::KeyRecord;
pub use keys::{Key, KeyView, Place, Waiting};
pub use orphans::{LISTED, Proof};
pub use pools::{Pool, Ranges};
pub use programming::Programming;
pub use queue::Target;
use queue::{Lane, Queue};
use sweep::Sweep;
use symbols::{Symbol, Symbols};
use table::{Record, Slot, Table};

/// How everything is hashed whose names users do not choose: uids are the apiserver's, pools and gateways the
/// administrators'. Public keys and names of namespaces could be chosen to collide, and are hashed with `SipHash`.
type Quick = foldhash::fast::RandomState;

/// Uid of an object: Kubernetes makes them as UUIDs.
pub type Uid = uuid::Uuid;

/// A kind that the operator watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `WireGuardKey`.
    Key,
    /// `WireGuardPeer`.
    Claim,
    /// `IPPool`.
    Pool,
    /// `WireGuardGateway`.
    Gateway,
    /// `GatewayNode`.
    GatewayNode,
    /// `Node`.
    Node,
    /// `ServiceCIDR`.
    ServiceRange,
    /// The `EndpointSlice` with the apiservers' addresses.
    Apiserver,
}

impl Kind {
    /// Every kind that must be listed before the first plan.
    pub const ALL: [Self; 8] = [
        Self::Key,
        Self::Claim,
        Self::Pool,
        Self::Gateway,
        Self::GatewayNode,
        Self::Node,
        Self::ServiceRange,
        Self::Apiserver,
    ];
}

/// How long an object that went is remembered: longer than any request takes.
const GONE_FOR: Duration = Duration::from_secs(60);

/// As many of them are kept in any case.
const GONE_LEAST: usize = 1024;

/// Of so many turns the sweep has one, while there is something else to plan.
const SWEEP_TURN: u32 = 8;

/// What changed in the API.
#[derive(Clone, Debug)]
pub enum Change {
    /// A key as it is now.
    Key(Box<Key>),
    /// A claim as it is now.
    Claim(Box<Claim>),
    /// A pool as it is now.
    Pool(Box<Pool>),
    /// A gateway as it is now.
    Gateway(Box<Gateway>),
    /// A gateway node as it is now.
    GatewayNode(Box<GatewayNode>),
    /// A node as it is now.
    Node(Box<Node>),
    /// The cluster's own ranges in an object of this kind, services' or apiservers', as they are now.
    Ranges(Kind, Uid, Vec<IpNet>),
    /// A live list of a namespace's keys, asked for at this time.
    LiveKeys(Box<Proof>),
    /// The API's history has gone back: nothing that is known counts any more. The world cannot take this in; whoever has
    /// it starts another.
    Rewound,
    /// An object that exists and cannot be read.
    Unreadable(Kind, Uid),
    /// An object of this uid is gone.
    Gone(Kind, Uid),
    /// A list of this version begins.
    ListBegins(Kind, u64),
    /// The list that began is whole: what it did not name is gone.
    ListComplete(Kind),
}

/// Pool, and namespace where its share is what is waited for.
type WaitingFor = (Symbol, Option<Symbol>);

/// Oldest first.
type Turn = (u32, Uid);

/// A list under way.
#[derive(Debug)]
struct Listing {
    version: u64,
    /// When its first page came.
    begun: Duration,
    /// What it has named; keys and claims are marked in their tables.
    named: HashSet<Uid>,
}

/// Everything the planner may look at.
#[derive(Debug, Default)]
pub struct World {
    keys: Table<KeyRecord>,
    carriers: Carriers,
    waiting: HashMap<WaitingFor, BTreeSet<Turn>>,

    claims: Table<ClaimRecord>,
    incumbents: Carriers,
    by_v6: HashTable<Slot>,
    hasher: RandomState,
    shares: HashMap<(Symbol, Symbol), Share, Quick>,
    held_by_pool: HashMap<Symbol, i64, Quick>,
    awaiting: BTreeSet<(Symbol, u64, Slot)>,
    /// Of each pool the watermark that was planned for last.
    watermarks: HashMap<String, u64, Quick>,
    proofs: HashMap<String, Proof>,
    /// Namespaces that are being listed for one.
    proving: HashSet<String>,
    symbols: Symbols,

    pools: HashMap<String, Pool, Quick>,
    gateways: HashMap<String, Gateway, Quick>,
    gateway_nodes: HashMap<String, GatewayNode>,
    nodes: HashMap<String, Node>,
    gateway_keys: HashMap<PublicKey, u32>,
    serving: HashSet<String>,
    /// When the first of them may cease to.
    serving_until: Duration,
    /// Of services and apiservers; nodes have theirs with them.
    ranges: HashMap<Uid, (Kind, Vec<IpNet>)>,
    cluster: ClusterRanges,

    complete: [bool; Kind::ALL.len()],
    listing: HashMap<Kind, Listing, Quick>,
    /// What only the reply to a write has shown so far, and in which version: an older list cannot know it.
    learned: HashMap<Kind, HashMap<Uid, u64>, Quick>,
    /// A list has shown an object older than it was known: what is known has not happened.
    rewound: bool,
    /// Claims that the watch has yet to come to.
    ahead: HashSet<Uid, Quick>,
    /// What the operator has deleted, and when: the watch has yet to say so.
    deleted: HashMap<Uid, (Kind, Duration), Quick>,
    /// What went lately, and when: the reply to a write may still speak of it.
    gone: HashMap<Uid, Duration>,
    /// How many of those there may be before the old ones are looked for.
    gone_most: usize,
    unreadable: HashMap<Kind, HashSet<Uid>, Quick>,
    queue: Queue,
    sweep: Option<Sweep>,
    /// How often something was taken.
    turns: u32,
}

impl World {
    /// Whether every kind has been listed whole once.
    pub fn is_complete(&self) -> bool {
        self.complete.iter().all(|complete| *complete)
    }

    /// Takes in what the reply to a write of ours says. It may be ahead of the watch, and behind it; whether it was news.
    pub fn learn(&mut self, change: Change, now: Duration) -> bool {
        let (kind, uid, version, known) = match &change {
            Change::Key(key) => {
                let known = self.key(&key.uid).map(|known| known.resource_version);
                (Kind::Key, key.uid, key.resource_version, known)
            }
            Change::Claim(claim) => {
                let known = self.claim(&claim.uid).map(|known| known.resource_version);
                (Kind::Claim, claim.uid, claim.resource_version, known)
            }
            Change::GatewayNode(node) => {
                let known = self
                    .gateway_nodes
                    .get(&node.name)
                    .filter(|known| known.uid == node.uid)
                    .map(|known| known.resource_version);
                (Kind::GatewayNode, node.uid, node.resource_version, known)
            }
            Change::Pool(pool) => {
                let known = self.pools.get(&pool.name).filter(|known| known.uid == pool.uid);
                let known = known.map(|known| known.resource_version);
                (Kind::Pool, pool.uid, pool.resource_version, known)
            }
            Change::Gateway(gateway) => {
                let known = self.gateways.get(&gateway.name);
                let known = known.filter(|known| known.uid == gateway.uid);
                let known = known.map(|known| known.resource_version);
                (Kind::Gateway, gateway.uid, gateway.resource_version, known)
            }
            Change::Gone(kind, uid) => {
                let (kind, uid) = (*kind, *uid);
                // Unless the watch was faster.
                let first = !self.gone.contains_key(&uid);
                self.apply(change, now);
                if first {
                    self.deleted.insert(uid, (kind, now));
                }
                return true;
            }
            _ => {
                self.apply(change, now);
                return true;
            }
        };
        // A uid never comes back: the watch was faster than the reply.
        if self.gone.contains_key(&uid) || known.is_some_and(|known| known >= version) {
            return false;
        }
        // A list under way has not named it for that, and the watch has not come to it.
        match change {
            Change::Key(key) => self.apply_key(*key),
            Change::Claim(claim) => {
                self.apply_claim(*claim, now);
                self.ahead.insert(uid);
            }
            Change::Pool(pool) => self.apply_pool(*pool, now),
            Change::Gateway(gateway) => self.apply_gateway(*gateway, now),
            Change::GatewayNode(node) => self.apply_gateway_node(*node, now),
            _ => {}
        }
        self.learned.entry(kind).or_default().insert(uid, version);
        true
    }

    /// Whether the API's history has gone back: whoever has this world starts another.
    pub fn is_rewound(&self) -> bool {
        self.rewound
    }

    /// Whether a version is no news of an object that is known in another. A list that is itself newer than what is
    /// known of an object, and shows it older, is of another history: etcd was restored from a backup.
    fn is_old(&mut self, kind: Kind, known: u64, version: u64) -> bool {
        let listing = self.listing.get(&kind);
        self.rewound |= listing.is_some_and(|listing| version < known && known <= listing.version);
        known >= version
    }

    /// Whether the operator has deleted the object that is spoken of, and what speaks is behind the reply. A list that
    /// began long afterwards cannot be: it is of another history.
    fn is_over(&mut self, kind: Kind, uid: &Uid) -> bool {
        let Some((_, at)) = self.deleted.get(uid) else {
            return false;
        };
        let listing = self.listing.get(&kind);
        self.rewound |= listing.is_some_and(|listing| listing.begun > *at + GONE_FOR);
        true
    }

    /// Takes in what a watch says.
    pub fn apply(&mut self, change: Change, now: Duration) {
        match change {
            Change::Key(key) => {
                let uid = key.uid;
                self.apply_key(*key);
                self.listed(Kind::Key, &uid);
            }
            Change::Claim(claim) if self.is_over(Kind::Claim, &claim.uid) => {}
            Change::GatewayNode(node) if self.is_over(Kind::GatewayNode, &node.uid) => {}
            Change::Claim(claim) => {
                let uid = claim.uid;
                self.apply_claim(*claim, now);
                self.listed(Kind::Claim, &uid);
                // Of a list under way the rest is to come.
                if !self.listing.contains_key(&Kind::Claim) {
                    self.caught_up(&uid);
                }
            }
            Change::Pool(pool) => {
                let uid = pool.uid;
                self.apply_pool(*pool, now);
                self.listed(Kind::Pool, &uid);
            }
            Change::Gateway(gateway) => {
                let uid = gateway.uid;
                self.apply_gateway(*gateway, now);
                self.listed(Kind::Gateway, &uid);
            }
            Change::GatewayNode(node) => {
                let uid = node.uid;
                self.apply_gateway_node(*node, now);
                self.listed(Kind::GatewayNode, &uid);
            }
            Change::Node(node) => {
                let uid = node.uid;
                self.apply_node(&node, now);
                self.listed(Kind::Node, &uid);
            }
            Change::Ranges(kind, uid, ranges) => {
                self.ranges.insert(uid, (kind, ranges));
                self.ranges_changed(now);
                self.listed(kind, &uid);
            }
            Change::LiveKeys(proof) => self.apply_proof(*proof, now),
            Change::Rewound => {}
            Change::Unreadable(kind, uid) => {
                // It need not have a record.
                if let Some(listing) = self.listing.get_mut(&kind) {
                    listing.named.insert(uid);
                }
                self.listed(kind, &uid);
                self.unreadable.entry(kind).or_default().insert(uid);
            }
            Change::Gone(kind, uid) => {
                self.deleted.remove(&uid);
                self.remove(kind, &uid, now);
            }
            Change::ListBegins(kind, version) => {
                let listing = Listing {
                    version,
                    begun: now,
                    named: HashSet::new(),
                };
                self.listing.insert(kind, listing);
                match kind {
                    Kind::Key => self.keys.name_none(),
                    Kind::Claim => self.claims.name_none(),
                    _ => {}
                }
            }
            Change::ListComplete(kind) => self.end_list(kind, now),
        }
    }

    fn end_list(&mut self, kind: Kind, now: Duration) {
        let Some(listing) = self.listing.remove(&kind) else {
            return;
        };
        let Listing {
            version,
            begun,
            named,
        } = listing;
        // What was deleted before it began is spoken of no more.
        self.deleted.retain(|_, (of, at)| *of != kind || *at >= begun);
        if kind == Kind::Claim {
            let ahead = self.ahead.iter().copied();
            let caught_up: Vec<Uid> = ahead
                .filter(|uid| {
                    let slot = self.claims.slot(uid);
                    named.contains(uid) || slot.is_some_and(|slot| self.claims.is_named(slot))
                })
                .collect();
            caught_up.iter().for_each(|uid| self.caught_up(uid));
        }
        // What is newer than the list cannot be in it.
        let mut newer = self.learned.remove(&kind).unwrap_or_default();
        newer.retain(|_, learned| *learned > version);
        for uid in self.unnamed(kind, &named) {
            if !newer.contains_key(&uid) {
                self.remove(kind, &uid, now);
            }
        }
        self.learned.insert(kind, newer);
        if kind == Kind::Claim {
            // An address that went with one claim may have come with another.
            self.take_all();
        }
        let first = !std::mem::replace(&mut self.complete[kind as usize], true);
        if first && self.is_complete() {
            self.settle_ranges();
            self.touch_everything();
        }
    }

    /// Whether only the reply to a request has shown this claim so far. Of claims that were made before it some may be
    /// unknown then, or not known to be released; once the watch has brought it, none is.
    pub fn is_ahead(&self, claim: &Uid) -> bool {
        self.ahead.contains(claim)
    }

    /// The watch has come to a claim: it may be no news, and what waited for it has to be planned all the same.
    fn caught_up(&mut self, claim: &Uid) {
        if self.ahead.remove(claim) {
            self.touch_claim(claim);
        }
    }

    fn listed(&mut self, kind: Kind, uid: &Uid) {
        if let Some(listing) = self.listing.get_mut(&kind) {
            match kind {
                Kind::Key => self
                    .keys
                    .slot(uid)
                    .into_iter()
                    .for_each(|slot| self.keys.name(slot)),
                Kind::Claim => self
                    .claims
                    .slot(uid)
                    .into_iter()
                    .for_each(|slot| self.claims.name(slot)),
                _ => {
                    listing.named.insert(*uid);
                }
            }
        }
        if let Some(unreadable) = self.unreadable.get_mut(&kind) {
            unreadable.remove(uid);
        }
        if let Some(learned) = self.learned.get_mut(&kind) {
            learned.remove(uid);
        }
    }

    /// Everything of a kind that a whole list has not named.
    fn unnamed(&self, kind: Kind, named: &HashSet<Uid>) -> Vec<Uid> {
        let readable: Vec<Uid> = match kind {
            Kind::Key => {
                let keys = self.keys.iter().filter(|(_, key)| key.exists);
                keys.filter(|(slot, _)| !self.keys.is_named(*slot))
                    .map(|(_, key)| key.uid())
                    .collect()
            }
            Kind::Claim => {
                let claims = self
                    .claims
                    .iter()
                    .filter(|(slot, _)| !self.claims.is_named(*slot));
                claims.map(|(_, claim)| claim.uid).collect()
            }
            Kind::Pool => self.pools.values().map(|pool| pool.uid).collect(),
            Kind::Gateway => self.gateways.values().map(|gateway| gateway.uid).collect(),
            Kind::GatewayNode => self.gateway_nodes.values().map(|node| node.uid).collect(),
            Kind::Node => self.nodes.values().map(|node| node.uid).collect(),
            Kind::ServiceRange | Kind::Apiserver => {
                let of_kind = self.ranges.iter().filter(|(_, (of, _))| *of == kind);
                of_kind.map(|(uid, _)| *uid).collect()
            }
        };
        let unreadable = self.unreadable.get(&kind).into_iter().flatten().copied();
        let all = readable.into_iter().chain(unreadable);
        all.filter(|uid| !named.contains(uid)).collect()
    }

    fn remove(&mut self, kind: Kind, uid: &Uid, now: Duration) {
        if self.gone.len() > self.gone_most {
            self.gone.retain(|_, at| now.saturating_sub(*at) < GONE_FOR);
            // Twice what is left: looking costs as much as there is, and must not be done for each.
            self.gone_most = GONE_LEAST.max(2 * self.gone.len());
        }
        self.gone.insert(*uid, now);
        if let Some(learned) = self.learned.get_mut(&kind) {
            learned.remove(uid);
        }
        if let Some(unreadable) = self.unreadable.get_mut(&kind) {
            unreadable.remove(uid);
        }
        match kind {
            Kind::Key => self.remove_key(uid),
            Kind::Claim => {
                self.ahead.remove(uid);
                self.remove_claim(uid);
            }
            Kind::Pool => self.remove_pool(uid),
            Kind::Gateway => self.remove_gateway(uid, now),
            Kind::GatewayNode => self.remove_gateway_node(uid, now),
            Kind::Node => self.remove_node(uid, now),
            Kind::ServiceRange | Kind::Apiserver => {
                self.ranges.remove(uid);
                self.ranges_changed(now);
            }
        }
    }

    /// Whether the key exists, readable or not.
    pub fn knows_key(&self, uid: &Uid) -> bool {
        self.key(uid).is_some()
            || self
                .unreadable
                .get(&Kind::Key)
                .is_some_and(|set| set.contains(uid))
    }

    /// Whether an object of this kind exists that cannot be read.
    pub fn has_unreadable(&self, kind: Kind) -> bool {
        self.unreadable.get(&kind).is_some_and(|set| !set.is_empty())
    }

    /// Plans everything there is.
    pub fn touch_everything(&mut self) {
        let pools: Vec<_> = self.pools.keys().cloned().map(Target::Pool).collect();
        let few = [Target::Fleet].into_iter().chain(pools);
        few.for_each(|target| self.touch(target));
        self.sweep = Some(Sweep::default());
    }

    /// Takes up to `most` targets that need planning and have nothing under way.
    pub fn take_due(&mut self, most: usize) -> Vec<Target> {
        // In turn, never both at once: a target must not stand twice in one plan. Each key that the sweep serves queues
        // some targets of its own; with turns alike the queue would grow to several times what there is.
        self.turns = self.turns.wrapping_add(1);
        let sweeps = self.turns.is_multiple_of(SWEEP_TURN) || !self.queue.has_due();
        if self.sweep.is_some() && sweeps {
            self.sweep(most)
        } else {
            self.queue.take_due(most)
        }
    }

    /// Plans nothing of what is due: somebody else does.
    pub fn leave_due(&mut self) {
        self.queue.leave_due();
        self.sweep = None;
    }

    /// Whether something needs planning now.
    pub fn has_due(&self) -> bool {
        self.queue.has_due() || self.sweep.is_some()
    }

    /// Marks a target as needing a plan.
    pub fn touch(&mut self, target: Target) {
        // Everything will be.
        if !self.is_complete() {
            return;
        }
        let lane = self.lane(&target);
        self.queue.touch(target, lane);
    }

    fn lane(&self, target: &Target) -> Lane {
        let key = match target {
            Target::Key(uid) => self.keys.slot(uid),
            Target::Claim(uid) => self.claims.get(uid).map(|claim| claim.key),
            Target::Pool(_) | Target::Fleet => None,
        };
        key.map(|slot| self.keys.at(slot).namespace)
    }

    /// How many targets need planning.
    pub fn due(&self) -> usize {
        self.queue.len()
    }

    /// Whether there still is such an object.
    pub fn has(&self, target: &Target) -> bool {
        match target {
            Target::Key(uid) => self.key(uid).is_some(),
            Target::Claim(uid) => self.claim(uid).is_some(),
            Target::Pool(name) => self.pools.contains_key(name),
            Target::Fleet => true,
        }
    }

    /// Asks for a target to be planned at `at`.
    pub fn touch_at(&mut self, at: Duration, target: Target) {
        self.queue.touch_at(at, target);
    }

    /// Moves the targets whose time has come to those that are due.
    pub fn wake(&mut self, now: Duration) {
        if self.cluster.settle_at.is_some_and(|at| at <= now) {
            self.settle_ranges();
        }
        while let Some(target) = self.queue.wake(now) {
            self.touch(target);
        }
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Duration> {
        [self.queue.next_timer(), self.cluster.settle_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Notes that a step on this target is under way: it is not planned again before [`World::finish`].
    pub fn begin(&mut self, target: &Target) {
        self.queue.begin(target);
    }

    /// Notes that a step on this target has ended. The caller says when it is planned again.
    pub fn finish(&mut self, target: &Target) {
        self.queue.finish(target);
    }
}
