//! A pool's finalizer and status.

use std::time::Duration;

use culvert_crds::conditions::condition;
use culvert_crds::pool::IPPoolStatus;
use culvert_crds::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Plan, Step};
use crate::clock::Now;
use crate::world::{Pool, Target, World};

/// Counts change with every key; they are written no more often than this.
const COUNTS_EVERY: Duration = Duration::from_secs(5);

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
    let counts_only = IPPoolStatus {
        allocated: None,
        ..status.clone()
    } == IPPoolStatus {
        allocated: None,
        ..pool.status.clone()
    };
    let next = pool.published + COUNTS_EVERY;
    if counts_only && now.mono < next {
        plan.wakes.push((next, target));
        return;
    }
    let step = Step::PublishPool {
        name: pool.name.clone(),
        resource_version: pool.resource_version,
        status: Box::new(status),
    };
    plan.steps.push((target, step));
}

fn status(world: &World, pool: &Pool, now: Now) -> IPPoolStatus {
    let (mut serving, mut all) = (0, 0);
    for node in world.nodes_of_pool(&pool.name) {
        all += 1;
        serving += usize::from(node.serves(now.mono));
    }
    let allocated = world.allocated(&pool.name);
    let available = pool.available();
    let accepted = if pool.ranges.is_some() {
        Ok(())
    } else {
        Err(Reason::InvalidSpec)
    };
    let ready = if accepted.is_err() {
        accepted
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
        capacity: Some(available.saturating_add(allocated)),
        allocated: Some(allocated),
        gateways: Some(format!("{serving}/{all}")),
        conditions: vec![
            mark(ConditionType::Accepted, accepted, Reason::Accepted),
            mark(ConditionType::Ready, ready, Reason::Ready),
        ],
    }
}
