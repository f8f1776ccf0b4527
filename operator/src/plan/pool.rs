//! A pool's finalizer and status.

use std::time::Duration;

use culvert_crds::conditions::condition;
use culvert_crds::pool::IPPoolStatus;
use culvert_crds::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Plan, Step};
use crate::clock::Now;
use crate::world::{Pool, Target, World};

/// Counts change with every key, and a full pool with every release; they are written no more often than this.
const PAUSE: Duration = Duration::from_secs(5);

/// Plans what a pool needs.
pub fn plan(world: &World, pool: &Pool, now: Now, plan: &mut Plan) {
    let target = Target::Pool(pool.name.clone());
    let in_use = world.allocated(&pool.name) > 0;
    let guarded = !pool.deleting || in_use;
    if guarded != pool.guarded && !(pool.deleting && guarded) {
        let step = Step::GuardPool {
            name: pool.name.clone(),
            guarded,
        };
        plan.steps.push((target, step));
        return;
    }
    let status = status(world, pool, now);
    if status == pool.status {
        return;
    }
    let answered = pool.status.observed_generation == pool.generation && !pool.deleting;
    let next = pool.published + PAUSE;
    if answered && now.mono < next {
        plan.wakes.push((next, target));
        return;
    }
    let step = Step::PublishPool {
        name: pool.name.clone(),
        uid: pool.uid,
        resource_version: pool.resource_version,
        event: event(&pool.status, &status),
        status: Box::new(status),
    };
    plan.steps.push((target, step));
}

/// What a person should hear of: what keeps the pool from serving new keys.
fn event(previous: &IPPoolStatus, status: &IPPoolStatus) -> Option<Reason> {
    let quiet = [Reason::Ready, Reason::NoGateway];
    let ready = |status: &IPPoolStatus| {
        let found = status
            .conditions
            .iter()
            .find(|c| c.type_ == ConditionType::Ready.as_str())?;
        Reason::ALL.iter().copied().find(|r| r.as_str() == found.reason)
    };
    ready(status).filter(|reason| Some(*reason) != ready(previous) && !quiet.contains(reason))
}

fn status(world: &World, pool: &Pool, now: Now) -> IPPoolStatus {
    let all = world.nodes_of_pool(&pool.name).count();
    let serving = world.serving(&pool.name, now.mono).count();
    let allocated = world.allocated(&pool.name);
    let available = pool.available();
    let accepted = match pool.refused {
        _ if pool.ranges.is_none() => Err(Reason::InvalidSpec),
        Some(reason) => Err(reason),
        None => Ok(()),
    };
    let ready = if accepted.is_err() {
        accepted
    } else if pool.deleting {
        Err(Reason::PoolInUse)
    } else if available == 0 {
        Err(Reason::PoolExhausted)
    } else if serving == 0 {
        Err(Reason::NoGateway)
    } else {
        Ok(())
    };
    let time = Time(now.wall);
    let mark = |kind, result: Result<(), Reason>, positive| {
        let reason = result.err().unwrap_or(positive);
        condition(
            kind,
            result.is_ok(),
            reason,
            pool.generation,
            &time,
            &pool.status.conditions,
        )
    };
    IPPoolStatus {
        observed_generation: pool.generation,
        capacity: Some(pool.capacity()),
        allocated: Some(allocated),
        gateways: Some(format!("{serving}/{all}")),
        conditions: vec![
            mark(ConditionType::Accepted, accepted, Reason::Accepted),
            mark(ConditionType::Ready, ready, Reason::Ready),
        ],
    }
}
