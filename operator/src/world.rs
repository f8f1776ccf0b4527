//! The operator's picture of the API: keys, claims, pools, gateways and nodes as last observed.
//!
//! Guarantees: the newest version of an object wins, whether it came from a watch or from the reply
//! to a write; nothing is planned before every kind has been listed once ([`World::is_complete`]);
//! an object disappears only by a Deleted event or by its absence from a complete list; an object
//! that no longer decodes keeps its place. It remembers which keys and claims a change touches, so
//! that planning costs what changed and not what exists.
//!
//! Nothing here talks to anybody or reads a clock.

mod claims;
mod fleet;
pub mod free;
mod keys;
mod pools;
mod queue;
pub mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use culvert_wireguard::PublicKey;

pub use claims::{Claim, Programming};
pub use fleet::{Gateway, GatewayNode, Node, Report, SERVING_LEASE};
pub use keys::Key;
pub use pools::{Pool, Ranges};
use queue::Queue;
pub use queue::Target;

/// Uid of an object.
pub type Uid = String;

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
}

impl Kind {
    /// Every kind that must be listed before the first plan.
    pub const ALL: [Self; 6] = [
        Self::Key,
        Self::Claim,
        Self::Pool,
        Self::Gateway,
        Self::GatewayNode,
        Self::Node,
    ];
}

/// How long an object that went is remembered: longer than any request takes.
const GONE_FOR: Duration = Duration::from_secs(60);

/// As many of them are kept in any case.
const GONE_LEAST: usize = 1024;

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
    /// An object that exists and cannot be read.
    Unreadable(Kind, Uid),
    /// An object of this uid is gone.
    Gone(Kind, Uid),
    /// A list begins.
    ListBegins(Kind),
    /// The list that began is whole: what it did not name is gone.
    ListComplete(Kind),
}

/// Everything the planner may look at.
#[derive(Debug, Default)]
pub struct World {
    keys: HashMap<Uid, Key>,
    keys_by_public_key: HashMap<PublicKey, BTreeSet<(i64, Uid)>>,
    waiting_for_address: HashMap<String, BTreeSet<Uid>>,

    claims: HashMap<Uid, Claim>,
    claims_by_key: HashMap<Uid, BTreeSet<(i64, Uid)>>,
    incumbents: HashMap<PublicKey, BTreeSet<(i64, Uid, Uid)>>,
    held_by_namespace: HashMap<(String, String), u32>,
    held_by_pool: HashMap<String, i64>,
    awaiting: BTreeMap<(String, u64), BTreeSet<Uid>>,

    pools: HashMap<String, Pool>,
    gateways: HashMap<String, Gateway>,
    gateway_nodes: HashMap<String, GatewayNode>,
    nodes: HashMap<String, Node>,
    gateway_keys: HashMap<PublicKey, u32>,
    serving: HashSet<String>,

    complete: HashSet<Kind>,
    listing: HashMap<Kind, HashSet<Uid>>,
    /// What only the reply to a write has shown so far: a list that began before it cannot know it.
    learned: HashMap<Kind, HashSet<Uid>>,
    /// What went lately, and when: the reply to a write may still speak of it.
    gone: HashMap<Uid, Duration>,
    /// How many of those there may be before the old ones are looked for.
    gone_most: usize,
    unreadable: HashMap<Kind, HashSet<Uid>>,
    queue: Queue,
}

