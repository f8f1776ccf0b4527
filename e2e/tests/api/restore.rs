//! etcd comes back as it was some time ago.

use anyhow::{Context, Result, ensure};
use culvert_e2e::wait;
use std::{collections::BTreeMap, time::Duration};

use crate::{
    allocator::{Allocator, cluster},
    churn::Churn,
    fixture::{Api, SOON, quick_pool},
    invariants::{nobody_writes, published, reason, settle},
    load::{Load, fresh_key},
    scale::{scale, seed},
};

/// Keys of before the snapshot that nothing else touches.
const KEYS: u32 = 40;

/// A control plane with an operator, keys of which some have rotated, and users who go on.
async fn begin(api: &Api, load: &Load) -> Result<Churn> {
    api.apply(&quick_pool()).await?;
    load.create_all((0..KEYS).map(|n| (format!("key-{n}"), fresh_key(n))))
        .await?;
    let mut churn = Churn::new(seed(), 1_000_000, 60).all_different();
    churn.run(load, 40).await?;
    settle(load, "the time before the snapshot", false).await?;
    Ok(churn)
}

/// What a restore is going to undo.
async fn go_on_until_settled(churn: &mut Churn, load: &Load) -> Result<()> {
    // The operator is back from the snapshot's outage, too: it is to see each of the changes.
    churn.run(load, 1).await?;
    settle(load, "the snapshot", false).await?;
    let deletions = churn.run(load, scale().forgotten).await?;
    let what = format!("{} changes and {deletions} deletions", scale().forgotten);
    settle(load, &what, false).await.map(drop)
}

/// Each kind of difference that a restore can make to a key that the operator knows.
async fn differ(load: &Load) -> Result<()> {
    load.delete("key-0").await?;
    load.rotate("key-1", &fresh_key(KEYS)).await?;
    load.rotate("key-1", &fresh_key(KEYS + 1)).await?;
    load.create("forgotten", &fresh_key(KEYS + 2)).await?;
    settle(load, "the last changes", false).await.map(drop)
}

