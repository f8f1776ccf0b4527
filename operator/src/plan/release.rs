//! When a claim ends: released first, deleted when no gateway has it any more and it has cooled down.

use culvert_crds::Reason;

use super::{Plan, Step, verdict};
use crate::clock::Now;
use crate::world::{Claim, Key, Target, World};

/// The cooldown of claims whose pool is gone.
const COOLDOWN: std::time::Duration = std::time::Duration::from_secs(600);

/// Plans the end of a claim, if it has come.
pub fn plan(world: &World, claim: &Claim, now: Now, plan: &mut Plan) {
    let target = Target::Claim(claim.uid.clone());
    let step = if claim.released {
        delete(world, claim, now, plan)
    } else if let Some(key) = world.key(&claim.key.uid) {
        is_over(world, claim, key, now, plan).then(|| Step::ReleaseClaim(Box::new(claim.clone())))
    } else {
        // The claims' watch can run ahead of the keys': only a live read proves that the key is gone.
        (!world.knows_key(&claim.key.uid)).then(|| Step::ReleaseOrphan(Box::new(claim.clone())))
    };
    plan.steps.extend(step.map(|step| (target, step)));
}

fn delete(world: &World, claim: &Claim, now: Now, plan: &mut Plan) -> Option<Step> {
    let behind = world.serving(&claim.pool, now.mono).any(|node| {
        node.report
            .as_ref()
            .and_then(|r| r.applied)
            .is_none_or(|rv| rv < claim.resource_version)
    });
    if behind {
        // The node's next watermark, or its end, plans this claim again.
        return None;
    }
    let cooldown = world.pool(&claim.pool).map_or(COOLDOWN, |pool| pool.cooldown);
    let over = claim.since + cooldown;
    if now.mono < over {
        plan.wakes.push((over, Target::Claim(claim.uid.clone())));
        return None;
    }
    Some(Step::DeleteClaim {
        uid: claim.uid.clone(),
        name: claim.name.clone(),
        resource_version: claim.resource_version,
    })
}

/// Whether the key has no right to this claim any more.
fn is_over(world: &World, claim: &Claim, key: &Key, now: Now, plan: &mut Plan) -> bool {
    if key.deleting {
        return true;
    }
    match verdict::of(world, key, now) {
        Err(Reason::Suspended) => return true,
        // Said first, done afterwards: what was published is what remembers it.
        Err(Reason::Expired) => return key.status.is_expired(),
        Err(Reason::DuplicateKey | Reason::GatewayKey) if verdict::is_current(claim, key) => return true,
        _ => {}
    }
    let current = verdict::current_claim(world, key);
    if verdict::is_current(claim, key) {
        return current.is_some_and(|kept| kept.uid != claim.uid);
    }
    let Some(current) = current else { return false };
    let older = world
        .claims_of(&key.uid)
        .filter(|c| !c.released && !verdict::is_current(c, key));
    if older.last().is_some_and(|last| last.uid != claim.uid) {
        // Never more than one old peer.
        return true;
    }
    let overlap = world.pool(&key.pool).map(|pool| pool.overlap).unwrap_or_default();
    let Some(since) = current.programmed else {
        return false;
    };
    if now.mono >= since + overlap {
        return true;
    }
    plan.wakes
        .push((since + overlap, Target::Claim(claim.uid.clone())));
    false
}
