//! Whether a key has a right to addresses.

use std::time::Duration;

use culvert_crds::Reason;
use jiff::SignedDuration;

use super::Promised;
use crate::clock::Now;
use crate::world::{Claim, Key, World};

/// Ok when the key may hold addresses; otherwise why not.
pub fn of(world: &World, key: &Key, now: Now) -> Result<(), Reason> {
    of_itself(world, key, now)?;
    let Some(public_key) = &key.public_key else {
        return Err(Reason::InvalidKey);
    };
    match world.incumbent(public_key) {
        Some(holder) if holder != key.uid => return Err(Reason::DuplicateKey),
        Some(_) => {}
        None => {
            let first = world
                .keys_carrying(public_key)
                .find(|other| of_itself(world, other, now).is_ok());
            if first.is_some_and(|first| first.uid != key.uid) {
                return Err(Reason::DuplicateKey);
            }
        }
    }
    Ok(())
}

/// Whether the key's namespace may have one more, should it need one. Claims under way count.
pub fn quota(world: &World, key: &Key, promised: &Promised) -> Result<(), Reason> {
    let most = world.pool(&key.pool).and_then(|pool| pool.max_keys_per_namespace);
    let full = most
        .is_some_and(|most| held_by_others(world, key) + promised.held(&key.pool, &key.namespace) >= most);
    if full && current_claim(world, key).is_none() {
        Err(Reason::QuotaExceeded)
    } else {
        Ok(())
    }
}

/// The part that does not depend on who else carries the public key.
fn of_itself(world: &World, key: &Key, now: Now) -> Result<(), Reason> {
    if key.suspend || key.deleting {
        return Err(Reason::Suspended);
    }
    let public_key = key.public_key.ok_or(Reason::InvalidKey)?;
    if world.is_gateway_key(&public_key) {
        return Err(Reason::GatewayKey);
    }
    if is_expired(world, key, now) {
        return Err(Reason::Expired);
    }
    let pool = world.pool(&key.pool).ok_or(Reason::PoolNotFound)?;
    if pool.ranges.is_none() {
        return Err(Reason::InvalidSpec);
    }
    let holds = current_claim(world, key).is_some();
    let allowed = pool.allowed_namespaces.is_empty() || pool.allowed_namespaces.contains(&key.namespace);
    // Who holds addresses keeps them: a pool that is narrowed cuts nobody off.
    if !holds && !allowed {
        return Err(Reason::NamespaceNotAllowed);
    }
    if !holds && pool.deleting {
        return Err(Reason::PoolNotFound);
    }
    Ok(())
}

/// Claims of the key's namespace that are not the key's own: what it rotates away from does not count.
fn held_by_others(world: &World, key: &Key) -> u32 {
    let own = world
        .claims_of(&key.uid)
        .filter(|claim| !claim.released && claim.pool == key.pool)
        .count();
    world
        .held(&key.pool, &key.namespace)
        .saturating_sub(u32::try_from(own).unwrap_or(u32::MAX))
}

/// The claim for the key's present public key, address generation and pool: the oldest, should there be more.
pub fn current_claim<'a>(world: &'a World, key: &'a Key) -> Option<&'a Claim> {
    world
        .claims_of(&key.uid)
        .find(|claim| !claim.released && is_current(claim, key))
}

/// Whether the claim is for what the key asks at present.
pub fn is_current(claim: &Claim, key: &Key) -> bool {
    Some(claim.public_key) == key.public_key
        && claim.address_generation == key.address_generation
        && claim.pool == key.pool
}

/// When the claim's time is over, seconds since the epoch; `None` when nothing limits it.
pub fn expiry(world: &World, key: &Key, claim: &Claim) -> Option<i64> {
    let policy = world.pool(&key.pool).and_then(|pool| pool.max_age);
    let limit: Duration = key.expire_after.into_iter().chain(policy).min()?;
    Some(
        claim
            .created
            .saturating_add(i64::try_from(limit.as_secs()).unwrap_or(i64::MAX)),
    )
}

/// Whether the time of the key's present public key is over: by its claim while there is one, later by what
/// was published, so that neither a restart nor the claim's deletion gives it a second life.
pub fn is_expired(world: &World, key: &Key, now: Now) -> bool {
    let over = |at: i64| at <= now.wall.as_second();
    match current_claim(world, key) {
        Some(claim) => expiry(world, key, claim).is_some_and(over),
        None => {
            key.status.is_expired()
                && key.status.public_key == key.public_key
                && key.status.address_generation == Some(key.address_generation)
        }
    }
}

/// The monotonic time at which the wall clock will show `at`.
pub fn when(at: i64, now: Now) -> Duration {
    let left = SignedDuration::from_secs(at.saturating_sub(now.wall.as_second()).max(0).saturating_add(1));
    now.mono.saturating_add(left.unsigned_abs())
}
