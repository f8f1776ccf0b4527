//! What to do next: a function of the world, the time and the random source.
//!
//! A plan is plain data, and each target has at most one step that writes to it, so the order
//! "claim first, publish afterwards" needs no bookkeeping: the second step follows from the world
//! in which the first has been seen. A crash between any two steps leaves a world from which the
//! same plan goes on.

mod allocate;
pub mod check;
mod expiring;
mod fleet;
mod pool;
mod publish;
mod release;
mod verdict;

#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::pool::IPPoolStatus;
use culvert_crds::{GatewayRef, Reason};
use culvert_wireguard::PublicKey;
use rand::Rng;

use crate::clock::Now;
use crate::world::status::KeyStatus;
use crate::world::{Addresses, Claim, ClaimView, KeyView, Node, Place, Pool, Target, Uid, Waiting, World};

/// One effect on the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Bind addresses to a key.
    CreateClaim(NewClaim),
    /// Write a key's status.
    PublishKey(Box<KeyNews>),
    /// List a namespace's keys: many claims there have lost theirs.
    ProveGone {
        /// The namespace.
        namespace: String,
        /// When it was planned: claims that were seen before are those that it speaks of.
        asked: Duration,
    },
    /// Release a claim if a live read says that its key is gone.
    ReleaseOrphan(Box<Claim>),
    /// Release a claim that its key no longer has a right to, if a live read says that nothing about the key is newer.
    ReleaseClaim {
        /// The claim.
        claim: Box<Claim>,
        /// The version of the key that was planned for; `None` when it is proven gone.
        key_version: Option<u64>,
    },
    /// Delete a released claim: its addresses are free again.
    DeleteClaim {
        /// Uid of the claim.
        uid: Uid,
        /// What it is named by.
        addresses: Addresses,
        /// The version that was planned for.
        resource_version: u64,
    },
    /// Ask a selected node to serve.
    CreateGatewayNode(NewGatewayNode),
    /// Say where clients connect now.
    MoveGatewayNode {
        /// Name of the gateway node.
        name: String,
        /// The version that was planned for.
        resource_version: u64,
        /// The host.
        endpoint_host: String,
    },
    /// Ask a node to leave, if a live read says that nothing is newer than what it is sent away for.
    DrainGatewayNode {
        /// Name of the gateway node.
        name: String,
        /// The version that was planned for.
        resource_version: u64,
        /// What it is sent away for.
        grounds: Box<Grounds>,
    },
    /// Delete the object of a node that has left, on the same condition.
    DeleteGatewayNode {
        /// Name of the gateway node.
        name: String,
        /// Its uid.
        uid: Uid,
        /// The version that was planned for.
        resource_version: u64,
        /// What it is sent away for.
        grounds: Box<Grounds>,
    },
    /// Set (true) or remove the finalizer that keeps a pool while claims use it.
    GuardPool {
        /// Name of the pool.
        name: String,
        /// Whether the finalizer stays.
        guarded: bool,
    },
    /// Write a pool's status.
    PublishPool {
        /// Name of the pool.
        name: String,
        /// Uid of the pool.
        uid: Uid,
        /// The version that was planned for.
        resource_version: u64,
        /// The status.
        status: Box<IPPoolStatus>,
        /// What a person should hear of.
        event: Option<Reason>,
    },
    /// Write a gateway's status.
    PublishGateway {
        /// Name of the gateway.
        name: String,
        /// The version that was planned for.
        resource_version: u64,
        /// The status.
        status: Box<WireGuardGatewayStatus>,
    },
}

/// What a key's status should say.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyNews {
    /// Uid of the key.
    pub uid: Uid,
    /// Namespace of the key.
    pub namespace: Arc<str>,
    /// Name of the key.
    pub name: String,
    /// The version that the status was planned for.
    pub resource_version: u64,
    /// The status.
    pub status: KeyStatus,
    /// Addresses that are taken back though it is not known what became of their claim: only if a live read says that it
    /// is this key's no longer.
    pub unless_held: Option<Addresses>,
    /// What a person should hear of.
    pub event: Option<Reason>,
}

