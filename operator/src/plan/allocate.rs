//! Which addresses a key gets.

use std::net::IpAddr;

use rand::Rng;

use super::{NewClaim, Promised, Subject};
use crate::world::World;

/// A claim for a key that has none; `None` when its pool has no free address.
///
/// A key whose status shows addresses for its present public key gets those, if they are still free:
/// after a restore of etcd from a backup, users keep what their configurations say. Before that comes what may have been
/// claimed for it a moment ago, without an answer.
pub fn claim(
    world: &World,
    subject: &Subject<'_>,
    promised: &Promised,
    rng: &mut impl Rng,
) -> Option<NewClaim> {
    let (key, pool) = (&subject.key, subject.pool?);
    let public_key = key.public_key?;
    let elsewhere = |address: IpAddr| promised.has(address) || world.holds_v6(address);
    let shown = &key.status.shown;
    let doubted = promised
        .doubted(key)
        .filter(|doubted| pool.could_give(*doubted, elsewhere));
    let earlier = (shown.public_key == Some(public_key)
        && shown.address_generation == Some(key.address_generation)
        && pool.could_give(shown.addresses, elsewhere))
    .then_some(shown.addresses);
    let addresses = match doubted.or(earlier) {
        Some(addresses) => addresses,
        None => pool.draw(rng, elsewhere)?,
    };
    Some(NewClaim {
        key: key.uid,
        namespace: key.namespace.clone(),
        name: key.name.to_owned(),
        public_key,
        pool: key.pool.clone(),
        addresses,
        address_generation: key.address_generation,
    })
}