impl World {
    /// Whether every kind has been listed whole once.
    pub fn is_complete(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.complete.contains(kind))
    }

    /// Takes in what the reply to a write of ours says. It may be ahead of the watch, and behind it.
    pub fn learn(&mut self, change: Change, now: Duration) {
        let (kind, uid, version, known) = match &change {
            Change::Key(key) => {
                let known = self.keys.get(&key.uid).map(|known| known.resource_version);
                (Kind::Key, key.uid.clone(), key.resource_version, known)
            }
            Change::Claim(claim) => {
                let known = self.claims.get(&claim.uid).map(|known| known.resource_version);
                (Kind::Claim, claim.uid.clone(), claim.resource_version, known)
            }
            Change::GatewayNode(node) => {
                let known = self
                    .gateway_nodes
                    .get(&node.name)
                    .filter(|known| known.uid == node.uid);
                (
                    Kind::GatewayNode,
                    node.uid.clone(),
                    node.resource_version,
                    known.map(|n| n.resource_version),
                )
            }
            _ => return self.apply(change, now),
        };
        // A uid never comes back: the watch was faster than the reply.
        if self.gone.contains_key(&uid) {
            return;
        }
        self.apply(change, now);
        if known.is_none_or(|known| known < version) {
            self.learned.entry(kind).or_default().insert(uid);
        }
    }

    /// Takes in what a watch says.
    pub fn apply(&mut self, change: Change, now: Duration) {
        match change {
            Change::Key(key) => {
                self.listed(Kind::Key, &key.uid);
                self.apply_key(*key);
            }
            Change::Claim(claim) => {
                self.listed(Kind::Claim, &claim.uid);
                self.apply_claim(*claim, now);
            }
            Change::Pool(pool) => {
                self.listed(Kind::Pool, &pool.uid);
                self.apply_pool(*pool, now);
            }
            Change::Gateway(gateway) => {
                self.listed(Kind::Gateway, &gateway.uid);
                self.apply_gateway(*gateway, now);
            }
            Change::GatewayNode(node) => {
                self.listed(Kind::GatewayNode, &node.uid);
                self.apply_gateway_node(*node, now);
            }
            Change::Node(node) => {
                self.listed(Kind::Node, &node.uid);
                self.apply_node(*node);
            }
            Change::Unreadable(kind, uid) => {
                self.listed(kind, &uid);
                self.unreadable.entry(kind).or_default().insert(uid);
            }
            Change::Gone(kind, uid) => self.remove(kind, &uid, now),
            Change::ListBegins(kind) => {
                self.listing.insert(kind, HashSet::new());
            }
            Change::ListComplete(kind) => {
                let Some(mut named) = self.listing.remove(&kind) else {
                    return;
                };
                // For this list only: the next one will have begun after it.
                named.extend(self.learned.remove(&kind).unwrap_or_default());
                for uid in self.uids(kind) {
                    if !named.contains(&uid) {
                        self.remove(kind, &uid, now);
                    }
                }
                let first = self.complete.insert(kind);
                if first && self.is_complete() {
                    self.touch_everything();
                }
            }
        }
    }

    fn listed(&mut self, kind: Kind, uid: &str) {
        if let Some(named) = self.listing.get_mut(&kind) {
            named.insert(uid.to_owned());
        }
        if let Some(unreadable) = self.unreadable.get_mut(&kind) {
            unreadable.remove(uid);
        }
        if let Some(learned) = self.learned.get_mut(&kind) {
            learned.remove(uid);
        }
    }

    fn uids(&self, kind: Kind) -> Vec<Uid> {
        let unreadable = self.unreadable.get(&kind).into_iter().flatten().cloned();
        match kind {
            Kind::Key => self.keys.keys().cloned().chain(unreadable).collect(),
            Kind::Claim => self.claims.keys().cloned().chain(unreadable).collect(),
            Kind::Pool => self
                .pools
                .values()
                .map(|p| p.uid.clone())
                .chain(unreadable)
                .collect(),
            Kind::Gateway => self
                .gateways
                .values()
                .map(|g| g.uid.clone())
                .chain(unreadable)
                .collect(),
            Kind::GatewayNode => self
                .gateway_nodes
                .values()
                .map(|n| n.uid.clone())
                .chain(unreadable)
                .collect(),
            Kind::Node => self
                .nodes
                .values()
                .map(|n| n.uid.clone())
                .chain(unreadable)
                .collect(),
        }
    }

    fn remove(&mut self, kind: Kind, uid: &str, now: Duration) {
        if self.gone.len() > self.gone_most {
            self.gone.retain(|_, at| now.saturating_sub(*at) < GONE_FOR);
            // Twice what is left: looking costs as much as there is, and must not be done for each.
            self.gone_most = GONE_LEAST.max(2 * self.gone.len());
        }
        self.gone.insert(uid.to_owned(), now);
        if let Some(learned) = self.learned.get_mut(&kind) {
            learned.remove(uid);
        }
        if let Some(unreadable) = self.unreadable.get_mut(&kind) {
            unreadable.remove(uid);
        }
        match kind {
            Kind::Key => self.remove_key(uid),
            Kind::Claim => self.remove_claim(uid),
            Kind::Pool => self.remove_pool(uid),
            Kind::Gateway => self.remove_gateway(uid, now),
            Kind::GatewayNode => self.remove_gateway_node(uid, now),
            Kind::Node => self.remove_node(uid),
        }
    }

    /// Whether the key exists, readable or not.
    pub fn knows_key(&self, uid: &str) -> bool {
        self.keys.contains_key(uid)
            || self
                .unreadable
                .get(&Kind::Key)
                .is_some_and(|set| set.contains(uid))
    }

    /// Whether an object of this kind exists that cannot be read.
    pub fn has_unreadable(&self, kind: Kind) -> bool {
        self.unreadable.get(&kind).is_some_and(|set| !set.is_empty())
    }

    fn touch_everything(&mut self) {
        let keys: Vec<_> = self.keys.keys().cloned().map(Target::Key).collect();
        let claims: Vec<_> = self.claims.keys().cloned().map(Target::Claim).collect();
        keys.into_iter()
            .chain(claims)
            .for_each(|target| self.queue.touch(target));
        let pools: Vec<_> = self.pools.keys().cloned().map(Target::Pool).collect();
        pools.into_iter().for_each(|target| self.queue.touch(target));
        self.queue.touch(Target::Fleet);
    }

    /// Takes up to `most` targets that need planning and have nothing under way.
    pub fn take_due(&mut self, most: usize) -> Vec<Target> {
        self.queue.take_due(most)
    }

    /// Whether something needs planning now.
    pub fn has_due(&self) -> bool {
        self.queue.has_due()
    }

    /// Marks a target as needing a plan.
    pub fn touch(&mut self, target: Target) {
        self.queue.touch(target);
    }

    /// Asks for a target to be planned at `at`.
    pub fn touch_at(&mut self, at: Duration, target: Target) {
        self.queue.touch_at(at, target);
    }

    /// Moves the targets whose time has come to those that are due.
    pub fn wake(&mut self, now: Duration) {
        self.queue.wake(now);
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Duration> {
        self.queue.next_timer()
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
