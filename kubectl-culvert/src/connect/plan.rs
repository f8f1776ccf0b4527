//! What to do next, from what there is (pure).
//!
//! ```text
//!  Make ─▶ Publish ─▶ (addresses) ─▶ Furnish ─▶ Meet ─▶ (a handshake) ─▶ Settle ─▶ Close ─▶ Lead ─▶ Resolve
//!                                                                                   the one before: … ─▶ Remove
//! ```
//!
//! A first connection and a rotation are the same: another tunnel is made beside what there is, and leads when a gateway
//! has answered it. The interface holds the private key before the API hears of the public one, and the API holds one
//! object, so at every moment whoever is killed has left a state from which the next plan goes on: the tunnel whose key the
//! API has is the one to bring up, what else there is goes when its overlap is over.
//!
//! A plan is what can be done now; where it is empty, [`Plan::waits`] says what for.

use std::net::IpAddr;

use culvert_wireguard::PublicKey;

use super::names::SLOTS;
use super::world::{Key, Peer, Tunnel, Wish, World};

/// How many gateways are met at a time: more would not be nearer.
const MOST: usize = 32;

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make an interface with a new private key.
    Make {
        /// Where.
        slot: u8,
    },

    /// Tell the API the tunnel's public key.
    Publish {
        /// Whose.
        slot: u8,
    },

    /// Give the tunnel its addresses, its table and rules, and set it up.
    Furnish {
        /// Which.
        slot: u8,
        /// With these.
        addresses: Vec<IpAddr>,
    },

    /// Have these gateways answer a handshake, besides the one that carries.
    Meet {
        /// Over which tunnel.
        slot: u8,
        /// Whom.
        gateways: Vec<PublicKey>,
    },

    /// Send packets to this gateway and know no other.
    Settle {
        /// Over which tunnel.
        slot: u8,
        /// Which.
        gateway: PublicKey,
    },

    /// Let nothing leave outside of the tunnel.
    Close,

    /// Send everything into this tunnel.
    Lead {
        /// Which.
        slot: u8,
    },

    /// Have names resolved as this tunnel's gateway says.
    Resolve {
        /// Which.
        slot: u8,
    },

    /// Remove a tunnel with its rules; its private key goes with it.
    Remove {
        /// Which.
        slot: u8,
    },

    /// Have names resolved as before.
    Unresolve,

    /// Send nothing into a tunnel any more.
    Unlead,

    /// Delete the key in the API.
    Revoke,

    /// Let packets leave again.
    Open,
}

/// Steps, in order; what is waited for when they are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do now.
    pub steps: Vec<Step>,

    /// What is waited for, when there is nothing to do.
    pub waits: Wait,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: it is as it should be.
    #[default]
    Nothing,

    /// A word of the apiserver's.
    Api,

    /// Addresses for the key.
    Addresses,

    /// A gateway that could be met.
    Gateway,

    /// A gateway's answer.
    Handshake,
}

impl Plan {
    fn waiting(waits: Wait) -> Self {
        Self {
            steps: Vec::new(),
            waits,
        }
    }
}

/// Plans.
pub fn plan(world: &World, wish: Wish) -> Plan {
    let Wish::Connected { rotate, closed } = wish else {
        return Plan {
            steps: ending(world),
            waits: Wait::Nothing,
        };
    };
    let current = match &world.key {
        Key::Present {
            public_key,
            addresses,
        } => world.tunnel_of(public_key).map(|tunnel| (tunnel, addresses)),
        Key::Absent | Key::Spent | Key::Unknown => None,
    };
    let leader = world.leader.and_then(|slot| world.tunnel(slot));
    let mut plan = match current {
        Some((current, _)) if rotate && world.leader == Some(current.slot) => renew(world),
        Some((current, addresses)) => bring(world, current, addresses),
        // While the API is asked, the interface that will be needed in any case.
        None if world.key == Key::Unknown && !world.tunnels.is_empty() => Plan::waiting(Wait::Api),
        None => renew(world),
    };
    // Whoever leads is looked after whatever else goes on.
    if let Some(leader) = leader
        && !matches!(current, Some((current, _)) if current.slot == leader.slot && !rotate)
    {
        let tended = tend(world, leader);
        plan.steps.extend(tended.steps);
    }
    if closed && !world.closed && (leader.is_some() || plan.steps.iter().any(is_lead)) {
        let at = plan.steps.iter().position(is_lead).unwrap_or(0);
        plan.steps.insert(at, Step::Close);
    }
    if !closed && world.closed {
        plan.steps.push(Step::Open);
    }
    if let Some((current, _)) = current
        && world.leader == Some(current.slot)
    {
        plan.steps.extend(world.tunnels.iter().filter_map(|tunnel| {
            // One without an address may be the one that a rotation is about to publish.
            let is_next = rotate && tunnel.addresses.is_empty();
            (tunnel.is_over && tunnel.slot != current.slot && !is_next)
                .then_some(Step::Remove { slot: tunnel.slot })
        }));
    }
    plan
}

fn is_lead(step: &Step) -> bool {
    matches!(step, Step::Lead { .. })
}

