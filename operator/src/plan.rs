//! What to do next: a function of the world, the time and the random source.
//!
//! A plan is plain data, and each target has at most one step that writes to it, so the order
//! "claim first, publish afterwards" needs no bookkeeping: the second step follows from the world
//! in which the first has been seen. A crash between any two steps leaves a world from which the
//! same plan goes on.

mod allocate;
pub mod check;
mod fleet;
mod pool;
mod publish;
mod release;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use culvert_crds::GatewayRef;
use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::peer::KeyRef;
use culvert_crds::pool::IPPoolStatus;
use culvert_wireguard::PublicKey;
use rand::Rng;

use crate::clock::Now;
use crate::world::status::KeyStatus;
use crate::world::{Claim, Target, Uid, World};

/// One effect on the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Bind addresses to a key.
    CreateClaim(NewClaim),
    /// Write a key's status.
    PublishKey {
        /// Uid of the key.
        uid: Uid,
        /// Namespace of the key.
        namespace: String,
        /// Name of the key.
        name: String,
        /// The version that the status was planned for.
        resource_version: u64,
        /// The status.
        status: Box<KeyStatus>,
    },
    /// Release a claim if a live read says that its key is gone.
    ReleaseOrphan(Box<Claim>),
    /// Release a claim that its key no longer has a right to.
    ReleaseClaim(Box<Claim>),
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
        /// The version that was planned for.
        resource_version: u64,
        /// The status.
        status: Box<IPPoolStatus>,
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

impl Step {
    /// What kind of effect it is. Names stay out of logs: a claim's is an address.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateClaim(_) => "create claim",
            Self::PublishKey { .. } => "publish key",
            Self::ReleaseOrphan(_) => "release orphan",
            Self::ReleaseClaim(_) => "release claim",
            Self::DeleteClaim { .. } => "delete claim",
            Self::CreateGatewayNode(_) => "create gateway node",
            Self::DrainGatewayNode { .. } => "drain gateway node",
            Self::DeleteGatewayNode { .. } => "delete gateway node",
            Self::GuardPool { .. } => "guard pool",
            Self::PublishPool { .. } => "publish pool",
            Self::PublishGateway { .. } => "publish gateway",
        }
    }
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
    pub addresses: Vec<IpAddr>,
    /// The key's address generation.
    pub address_generation: i64,
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
    /// Keys that wait for an address, with their pool.
    pub waiting: Vec<(String, Uid)>,
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
        self.addresses.extend(claim.addresses.iter().copied());
        *self
            .held
            .entry((claim.pool.clone(), claim.key.namespace.clone()))
            .or_default() += 1;
    }

    /// Counts a claim no longer.
    pub fn remove(&mut self, claim: &NewClaim) {
        claim.addresses.iter().for_each(|address| {
            self.addresses.remove(address);
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

/// Plans the given targets.
pub fn plan(world: &World, targets: Vec<Target>, promised: &Promised, now: Now, rng: &mut impl Rng) -> Plan {
    let mut plan = Plan::default();
    let mut promised = promised.clone();
    for target in targets {
        match &target {
            Target::Key(uid) => {
                let Some(key) = world.key(uid) else { continue };
                plan_key(world, key, &mut promised, now, rng, &mut plan);
            }
            Target::Claim(uid) => {
                if let Some(claim) = world.claim(uid) {
                    release::plan(world, claim, now, &mut plan);
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
    plan
}

fn plan_key(
    world: &World,
    key: &crate::world::Key,
    promised: &mut Promised,
    now: Now,
    rng: &mut impl Rng,
    plan: &mut Plan,
) {
    let verdict = verdict::of(world, key, now).and_then(|()| verdict::quota(world, key, promised));
    if verdict.is_ok() && verdict::current_claim(world, key).is_none() {
        if let Some(claim) = allocate::claim(world, key, promised, rng) {
            promised.add(&claim);
            plan.steps
                .push((Target::Key(key.uid.clone()), Step::CreateClaim(claim)));
            return;
        }
        plan.waiting.push((key.pool.clone(), key.uid.clone()));
        return publish::plan(world, key, Err(culvert_crds::Reason::PoolExhausted), now, plan);
    }
    if verdict == Err(culvert_crds::Reason::QuotaExceeded) {
        plan.waiting.push((key.pool.clone(), key.uid.clone()));
    }
    publish::plan(world, key, verdict, now, plan);
}
