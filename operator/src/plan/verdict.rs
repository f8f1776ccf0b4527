//! Whether a key has a right to addresses.

use std::time::Duration;

use culvert_crds::Reason;
use culvert_wireguard::PublicKey;
use jiff::SignedDuration;

use super::{Promised, Subject};
use crate::clock::Now;
use crate::world::status::seconds;
use crate::world::{ClaimView, KeyView, Pool, Uid, World};

/// Ok when the key may hold addresses; otherwise why not.
pub fn of(world: &World, subject: &Subject<'_>, now: Now) -> Result<(), Reason> {
    of_itself(world, subject, now)?;
    let key = &subject.key;
    if world.is_undisputed(key, subject.current.is_some()) {
        return Ok(());
    }
    let Some(public_key) = &key.public_key else {
        return Err(Reason::InvalidKey);
    };
    let winner = world
        .incumbent(public_key)
        .or_else(|| heir(world, key.uid, public_key, now));
    if winner == Some(key.uid) {
        Ok(())
    } else {
        Err(Reason::DuplicateKey)
    }
}

/// Who may have a public key that no claim holds: the oldest key that carries it. One whose status shows addresses for it
/// comes first: it had it, and the claim was lost with a restore from a backup. `able` is a key that is known to be able.
fn heir(world: &World, able: Uid, public_key: &PublicKey, now: Now) -> Option<Uid> {
    let mut free = world
        .keys_carrying(public_key)
        .filter(|key| key.uid == able || of_itself(world, &Subject::of(world, *key), now).is_ok());
    let oldest = free.next()?;
    let had_it = |key: &KeyView<'_>| {
        let shown = &key.status.shown;
        !shown.addresses.is_empty() && shown.public_key == Some(*public_key)
    };
    let heir = std::iter::once(oldest).chain(free).find(had_it);
    Some(heir.unwrap_or(oldest).uid)
}

/// Whether the key's namespace may have one more of its pool. Claims under way count, and what the key itself rotates
/// away from does not. As many again may cool down: making and deleting keys in turn must not use up a pool.
pub fn share(world: &World, subject: &Subject<'_>, promised: &Promised) -> Result<(), Reason> {
    let Some(most) = subject.pool.and_then(|pool| pool.max_keys_per_namespace) else {
        return Ok(());
    };
    let key = &subject.key;
    let share = world.share(key.pool, key.namespace);
    let own = world
        .claims_of(key)
        .filter(|claim| !claim.released && claim.pool == &**key.pool)
        .count();
    let promised = promised.held(key.pool, key.namespace);
    let held = (share.held + promised).saturating_sub(u32::try_from(own).unwrap_or(u32::MAX));
    if held >= most {
        Err(Reason::QuotaExceeded)
    } else if share.cooling + held >= most.saturating_mul(2) {
        Err(Reason::RateLimited)
    } else {
        Ok(())
    }
}

/// The part that does not depend on who else carries the public key.
fn of_itself(world: &World, subject: &Subject<'_>, now: Now) -> Result<(), Reason> {
    let key = &subject.key;
    // A key whose time is over stays so while it is suspended: it would be forgotten otherwise.
    if key.deleting || key.suspend && !is_expired(world, subject, now) {
        return Err(Reason::Suspended);
    }
    let public_key = key.public_key.ok_or(Reason::InvalidKey)?;
    // Who holds it already keeps it: one node's report must not put a client off the others.
    if subject.current.is_none() && world.is_gateway_key(&public_key) {
        return Err(Reason::GatewayKey);
    }
    if is_expired(world, subject, now) {
        return Err(Reason::Expired);
    }
    let pool = subject.pool.ok_or(Reason::PoolNotFound)?;
    if pool.ranges.is_none() {
        return Err(Reason::InvalidSpec);
    }
    // Who holds addresses keeps them: a pool that is narrowed cuts nobody off.
    if subject.current.is_some() {
        return Ok(());
    }
    if !pool.allowed_namespaces.is_empty() && !pool.allowed_namespaces.iter().any(|n| **n == **key.namespace)
    {
        return Err(Reason::NamespaceNotAllowed);
    }
    if pool.deleting {
        return Err(Reason::PoolNotFound);
    }
    pool.refused.map_or(Ok(()), Err)
}

/// Whether the claim is for what the key asks at present.
pub fn is_current(claim: &ClaimView<'_>, key: &KeyView<'_>) -> bool {
    Some(claim.public_key) == key.public_key
        && claim.address_generation == key.address_generation
        && claim.pool == &**key.pool
}

/// When the claim's time is over, seconds since the epoch; `None` when nothing limits it.
pub fn expiry(world: &World, subject: &Subject<'_>, claim: &ClaimView<'_>) -> Option<u32> {
    Some(end(world, &subject.key, claim, lifetime(subject)?))
}

/// When the time of a claim is over that its key rotates away from, by the rules of the claim's own pool.
pub fn end_of(world: &World, key: &KeyView<'_>, claim: &ClaimView<'_>) -> Option<u32> {
    Some(end(world, key, claim, lifetime_in(world.pool(claim.pool), key)?))
}

fn end(world: &World, key: &KeyView<'_>, claim: &ClaimView<'_>, lifetime: Duration) -> u32 {
    after(
        began(world, key, &claim.public_key).unwrap_or(claim.created),
        lifetime,
    )
}

fn after(began: u32, lifetime: Duration) -> u32 {
    began.saturating_add(u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX))
}

/// When a public key of this key was first given addresses, seconds since the epoch. Neither other addresses nor a
/// suspension begin its time anew: it is the secret behind it that grows old.
pub fn began(world: &World, key: &KeyView<'_>, public_key: &PublicKey) -> Option<u32> {
    let claims = world
        .claims_of(key)
        .filter(|claim| claim.public_key == *public_key)
        .map(|claim| claim.created);
    let shown = &key.status.shown;
    let told = shown.since.filter(|_| shown.public_key == Some(*public_key));
    claims.chain(told).min()
}

/// How long a key may hold its addresses.
pub fn lifetime(subject: &Subject<'_>) -> Option<Duration> {
    lifetime_in(subject.pool, &subject.key)
}

fn lifetime_in(pool: Option<&Pool>, key: &KeyView<'_>) -> Option<Duration> {
    let policy = pool.and_then(|pool| pool.max_age);
    key.expire_after.into_iter().chain(policy).min()
}

/// Whether the time of the key's present public key is over: by its claim while there is one, later by what
/// was published, so that neither a restart nor the claim's deletion gives it a second life, nor anything in the spec but
/// another public key.
fn is_expired(world: &World, subject: &Subject<'_>, now: Now) -> bool {
    let key = &subject.key;
    let told =
        key.public_key.is_some() && key.status.is_expired() && key.status.shown.public_key == key.public_key;
    told && subject.current.is_none() || present_end(world, subject).is_some_and(|at| at <= seconds(now.wall))
}

/// When the time of the key's present public key is over, with a claim or without one.
pub fn present_end(world: &World, subject: &Subject<'_>) -> Option<u32> {
    let lifetime = lifetime(subject)?;
    let began = began(world, &subject.key, subject.key.public_key.as_ref()?)?;
    Some(after(began, lifetime))
}

/// The monotonic time at which the wall clock will show `at`.
pub fn when(at: u32, now: Now) -> Duration {
    let left = i64::from(at).saturating_sub(now.wall.as_second()).max(0);
    // The wall clock's whole seconds lie behind it, so this is never too early.
    let left = SignedDuration::from_secs(left);
    now.mono.saturating_add(left.unsigned_abs())
}
