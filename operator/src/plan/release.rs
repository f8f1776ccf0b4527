//! When a claim ends: released first, deleted when no gateway has it any more and it has cooled down.

use std::collections::HashMap;
use std::time::Duration;

use culvert_crds::Reason;

use super::{MANY_ORPHANS, Plan, Step, Subject, verdict};
use crate::clock::Now;
use crate::world::status::seconds;
use crate::world::{ClaimView, KeyView, LISTED, Target, World};

/// The cooldown of claims whose pool is gone.
const COOLDOWN: Duration = Duration::from_secs(600);

/// When a claim that has just been seen is old enough for a list.
const SOON: Duration = Duration::from_millis(50);

/// What is left to do about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// To prove that its key is gone.
    Prove,
}

/// Plans the end of a claim, if it has come.
pub fn plan(world: &World, claim: &ClaimView<'_>, now: Now, plan: &mut Plan) -> Next {
    let release = |key_version| Step::ReleaseClaim {
        claim: Box::new(claim.to_claim()),
        key_version,
    };
    let step = if claim.released {
        delete(world, claim, now, plan)
    } else if let Some(key) = world.key_of(claim) {
        is_over(world, claim, key, now, plan).then(|| release(Some(key.resource_version)))
    } else if world.knows_key(&claim.key) {
        // It is there and cannot be read.
        None
    } else if world.is_proven_orphan(claim) {
        Some(release(None))
    } else {
        return Next::Prove;
    };
    plan.steps
        .extend(step.map(|step| (Target::Claim(claim.uid), step)));
    Next::Nothing
}

/// Plans the live reads that prove keys gone: one a claim, or one list for many claims of a namespace.
pub fn plan_orphans(world: &World, orphans: Vec<ClaimView<'_>>, now: Now, plan: &mut Plan) {
    let mut by_namespace: HashMap<&str, Vec<ClaimView<'_>>> = HashMap::new();
    for claim in orphans {
        by_namespace.entry(claim.key_namespace).or_default().push(claim);
    }
    for (namespace, orphans) in by_namespace {
        if orphans.len() < MANY_ORPHANS {
            let read = |claim: &ClaimView<'_>| {
                let step = Step::ReleaseOrphan(Box::new(claim.to_claim()));
                (Target::Claim(claim.uid), step)
            };
            plan.steps.extend(orphans.iter().map(read));
            continue;
        }
        if world.is_proving(namespace) {
            // Its end plans them again.
            let later = |claim: &ClaimView<'_>| (now.mono + LISTED, Target::Claim(claim.uid));
            plan.wakes.extend(orphans.iter().map(later));
            continue;
        }
        // A list speaks of what was seen before it was asked for.
        let (seen, new): (Vec<_>, Vec<_>) = orphans.iter().partition(|claim| claim.since < now.mono);
        let later = |claim: &ClaimView<'_>| (claim.since + SOON, Target::Claim(claim.uid));
        plan.wakes.extend(new.into_iter().map(later));
        let mut orphans = seen.into_iter().map(|claim| Target::Claim(claim.uid));
        let list = Step::ProveGone {
            namespace: namespace.to_owned(),
            asked: now.mono,
        };
        plan.steps.extend(orphans.next().map(|first| (first, list)));
        // The list itself plans them again; this is for one that fails.
        plan.wakes.extend(orphans.map(|claim| (now.mono + LISTED, claim)));
    }
}

fn delete(world: &World, claim: &ClaimView<'_>, now: Now, plan: &mut Plan) -> Option<Step> {
    let behind = world.serving(claim.pool, now.mono).any(|node| {
        node.report
            .as_ref()
            .and_then(|r| r.applied)
            .is_none_or(|rv| rv < claim.resource_version)
    });
    if behind {
        // The node's next watermark, or its end, plans this claim again.
        return None;
    }
    let cooldown = world.pool(claim.pool).map_or(COOLDOWN, |pool| pool.cooldown);
    let over = claim.since + cooldown;
    if now.mono < over {
        plan.wakes.push((over, Target::Claim(claim.uid)));
        return None;
    }
    Some(Step::DeleteClaim {
        uid: claim.uid,
        addresses: claim.addresses,
        resource_version: claim.resource_version,
    })
}

/// Whether the key has no right to this claim any more.
fn is_over(world: &World, claim: &ClaimView<'_>, key: KeyView<'_>, now: Now, plan: &mut Plan) -> bool {
    if key.deleting {
        return true;
    }
    // What it would have to give way to may be gone already.
    if world.is_ahead(&claim.uid) {
        return false;
    }
    let subject = Subject::of(world, key);
    let is_current = verdict::is_current(claim, &key);
    match verdict::of(world, &subject, now) {
        Err(Reason::Suspended) => return true,
        // Said first, done afterwards: what was published is what remembers it.
        Err(Reason::Expired) => return key.status.is_expired(),
        Err(Reason::DuplicateKey) if is_current => return true,
        _ => {}
    }
    if is_current {
        return subject.current.is_some_and(|kept| kept.uid != claim.uid);
    }
    // What it rotates away from has an age of its own: a key that gets nothing new must not keep the old for ever.
    if let Some(end) = verdict::end_of(world, &key, claim) {
        if end <= seconds(now.wall) {
            return true;
        }
        plan.wakes
            .push((verdict::when(end, now), Target::Claim(claim.uid)));
    }
    if subject.old.is_some_and(|old| old.uid != claim.uid) {
        // Never more than one old peer, also while its successor waits for an address: it may be this one.
        return true;
    }
    let Some(current) = subject.current else {
        return false;
    };
    let overlap = subject.pool.map(|pool| pool.overlap).unwrap_or_default();
    let Some(since) = current.programmed else {
        return false;
    };
    if now.mono >= since + overlap {
        return true;
    }
    plan.wakes.push((since + overlap, Target::Claim(claim.uid)));
    false
}
