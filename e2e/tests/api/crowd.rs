//! A full pool, and a namespace whose keys all go at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_e2e::wait;
use serde_json::json;

use crate::{
    allocator::{Allocator, cluster},
    fixture::{SOON, quick_pool},
    invariants::{nobody_writes, published, reason, settle},
    load::{Load, fresh_key},
    scale::scale,
};

/// Within this a waiting key is served once there is a free address.
const SERVED: Duration = Duration::from_secs(5);

async fn says(load: &Load, name: &str, wanted: &str) -> Result<()> {
    wait::until(&format!("{name} to say {wanted}"), SOON, || async {
        Ok((reason(&load.key(name).await?) == wanted).then_some(()))
    })
    .await
}

async fn served(load: &Load, name: &str) -> Result<Duration> {
    let watch = wait::Stopwatch::start();
    wait::until(&format!("addresses of {name}"), SERVED, || async {
        Ok((!published(&load.key(name).await?).is_empty()).then_some(()))
    })
    .await?;
    Ok(watch.elapsed())
}

#[tokio::test]
async fn crowd_in_a_full_pool_waits_without_a_write_and_is_served_soon() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    let mut pool = quick_pool();
    // 16 addresses, but for the network's, the gateway's and the broadcast one.
    pool["spec"]["ipv4"] = json!({ "cidr": "10.64.0.0/28" });
    api.apply(&pool).await?;
    load.create_all((0..13).map(|n| (format!("key-{n}"), fresh_key(n))))
        .await?;
    let census = settle(&load, "filling the pool", false).await?;
    ensure!(census.served == 13, "{census}");
    for n in 0..3 {
        load.create(&format!("late-{n}"), &fresh_key(100 + n)).await?;
        says(&load, &format!("late-{n}"), "PoolExhausted").await?;
    }
    let census = settle(&load, "three keys too many", true).await?;
    ensure!((census.served, census.waiting) == (13, 3), "{census}");
    nobody_writes(&load, &[&allocator.proxy]).await?;
    // All of them try for it: one gets it.
    let watch = wait::Stopwatch::start();
    load.delete("key-0").await?;
    wait::until("an address for one that waits", SERVED, || async {
        let keys = load.keys().await?;
        let late = keys.iter().filter(|key| {
            key["metadata"]["name"]
                .as_str()
                .is_some_and(|n| n.starts_with("late"))
        });
        Ok(late
            .into_iter()
            .any(|key| !published(key).is_empty())
            .then_some(()))
    })
    .await?;
    println!("served {:.2} s after the release", watch.elapsed().as_secs_f32());
    let census = settle(&load, "one release", true).await?;
    ensure!((census.served, census.waiting) == (13, 2), "{census}");
    Ok(())
}

#[tokio::test]
async fn crowd_in_a_full_pool_does_not_keep_two_old_addresses_of_one_key() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    let mut pool = quick_pool();
    pool["spec"]["ipv4"] = json!({ "cidr": "10.64.0.0/29" });
    api.apply(&pool).await?;
    load.create_all((0..4).map(|n| (format!("key-{n}"), fresh_key(n))))
        .await?;
    settle(&load, "four keys", false).await?;
    load.rotate("key-0", &fresh_key(10)).await?;
    let census = settle(&load, "filling the pool", false).await?;
    ensure!((census.served, census.old) == (4, 1), "{census}");
    // Its oldest address is nobody's any more, and the only one that can become free.
    load.rotate("key-0", &fresh_key(11)).await?;
    let census = settle(&load, "a rotation in a full pool", false).await?;
    ensure!((census.served, census.old) == (4, 1), "{census}");
    nobody_writes(&load, &[&allocator.proxy]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowd_of_keys_deleted_at_once_leaves_no_peer() -> Result<()> {
    let (api, load) = cluster().await?;
    let allocator = Allocator::start(&api).await?;
    api.apply(&quick_pool()).await?;
    let count = scale().crowd;
    load.create_all((0..count).map(|n| (format!("key-{n}"), fresh_key(u32::try_from(n).unwrap_or(0)))))
        .await?;
    settle(&load, &format!("{count} keys"), false).await?;
    let watch = wait::Stopwatch::start();
    load.delete_all().await?;
    let deleted = watch.elapsed();
    wait::until("every peer to go", scale().settle, || async {
        Ok(load.peers().await?.is_empty().then_some(()))
    })
    .await?;
    println!(
        "{count} keys were deleted in {:.1} s; the last peer went after {:.1} s",
        deleted.as_secs_f32(),
        watch.elapsed().as_secs_f32()
    );
    // The same names again are other keys.
    load.create("key-0", &fresh_key(0)).await?;
    println!(
        "a key made again was served after {:.2} s",
        served(&load, "key-0").await?.as_secs_f32()
    );
    nobody_writes(&load, &[&allocator.proxy]).await
}