/// A claim to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewClaim {
    /// The key it is for.
    pub key: Uid,
    /// The key's namespace.
    pub namespace: Arc<str>,
    /// The key's name.
    pub name: String,
    /// The key's public key.
    pub public_key: PublicKey,
    /// Name of the pool.
    pub pool: Arc<str>,
    /// The drawn addresses.
    pub addresses: Addresses,
    /// The key's address generation.
    pub address_generation: u32,
}

/// A gateway node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGatewayNode {
    /// Name of the object.
    pub name: String,
    /// The gateway.
    pub gateway: GatewayRef,
    /// Name of the node.
    pub node: String,
    /// Uid of the node, its owner.
    pub node_uid: Uid,
    /// Where clients connect.
    pub endpoint_host: Option<String>,
}

/// What a gateway node is sent away for: the gateways and its node, as they were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// The generation of each gateway.
    pub gateways: BTreeMap<Uid, i64>,
    /// Name of the node.
    pub name: String,
    /// The node, if there is one.
    pub node: Option<Node>,
}

/// Steps, and what the world should remember.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Each with the target it belongs to.
    pub steps: Vec<(Target, Step)>,
    /// Targets to be planned again at a time.
    pub wakes: Vec<(Duration, Target)>,
    /// Claims that every serving gateway has.
    pub programmed: Vec<Uid>,
    /// Keys that wait for their pool.
    pub waiting: Vec<(Uid, Waiting)>,
}

/// Claims whose creation is under way: nobody else may count on what they ask for.
#[derive(Clone, Default)]
pub struct Promised {
    addresses: HashSet<IpAddr, foldhash::fast::RandomState>,
    /// Of two claims that are made within one second nobody knows which is the older: one at a time.
    public_keys: HashSet<PublicKey>,
    /// Pool and namespace of each. There are as many as writes at the same time.
    held: Vec<(Arc<str>, Arc<str>)>,
    /// Claims that may have been made all the same: nobody knows what became of the request.
    unclear: HashMap<Uid, NewClaim>,
}

/// Addresses do not print.
impl fmt::Debug for Promised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promised")
            .field("addresses", &self.addresses.len())
            .field("unclear", &self.unclear)
            .finish_non_exhaustive()
    }
}

impl Promised {
    /// Counts a claim.
    pub fn add(&mut self, claim: &NewClaim) {
        self.addresses.extend(claim.addresses.iter());
        self.public_keys.insert(claim.public_key);
        self.held.push((claim.pool.clone(), claim.namespace.clone()));
    }

    /// Counts a claim no longer.
    pub fn remove(&mut self, claim: &NewClaim) {
        claim.addresses.iter().for_each(|address| {
            self.addresses.remove(&address);
        });
        self.public_keys.remove(&claim.public_key);
        let is_it = |held: &(Arc<str>, Arc<str>)| held.0 == claim.pool && held.1 == claim.namespace;
        if let Some(place) = self.held.iter().position(is_it) {
            self.held.swap_remove(place);
        }
    }

    /// Nobody knows whether a claim has been made. What its key asks for next is this again: it is found under its name
    /// then, and no second one is drawn.
    pub fn doubt(&mut self, claim: NewClaim) {
        self.unclear.insert(claim.key, claim);
    }

    /// It is known what became of the key's last claim.
    pub fn settle(&mut self, key: &Uid) {
        self.unclear.remove(key);
    }

    /// Forgets the doubts about keys that are no more.
    pub fn forget(&mut self, exists: impl Fn(&Uid) -> bool) {
        self.unclear.retain(|key, _| exists(key));
    }

