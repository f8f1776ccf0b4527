//! What must be true of every world, checked by code that is not the planner.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::world::{Uid, World};

/// A broken invariant. It names objects by uid only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Two claims hold one address.
    SharedAddress(Uid, Uid),
    /// Two keys hold unreleased claims for one public key.
    SharedPublicKey(Uid, Uid),
    /// A key has more than one present and one old claim that are not released.
    TooManyClaims(Uid),
    /// A key's status shows addresses that no claim of its own holds.
    UnbackedStatus(Uid),
}

/// Every invariant that the world breaks; none in a healthy one that has come to rest.
pub fn check(world: &World) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut holders: HashMap<IpAddr, Uid> = HashMap::new();
    let mut public_keys = HashMap::new();
    let mut claims_of: HashMap<Uid, u32> = HashMap::new();
    for claim in world.claims() {
        for address in claim.addresses.iter() {
            if let Some(other) = holders.insert(address, claim.uid) {
                broken.push(Broken::SharedAddress(other, claim.uid));
            }
        }
        if claim.released {
            continue;
        }
        *claims_of.entry(claim.key).or_default() += 1;
        if let Some(other) = public_keys.insert(claim.public_key, claim.key)
            && other != claim.key
        {
            broken.push(Broken::SharedPublicKey(other, claim.key));
        }
    }
    broken.extend(
        claims_of
            .into_iter()
            .filter(|(_, n)| *n > 2)
            .map(|(uid, _)| Broken::TooManyClaims(uid)),
    );
    for key in world.keys() {
        let shown = key.status.shown.addresses;
        let backed = world.claims_of(&key).any(|c| !c.released && c.addresses == shown);
        if !shown.is_empty() && !backed {
            broken.push(Broken::UnbackedStatus(key.uid));
        }
    }
    broken
}