/// Another key: its tunnel first, then the API.
fn renew(world: &World) -> Plan {
    let current = match &world.key {
        Key::Present { public_key, .. } => Some(public_key),
        _ => None,
    };
    // One that was made and never published is as good as new.
    let fresh = world.tunnels.iter().find(|tunnel| {
        tunnel.addresses.is_empty()
            && tunnel.peers.is_empty()
            && world.leader != Some(tunnel.slot)
            && (tunnel.public_key.is_none() || tunnel.public_key.as_ref() != current)
    });
    let steps = match fresh {
        Some(fresh) if fresh.public_key.is_some() => vec![Step::Publish { slot: fresh.slot }],
        Some(broken) => vec![Step::Remove { slot: broken.slot }],
        None => match (0..SLOTS).find(|slot| world.tunnel(*slot).is_none()) {
            Some(slot) => vec![Step::Make { slot }],
            None => oldest(world)
                .map(|slot| Step::Remove { slot })
                .into_iter()
                .collect(),
        },
    };
    Plan {
        steps,
        waits: Wait::Nothing,
    }
}

/// One that can be spared when there is no room.
fn oldest(world: &World) -> Option<u8> {
    let spare = |tunnel: &&Tunnel| Some(tunnel.slot) != world.leader;
    let mut spares = world.tunnels.iter().filter(spare);
    let first = spares.clone().next();
    spares.find(|tunnel| tunnel.is_over).or(first).map(|t| t.slot)
}

/// Brings up the tunnel of the key that the API has.
fn bring(world: &World, current: &Tunnel, addresses: &[IpAddr]) -> Plan {
    let slot = current.slot;
    if addresses.is_empty() {
        return Plan::waiting(Wait::Addresses);
    }
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    let mut have = current.addresses.clone();
    have.sort_unstable();
    if !current.furnished || have != sorted {
        return Plan {
            steps: vec![Step::Furnish {
                slot,
                addresses: addresses.to_vec(),
            }],
            waits: Wait::Nothing,
        };
    }
    let mut plan = tend(world, current);
    if plan.steps.is_empty() && current.peers.iter().any(|peer| peer.carries) {
        if world.leader != Some(slot) {
            plan.steps.push(Step::Lead { slot });
        } else if world.resolves != Some(slot) {
            plan.steps.push(Step::Resolve { slot });
        }
    }
    plan
}

/// Sees to it that a tunnel has a gateway that answers.
fn tend(world: &World, tunnel: &Tunnel) -> Plan {
    let slot = tunnel.slot;
    let carrier = tunnel.peers.iter().find(|peer| peer.carries);
    if let Some(carrier) = carrier.filter(|carrier| is_fine(world, carrier)) {
        let alone = tunnel.peers.len() == 1;
        let gateway = carrier.key;
        return Plan {
            steps: (!alone)
                .then_some(Step::Settle { slot, gateway })
                .into_iter()
                .collect(),
            waits: Wait::Nothing,
        };
    }
    // It may have got another address. While it answered at the old one there was nothing to change.
    if let Some(carrier) = carrier.filter(|carrier| carrier.silent && carrier.elsewhere) {
        let gateway = carrier.key;
        return Plan {
            steps: vec![Step::Settle { slot, gateway }],
            waits: Wait::Nothing,
        };
    }
    if let Some(met) = tunnel.peers.iter().find(|peer| peer.met && !peer.carries) {
        let gateway = met.key;
        return Plan {
            steps: vec![Step::Settle { slot, gateway }],
            waits: Wait::Nothing,
        };
    }
    let ready = world.gateways.iter().filter(|gateway| gateway.ready);
    let wanted: Vec<PublicKey> = ready
        .map(|gateway| gateway.key)
        .filter(|key| carrier.is_none_or(|carrier| carrier.key != *key))
        .take(MOST)
        .collect();
    let is_known = |key: &PublicKey| tunnel.peers.iter().any(|peer| peer.key == *key);
    if !wanted.iter().all(is_known) {
        return Plan {
            steps: vec![Step::Meet {
                slot,
                gateways: wanted,
            }],
            waits: Wait::Nothing,
        };
    }
    Plan::waiting(if wanted.is_empty() {
        Wait::Gateway
    } else {
        Wait::Handshake
    })
}

/// Whether the gateway that carries may go on to. One that the API no longer names has been drained or is gone; that it
/// says it is not ready is no reason to leave one that answers.
fn is_fine(world: &World, carrier: &Peer) -> bool {
    let others = world
        .gateways
        .iter()
        .any(|gateway| gateway.ready && gateway.key != carrier.key);
    let is_named = world.gateways.iter().any(|gateway| gateway.key == carrier.key);
    !carrier.silent && (is_named || !others)
}

/// Takes everything back, in an order in which nothing leaves outside before all is over where that was asked.
fn ending(world: &World) -> Vec<Step> {
    let mut steps = Vec::new();
    if world.resolves.is_some() {
        steps.push(Step::Unresolve);
    }
    if world.leads_partly || world.leader.is_some() {
        steps.push(Step::Unlead);
    }
    let slots = world.tunnels.iter().map(|tunnel| tunnel.slot);
    steps.extend(slots.map(|slot| Step::Remove { slot }));
    if world.key != Key::Absent {
        steps.push(Step::Revoke);
    }
    if world.closed {
        steps.push(Step::Open);
    }
    steps
}

#[cfg(test)]
mod tests;