    /// What may have been claimed for exactly this already.
    fn doubted(&self, key: &KeyView<'_>) -> Option<Addresses> {
        let claim = self.unclear.get(&key.uid)?;
        let same = Some(claim.public_key) == key.public_key
            && claim.address_generation == key.address_generation
            && claim.pool == *key.pool;
        same.then_some(claim.addresses)
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Whether a claim for this public key is under way, for another key: what has one itself is not planned.
    fn has_key(&self, public_key: &PublicKey) -> bool {
        self.public_keys.contains(public_key)
    }

    fn held(&self, pool: &str, namespace: &str) -> u32 {
        let of_both = |held: &&(Arc<str>, Arc<str>)| &*held.0 == pool && &*held.1 == namespace;
        u32::try_from(self.held.iter().filter(of_both).count()).unwrap_or(u32::MAX)
    }
}

/// As many orphans of one namespace are worth a list instead of a read each.
const MANY_ORPHANS: usize = 4;

/// Plans the given targets.
pub fn plan(world: &World, targets: &[Target], promised: &Promised, now: Now, rng: &mut impl Rng) -> Plan {
    let mut plan = Plan::default();
    let mut promised = Cow::Borrowed(promised);
    let mut orphans = Vec::new();
    // All of them first: so the processor waits for many records at a time, and not for one after another.
    let places: Vec<Option<Place>> = targets.iter().map(|target| world.place(target)).collect();
    for (target, place) in targets.iter().zip(places) {
        match target {
            Target::Key(_) => {
                if let Some(key) = place.and_then(|place| world.key_of_place(place)) {
                    plan_key(world, key, &mut promised, now, rng, &mut plan);
                }
            }
            Target::Claim(uid) => {
                if let Some(claim) = world.claim(uid)
                    && release::plan(world, &claim, now, &mut plan) == release::Next::Prove
                {
                    orphans.push(claim);
                }
            }
            Target::Pool(name) => {
                if let Some(found) = world.pool(name) {
                    pool::plan(world, found, now, &mut plan);
                }
            }
            Target::Fleet => fleet::plan(world, now, &mut plan),
        }
    }
    release::plan_orphans(world, orphans, now, &mut plan);
    plan
}

fn plan_key(
    world: &World,
    key: KeyView<'_>,
    promised: &mut Cow<'_, Promised>,
    now: Now,
    rng: &mut impl Rng,
    plan: &mut Plan,
) {
    let subject = Subject::of(world, key);
    let mut verdict = verdict::of(world, &subject, now);
    if verdict.is_ok()
        && subject.current.is_none()
        && key
            .public_key
            .is_some_and(|public_key| promised.has_key(&public_key))
    {
        // The end of that claim plans this key again.
        return;
    }
    if verdict.is_ok() && subject.current.is_none() {
        verdict = verdict::share(world, &subject, promised);
    }
    if verdict.is_ok() && subject.current.is_none() {
        if let Some(claim) = allocate::claim(world, &subject, promised, rng) {
            promised.to_mut().add(&claim);
            plan.steps.push((Target::Key(key.uid), Step::CreateClaim(claim)));
            return;
        }
        verdict = Err(Reason::PoolExhausted);
    }
    // Another allocator may have made an older claim for this key: only the watch can tell.
    if verdict.is_ok() && subject.current.is_some_and(|claim| world.is_ahead(&claim.uid)) {
        return;
    }
    let waiting = match verdict {
        Err(Reason::PoolExhausted) => Some(Waiting::Address),
        Err(Reason::QuotaExceeded | Reason::RateLimited) => Some(Waiting::Share),
        _ => None,
    };
    plan.waiting.extend(waiting.map(|waiting| (key.uid, waiting)));
    publish::plan(world, &subject, verdict, now, plan);
}

/// A key, and what decides about it.
struct Subject<'a> {
    key: KeyView<'a>,
    /// Its pool.
    pool: Option<&'a Pool>,
    /// Its unreleased claim for what it asks at present: the oldest, should there be more.
    current: Option<ClaimView<'a>>,
    /// Of its other unreleased claims the one that clients are likely to use: what it rotates away from.
    old: Option<ClaimView<'a>>,
}

impl<'a> Subject<'a> {
    fn of(world: &'a World, key: KeyView<'a>) -> Self {
        let mut subject = Self {
            key,
            pool: world.pool(key.pool),
            current: None,
            old: None,
        };
        for claim in world.claims_of(&key).filter(|claim| !claim.released) {
            if !verdict::is_current(&claim, &key) {
                // One that works before one that is shown, and that before the youngest.
                let use_of =
                    |claim: &ClaimView<'_>| (claim.programmed.is_some(), claim.is_shown_by(&key.status));
                if subject.old.is_none_or(|old| use_of(&old) <= use_of(&claim)) {
                    subject.old = Some(claim);
                }
            } else if subject.current.is_none() {
                subject.current = Some(claim);
            }
        }
        subject
    }
}
