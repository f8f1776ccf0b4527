//! Allocators that fail and are killed at random, two at a time and without an election.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Chance, Mishap, wait};
use serde_json::{Value, json};

use crate::{
    allocator::{Allocator, cluster},
    churn::Churn,
    fixture::{SOON, quick_pool},
    invariants::{no_address_twice, nobody_writes, settle},
    load::{Load, fresh_key},
    scale::{scale, seed},
};

/// How many of a hundred writes fail in some way.
const FAULTS: f64 = 0.2;

/// How long a moment for a kill is waited for.
const MOMENT: Duration = Duration::from_secs(2);

/// A pool of the given IPv4 range whose released addresses are free again at once.
fn crowded_pool() -> Value {
    let mut pool = quick_pool();
    pool["spec"]["ipv4"] = json!({ "cidr": scale().crowded });
    pool
}

/// How many keys the pool can serve, as its status says.
async fn capacity(load: &Load) -> Result<usize> {
    wait::until("the pool's capacity", SOON, || async {
        let pools = load.pools().await?;
        let capacity = pools.first().and_then(|pool| pool["status"]["capacity"].as_u64());
        Ok(capacity.map(usize::try_from).transpose()?)
    })
    .await
}

/// Fills the pool but for the `room` that is left to the churn, and for one address in a hundred.
async fn fill(load: &Load, room: usize) -> Result<usize> {
    let capacity = capacity(load).await?;
    let filled = capacity - capacity.div_ceil(100) - room;
    let keys = (0..filled).map(|n| {
        (
            format!("resident-{n}"),
            fresh_key(u32::MAX - u32::try_from(n).unwrap_or(0)),
        )
    });
    load.create_all(keys).await?;
    settle(load, "filling the pool", false).await?;
    Ok(filled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_of_two_allocators_killed_at_random_gives_no_address_twice() -> Result<()> {
    let scale = scale();
    let (api, load) = cluster().await?;
    let mut allocators = [Allocator::start(&api).await?, Allocator::start(&api).await?];
    api.apply(&crowded_pool()).await?;
    let room = 80;
    let filled = fill(&load, room).await?;
    let before = load.keys().await?;
    for (salt, allocator) in (1..).zip(&allocators) {
        allocator.expose(salt, FAULTS);
    }
    let mut churn = Churn::new(seed(), 0, room);
    let mut deletions = 0;
    let mut done = 0;
    for kill in 1..=scale.kills {
        let upto = scale.changes * kill / scale.kills;
        let (victim, writes, pause) = (churn.below(2), 1 + churn.below(60), churn.below(300));
        let victim = &mut allocators[victim];
        let target = victim.proxy.written() + writes;
        let proxy = &victim.proxy;
        let moment = wait::until("some writes", MOMENT, || async {
            Ok((proxy.written() >= target).then_some(()))
        });
        // One that has nothing to do is killed all the same.
        let (worked, _) = futures::join!(churn.run(&load, upto - done), moment);
        deletions += worked?;
        done = upto;
        victim.ensure_running()?;
        victim.kill()?;
        wait::pass(Duration::from_millis(u64::try_from(pause)?)).await;
        victim.restart()?;
        no_address_twice(&load.peers().await?).with_context(|| format!("after kill {kill}"))?;
    }
    for allocator in &mut allocators {
        allocator.calm();
        allocator.ensure_running()?;
    }
    let census = settle(&load, "the churn", false).await?;
    let capacity = capacity(&load).await?;
    println!(
        "{} mode, seed {}: {} kills, {done} creations and rotations, {deletions} deletions beside {filled} residents; \
         {} of {capacity} addresses in use; faults: {}; {}",
        scale.mode,
        seed(),
        scale.kills,
        census.peers,
        allocators[0].proxy.toll(),
        allocators[1].proxy.toll(),
    );
    ensure!(
        census.peers * 100 >= capacity * 90,
        "the pool was not full enough to prove anything"
    );
    // Who has not rotated keeps what was given.
    for key in before {
        let name = key["metadata"]["name"].as_str().context("a key has no name")?;
        let now = load.key(name).await?;
        ensure!(
            now["status"]["addresses"] == key["status"]["addresses"],
            "{name} has other addresses"
        );
    }
    nobody_writes(&load, &[&allocators[0].proxy, &allocators[1].proxy]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_of_one_public_key_leaves_exactly_one_holder() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocators = [Allocator::start(&api).await?, Allocator::start(&api).await?];
    api.apply(&quick_pool()).await?;
    for (salt, allocator) in (1..).zip(&allocators) {
        allocator.expose(salt, FAULTS);
    }
    let count = scale().alike;
    load.create_all((0..count).map(|n| (format!("alike-{n}"), fresh_key(1))))
        .await?;
    let mut left = count;
    // Each holder that goes makes room for exactly one.
    for _ in 0..4 {
        let census = settle(&load, &format!("{left} keys with one public key"), false).await?;
        ensure!(
            (census.served, census.duplicates, census.peers) == (1, left - 1, 1),
            "{census}"
        );
        let keys = load.keys().await?;
        let holder = keys
            .iter()
            .find(|key| !crate::invariants::published(key).is_empty());
        let holder = holder.and_then(|key| key["metadata"]["name"].as_str());
        load.delete(holder.context("nobody holds it")?).await?;
        left -= 1;
    }
    for allocator in &allocators {
        println!("faults: {}", allocator.proxy.toll());
        allocator.calm();
    }
    settle(&load, "the last promotion", false).await?;
    nobody_writes(&load, &[&allocators[0].proxy, &allocators[1].proxy]).await
}

#[tokio::test]
async fn soak_of_refused_writes_converges() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    let refusals = [Mishap::Answered(429), Mishap::Answered(500)];
    allocator.proxy.expose(Chance::new(seed(), 0.3, &refusals));
    api.apply(&quick_pool()).await?;
    let count = scale().refused;
    load.create_all((0..count).map(|n| (format!("refused-{n}"), fresh_key(u32::try_from(n).unwrap_or(0)))))
        .await?;
    settle(&load, &format!("{count} keys, every third write refused"), false).await?;
    let mut churn = Churn::new(seed(), 1_000_000, count);
    let deletions = churn.run(&load, count).await?;
    settle(
        &load,
        &format!("{count} changes and {deletions} deletions more"),
        false,
    )
    .await?;
    let toll = allocator.proxy.toll();
    println!("faults: {toll}");
    ensure!(
        toll.sum() >= count / 2,
        "too few writes were refused to prove anything: {toll}"
    );
    nobody_writes(&load, &[&allocator.proxy]).await
}
