//! Which addresses a key gets.

use std::net::IpAddr;

use culvert_crds::peer::KeyRef;
use rand::Rng;

use super::{NewClaim, Promised};
use crate::world::{Key, World};

/// A claim for a key that has none; `None` when its pool has no free address.
///
/// A key whose status shows addresses for its present public key gets those, if they are still free:
/// after a restore of etcd from a backup, users keep what their configurations say.
pub fn claim(world: &World, key: &Key, promised: &Promised, rng: &mut impl Rng) -> Option<NewClaim> {
    let pool = world.pool(&key.pool)?;
    let public_key = key.public_key?;
    let is_promised = |address: IpAddr| promised.has(address);
    let published = &key.status;
    let earlier = (published.public_key == Some(public_key)
        && published.address_generation == Some(key.address_generation)
        && pool.could_give(&published.addresses, is_promised))
    .then(|| published.addresses.clone());
    let addresses = match earlier {
        Some(addresses) => addresses,
        None => pool.draw(rng, is_promised)?,
    };
    Some(NewClaim {
        key: KeyRef {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: key.uid.clone(),
        },
        public_key,
        pool: key.pool.clone(),
        addresses,
        address_generation: key.address_generation,
    })
}