/// What each key shows, by name.
async fn shown(load: &Load) -> Result<BTreeMap<String, Vec<String>>> {
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

/// What a key showed when it came back, it still shows; and whoever comes now is served.
async fn goes_on(load: &Load, restored: &BTreeMap<String, Vec<String>>) -> Result<()> {
    for n in 0..10 {
        load.create(&format!("new-{n}"), &fresh_key(2_000_000 + n))
            .await?;
    }
    settle(load, "the restore and 10 new keys", false).await?;
    let now = shown(load).await?;
    for (name, addresses) in restored.iter().filter(|(_, addresses)| !addresses.is_empty()) {
        ensure!(
            now.get(name) == Some(addresses),
            "{name} does not show what it showed"
        );
    }
    println!("{} keys show what they showed", restored.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_of_an_older_snapshot_keeps_what_statuses_show() -> Result<()> {
    let (api, load) = cluster().await?;
    let mut allocator = Allocator::start(&api).await?;
    let mut churn = begin(&api, &load).await?;
    let snapshot = api.plane.snapshot().await?;
    go_on_until_settled(&mut churn, &load).await?;
    allocator.kill()?;
    api.plane.restore(&snapshot).await?;
    let restored = shown(&load).await?;
    allocator.restart()?;
    goes_on(&load, &restored).await?;
    // A backup of the users' objects alone: what a status shows is all that is left of its claim.
    allocator.kill()?;
    let restored = shown(&load).await?;
    for peer in load.peers().await? {
        load.delete_peer(peer["metadata"]["name"].as_str().context("a peer has no name")?)
            .await?;
    }
    allocator.restart()?;
    settle(&load, "the loss of every peer", false).await?;
    ensure!(
        shown(&load).await? == restored,
        "a key got other addresses than its status showed"
    );
    nobody_writes(&load, &[&allocator.proxy]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_with_raised_revisions_keeps_what_statuses_show() -> Result<()> {
    let (api, load) = cluster().await?;
    let mut allocator = Allocator::start(&api).await?;
    let mut churn = begin(&api, &load).await?;
    let snapshot = api.plane.snapshot().await?;
    go_on_until_settled(&mut churn, &load).await?;
    allocator.kill()?;
    api.plane.restore_raised(&snapshot).await?;
    let restored = shown(&load).await?;
    allocator.restart()?;
    goes_on(&load, &restored).await?;
    nobody_writes(&load, &[&allocator.proxy]).await
}

/// Its watches go on from versions that lie in the future now, so the apiserver tells it nothing
/// (`harness_watch_from_the_future_is_taken_and_silent`); and of what one kind's new list says, it must not judge by
/// another kind's old state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_under_a_running_operator_is_noticed() -> Result<()> {
    let (api, load) = cluster().await?;
    let mut allocator = Allocator::start(&api).await?;
    let mut churn = begin(&api, &load).await?;
    let snapshot = api.plane.snapshot().await?;
    go_on_until_settled(&mut churn, &load).await?;
    differ(&load).await?;
    api.plane.restore(&snapshot).await?;
    let restored = shown(&load).await?;
    goes_on(&load, &restored).await?;
    allocator.ensure_running()?;
    nobody_writes(&load, &[&allocator.proxy]).await
}

/// Nothing that the operator has seen lies in the future then: its watches are told that their place is gone, and the
/// new lists are newer than all it knows. Only objects that are older than they were say that this is another history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_with_raised_revisions_under_a_running_operator_is_noticed() -> Result<()> {
    let (api, load) = cluster().await?;
    let mut allocator = Allocator::start(&api).await?;
    let mut churn = begin(&api, &load).await?;
    let snapshot = api.plane.snapshot().await?;
    go_on_until_settled(&mut churn, &load).await?;
    differ(&load).await?;
    api.plane.restore_raised(&snapshot).await?;
    let restored = shown(&load).await?;
    goes_on(&load, &restored).await?;
    allocator.ensure_running()?;
    nobody_writes(&load, &[&allocator.proxy]).await?;
    ensure!(
        allocator.output()?.contains("history has gone back"),
        "it was not noticed"
    );
    Ok(())
}

/// What has gone since comes back under uids that the operator has seen go, and what has come since is no more: no key
/// or claim of the snapshot is older than the operator knows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_with_raised_revisions_of_deleted_keys_brings_back_their_addresses() -> Result<()> {
    let (api, load) = cluster().await?;
    let mut allocator = Allocator::start(&api).await?;
    begin(&api, &load).await?;
    let snapshot = api.plane.snapshot().await?;
    load.create("since", &fresh_key(KEYS)).await?;
    for n in 0..KEYS / 2 {
        load.delete(&format!("key-{n}")).await?;
    }
    settle(&load, "one key more and half of the others gone", false).await?;
    api.plane.restore_raised(&snapshot).await?;
    let restored = shown(&load).await?;
    goes_on(&load, &restored).await?;
    allocator.ensure_running()?;
    nobody_writes(&load, &[&allocator.proxy]).await
}

#[tokio::test]
async fn restore_without_peers_leaves_a_shared_public_key_to_who_shows_addresses() -> Result<()> {
    let (api, load) = cluster().await?;
    let mut allocator = Allocator::start(&api).await?;
    api.apply(&quick_pool()).await?;
    // The older key is the one that comes second: by age alone it would win.
    load.create("squatter", &fresh_key(1)).await?;
    wait::pass(Duration::from_secs(2)).await;
    load.create("owner", &fresh_key(2)).await?;
    settle(&load, "two keys", false).await?;
    load.rotate("squatter", &fresh_key(2)).await?;
    wait::until("the refusal", SOON, || async {
        Ok((reason(&load.key("squatter").await?) == "DuplicateKey").then_some(()))
    })
    .await?;
    let before = shown(&load).await?;
    allocator.kill()?;
    for peer in load.peers().await? {
        load.delete_peer(peer["metadata"]["name"].as_str().context("a peer has no name")?)
            .await?;
    }
    allocator.restart()?;
    settle(&load, "the loss of every peer", false).await?;
    ensure!(
        shown(&load).await? == before,
        "the owner lost its addresses to a squatter"
    );
    nobody_writes(&load, &[&allocator.proxy]).await
}
