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
mod tests;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::peer::KeyRef;
use culvert_crds::pool::IPPoolStatus;
use culvert_crds::{GatewayRef, Reason};
use culvert_wireguard::PublicKey;
use rand::Rng;

use crate::clock::Now;
use crate::world::status::KeyStatus;
use crate::world::{Addresses, Claim, ClaimView, KeyView, Target, Uid, Waiting, World};

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
        /// Name of the claim.
        name: String,
        /// The version that was planned for.
        resource_version: u64,
    },
    /// Ask a selected node to serve.
    CreateGatewayNode(NewGatewayNode),
    /// Ask a node to leave.
    DrainGatewayNode {
        /// Name of the gateway node.
        name: String,
        /// The version that was planned for.
        resource_version: u64,
    },
    /// Delete the object of a node that has left.
    DeleteGatewayNode {
        /// Name of the gateway node.
        name: String,
        /// Its uid.
        uid: Uid,
        /// The version that was planned for.
        resource_version: u64,
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
    pub namespace: String,
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
    pub key: KeyRef,
    /// The key's public key.
    pub public_key: PublicKey,
    /// Name of the pool.
    pub pool: String,
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
#[derive(Clone, Debug, Default)]
pub struct Promised {
    addresses: HashSet<IpAddr>,
    /// How many there are, by pool and namespace.
    held: HashMap<(String, String), u32>,
}

impl Promised {
    /// Counts a claim.
    pub fn add(&mut self, claim: &NewClaim) {
        self.addresses.extend(claim.addresses.iter());
        *self
            .held
            .entry((claim.pool.clone(), claim.key.namespace.clone()))
            .or_default() += 1;
    }

    /// Counts a claim no longer.
    pub fn remove(&mut self, claim: &NewClaim) {
        claim.addresses.iter().for_each(|address| {
            self.addresses.remove(&address);
        });
        let place = (claim.pool.clone(), claim.key.namespace.clone());
        if let Some(held) = self.held.get_mut(&place) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&place);
            }
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    fn held(&self, pool: &str, namespace: &str) -> u32 {
        self.held
            .get(&(pool.to_owned(), namespace.to_owned()))
            .copied()
            .unwrap_or(0)
    }
}

/// As many orphans of one namespace are worth a list instead of a read each.
const MANY_ORPHANS: usize = 4;

/// Plans the given targets.
pub fn plan(world: &World, targets: Vec<Target>, promised: &Promised, now: Now, rng: &mut impl Rng) -> Plan {
    let mut plan = Plan::default();
    let mut promised = Cow::Borrowed(promised);
    let mut orphans = Vec::new();
    for target in targets {
        match &target {
            Target::Key(uid) => {
                if let Some(key) = world.key(uid) {
                    plan_key(world, &key, &mut promised, now, rng, &mut plan);
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
    release::plan_orphans(orphans, now, &mut plan);
    plan
}

fn plan_key(
    world: &World,
    key: &KeyView<'_>,
    promised: &mut Cow<'_, Promised>,
    now: Now,
    rng: &mut impl Rng,
    plan: &mut Plan,
) {
    let claims = KeyClaims::of(world, key);
    let mut verdict = verdict::of(world, key, &claims, now);
    if verdict.is_ok() && claims.current.is_none() {
        verdict = verdict::share(world, key, promised);
    }
    if verdict.is_ok() && claims.current.is_none() {
        if let Some(claim) = allocate::claim(world, key, promised, rng) {
            promised.to_mut().add(&claim);
            plan.steps.push((Target::Key(key.uid), Step::CreateClaim(claim)));
            return;
        }
        verdict = Err(Reason::PoolExhausted);
    }
    // Another allocator may have made an older claim for this key: only the watch can tell.
    if verdict.is_ok() && claims.current.is_some_and(|claim| world.is_ahead(&claim.uid)) {
        return;
    }
    let waiting = match verdict {
        Err(Reason::PoolExhausted) => Some(Waiting::Address),
        Err(Reason::QuotaExceeded | Reason::RateLimited) => Some(Waiting::Share),
        _ => None,
    };
    plan.waiting.extend(waiting.map(|waiting| (key.uid, waiting)));
    publish::plan(world, key, &claims, verdict, now, plan);
}

/// The unreleased claims of a key.
struct KeyClaims<'a> {
    /// For what the key asks at present: the oldest, should there be more.
    current: Option<ClaimView<'a>>,
    /// The one of the others that is published, or the youngest: what the key rotates away from.
    old: Option<ClaimView<'a>>,
}

impl<'a> KeyClaims<'a> {
    fn of(world: &'a World, key: &KeyView<'_>) -> Self {
        let mut claims = Self {
            current: None,
            old: None,
        };
        let shown = key.status.shown.addresses;
        for claim in world.claims_of(key).filter(|claim| !claim.released) {
            if !verdict::is_current(&claim, key) {
                // A lost reply can have left two for what was asked before: the published one is what works.
                if claims.old.is_none_or(|old| old.addresses != shown) {
                    claims.old = Some(claim);
                }
            } else if claims.current.is_none() {
                claims.current = Some(claim);
            }
        }
        claims
    }
}
