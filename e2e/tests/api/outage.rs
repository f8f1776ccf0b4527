//! The apiserver goes, forgets, or falls silent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait;
use kube::{
    Api as Kind,
    api::{DynamicObject, WatchEvent, WatchParams},
};

use crate::{
    allocator::{Allocator, cluster},
    churn::Churn,
    fixture::{Api, quick_pool},
    invariants::{nobody_writes, published, settle},
    load::{Load, fresh_key, keys_of},
    scale::{scale, seed},
};

/// Within this a watch that has gone silent is given up, and what it missed is made good.
const STALL: Duration = Duration::from_secs(90);

/// How many keys there are before anything goes wrong.
const KEYS: u32 = 40;

async fn settled_keys(api: &Api, load: &Load) -> Result<()> {
    api.apply(&quick_pool()).await?;
    load.create_all((0..KEYS).map(|n| (format!("key-{n}"), fresh_key(n))))
        .await?;
    settle(load, &format!("{KEYS} keys"), false).await.map(drop)
}

/// What every key shows, to be compared later.
async fn shown(load: &Load) -> Result<Vec<(String, Vec<String>)>> {
    let keys = load.keys().await?;
    let shown = keys.iter().map(|key| {
        let name = key["metadata"]["name"].as_str().unwrap_or_default();
        (
            name.to_owned(),
            published(key).into_iter().map(str::to_owned).collect(),
        )
    });
    Ok(shown.collect())
}

/// Those who were there and did nothing keep their addresses.
async fn kept(load: &Load, before: &[(String, Vec<String>)], changed: &[&str]) -> Result<()> {
    let now = shown(load).await?;
    for one in before
        .iter()
        .filter(|(name, _)| !changed.contains(&name.as_str()))
    {
        ensure!(now.contains(one), "{} has other addresses", one.0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_of_a_killed_apiserver_under_load_loses_nothing() -> Result<()> {
    let (api, load) = cluster().await?;
    // Not through a proxy: what the operator sees is a port that nobody listens on.
    let _operator = api.operator(&api.plane.kubeconfig())?;
    settled_keys(&api, &load).await?;
    let before = shown(&load).await?;
    let mut churn = Churn::new(seed(), 1_000_000, 60);
    let mut moments = Churn::new(seed() ^ 1, 0, 0);
    let changes = 40;
    for _ in 0..scale().outages {
        let pause = Duration::from_millis(u64::try_from(moments.below(400))?);
        let outage = async {
            wait::pass(pause).await;
            api.plane.kill_apiserver()?;
            api.plane.start_apiserver().await
        };
        let (worked, outage) = futures::join!(churn.run(&load, changes), outage);
        outage?;
        worked?;
    }
    let what = format!(
        "{} killed apiservers and {} changes",
        scale().outages,
        changes * scale().outages
    );
    settle(&load, &what, false).await?;
    kept(&load, &before, &[]).await?;
    nobody_writes(&load, &[]).await
}

/// What happens while nobody looks: keys come, rotate and go.
async fn meanwhile(load: &Load) -> Result<[&'static str; 2]> {
    load.create("late", &fresh_key(KEYS)).await?;
    load.rotate("key-1", &fresh_key(KEYS + 1)).await?;
    load.delete("key-2").await?;
    Ok(["key-1", "key-2"])
}

#[tokio::test]
async fn outage_of_an_operator_during_a_compaction_loses_nothing() -> Result<()> {
    let (api, load) = cluster().await?;
    let mut allocator = Allocator::start(&api).await?;
    settled_keys(&api, &load).await?;
    let before = shown(&load).await?;
    allocator.kill()?;
    let changed = meanwhile(&load).await?;
    api.plane.compact().await?;
    allocator.restart()?;
    settle(&load, "a compaction without an operator", false).await?;
    kept(&load, &before, &changed).await?;
    nobody_writes(&load, &[&allocator.proxy]).await
}

/// Whether a watch from this version is told that it is gone.
async fn is_gone(api: &Api, version: &str) -> Result<bool> {
    let keys: Kind<DynamicObject> = keys_of(api.plane.client().await?);
    let mut events = match keys.watch(&WatchParams::default().timeout(5), version).await {
        Ok(events) => std::pin::pin!(events),
        Err(kube::Error::Api(status)) => return Ok(status.code == 410),
        Err(error) => return Err(error.into()),
    };
    match futures::StreamExt::next(&mut events).await {
        Some(Ok(WatchEvent::Error(status)) | Err(kube::Error::Api(status))) => Ok(status.code == 410),
        other => anyhow::bail!("the watch said {other:?}"),
    }
}

#[tokio::test]
async fn outage_of_the_way_to_an_apiserver_that_forgets_loses_nothing() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    settled_keys(&api, &load).await?;
    let before = shown(&load).await?;
    let version = load.version().await?;
    allocator.proxy.black_hole();
    let changed = meanwhile(&load).await?;
    api.plane.compact().await?;
    // The apiserver remembers events by itself; a new one does not.
    api.plane.kill_apiserver()?;
    api.plane.start_apiserver().await?;
    wait::until("the versions to be gone", scale().settle, || async {
        Ok(is_gone(&api, &version).await?.then_some(()))
    })
    .await?;
    allocator.proxy.heal();
    settle(&load, "a compaction behind a black hole", false).await?;
    kept(&load, &before, &changed).await?;
    nobody_writes(&load, &[&allocator.proxy]).await
}

#[tokio::test]
async fn outage_of_a_silent_watch_ends_within_90_s() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    settled_keys(&api, &load).await?;
    allocator.proxy.stall_watches();
    let watch = wait::Stopwatch::start();
    load.create("late", &fresh_key(KEYS)).await?;
    wait::until("addresses in spite of a silent watch", STALL, || async {
        let key = load.key("late").await?;
        Ok((!published(&key).is_empty()).then_some(()))
    })
    .await?;
    println!(
        "served {:.1} s after the watches went silent",
        watch.elapsed().as_secs_f32()
    );
    settle(&load, "silent watches", false).await?;
    nobody_writes(&load, &[&allocator.proxy])
        .await
        .context("after silent watches")
}
