//! The proxy's standing faults, and a control plane that forgets: the harness of the tests that stand on them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Chance, ControlPlane, FaultProxy, Mishap, kubeconfig};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};

const SOON: Duration = Duration::from_secs(30);

/// Long enough to tell silence from a slow answer.
const SILENT: Duration = Duration::from_secs(2);

fn named(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

/// Maps of the namespace, directly and through a proxy.
async fn maps(plane: &ControlPlane, namespace: &str) -> Result<(FaultProxy, Api<ConfigMap>, Api<ConfigMap>)> {
    let proxy = FaultProxy::start(plane.client().await?, &[]).await?;
    let client = kubeconfig::client(&proxy.kubeconfig()).await?;
    let direct = Api::namespaced(plane.client().await?, namespace);
    Ok((proxy, Api::namespaced(client, namespace), direct))
}

type Events = std::pin::Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<ConfigMap>>>>>;

async fn watch(maps: &Api<ConfigMap>) -> Result<Events> {
    let version = maps.list(&ListParams::default()).await?.metadata.resource_version;
    let version = version.context("no version")?;
    Ok(Box::pin(
        maps.watch(&WatchParams::default().timeout(60), &version).await?,
    ))
}

/// The name in the next event; none when there is none for a while.
async fn next(events: &mut Events, within: Duration) -> Result<Option<String>> {
    match tokio::time::timeout(within, events.next()).await {
        Err(_) => Ok(None),
        Ok(Some(Ok(WatchEvent::Added(map)))) => Ok(map.metadata.name),
        Ok(other) => anyhow::bail!("the watch said {other:?}"),
    }
}

#[tokio::test]
async fn proxy_silences_open_watches_only() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let (proxy, through, direct) = maps(plane, "kube-public").await?;
    let mut old = watch(&through).await?;
    direct.create(&PostParams::default(), &named("seen")).await?;
    ensure!(next(&mut old, SOON).await?.as_deref() == Some("seen"));
    proxy.stall_watches();
    let mut new = watch(&through).await?;
    direct.create(&PostParams::default(), &named("missed")).await?;
    ensure!(next(&mut new, SOON).await?.as_deref() == Some("missed"));
    ensure!(
        next(&mut old, SILENT).await?.is_none(),
        "a silenced watch spoke, or was closed"
    );
    Ok(())
}

#[tokio::test]
async fn proxy_swallows_everything_until_healed() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let (proxy, through, direct) = maps(plane, "kube-system").await?;
    let mut events = watch(&through).await?;
    proxy.black_hole();
    let pending = tokio::spawn({
        let through = through.clone();
        async move { through.create(&PostParams::default(), &named("held")).await }
    });
    direct.create(&PostParams::default(), &named("unseen")).await?;
    ensure!(
        next(&mut events, SILENT).await?.is_none(),
        "a watch spoke out of the hole"
    );
    ensure!(!pending.is_finished(), "a write came back out of the hole");
    ensure!(
        direct.get_opt("held").await?.is_none(),
        "a write went through the hole"
    );
    proxy.heal();
    ensure!(next(&mut events, SOON).await?.as_deref() == Some("unseen"));
    pending.await??;
    Ok(())
}

#[tokio::test]
async fn proxy_strikes_writes_by_chance() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let (proxy, through, direct) = maps(plane, "kube-node-lease").await?;
    proxy.expose(Chance::new(1, 0.5, &Mishap::ALL));
    let (mut well, mut failed) = (0, 0);
    for n in 0..60 {
        match through
            .create(&PostParams::default(), &named(&format!("chance-{n}")))
            .await
        {
            Ok(_) => well += 1,
            Err(_) => failed += 1,
        }
    }
    let toll = proxy.toll();
    ensure!(
        toll.sum() == failed && well > 10 && failed > 10,
        "{well} well, {failed} failed: {toll}"
    );
    ensure!(proxy.written() == 60);
    // Those that were done and told of, and those whose reply was lost.
    let stored = direct.list(&ListParams::default()).await?.items;
    let stored = stored.iter().filter(|map| {
        map.metadata
            .name
            .as_deref()
            .is_some_and(|n| n.starts_with("chance"))
    });
    let stored = stored.count();
    ensure!(stored > well && stored < 60, "{stored} of {well} and some");
    proxy.calm();
    through.create(&PostParams::default(), &named("calm")).await?;
    Ok(())
}

#[tokio::test]
async fn harness_control_plane_goes_back_in_time() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await?, "default");
    maps.create(&PostParams::default(), &named("before")).await?;
    let snapshot = plane.snapshot().await?;
    maps.create(&PostParams::default(), &named("since")).await?;
    plane.compact().await?;
    for _ in 0..2 {
        plane.restore(&snapshot).await?;
        ensure!(
            maps.get_opt("before").await?.is_some(),
            "the snapshot lost an object"
        );
        ensure!(
            maps.get_opt("since").await?.is_none(),
            "the restore kept an object"
        );
    }
    Ok(())
}

/// Kubernetes' own advice for a restore: nobody's version lies in the future, and whoever watches is sent to list again.
#[tokio::test]
async fn harness_restore_with_raised_revisions_gives_no_version_twice() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await?, "default");
    let before = maps.create(&PostParams::default(), &named("before")).await?;
    let snapshot = plane.snapshot().await?;
    let since = maps.create(&PostParams::default(), &named("since")).await?;
    plane.restore_raised(&snapshot).await?;
    let list = maps.list(&ListParams::default()).await?;
    ensure!(
        list.iter()
            .all(|map| map.metadata.name.as_deref() != Some("since")),
        "the restore kept an object"
    );
    let found = maps.get("before").await?;
    ensure!(
        found.metadata.resource_version == before.metadata.resource_version,
        "the object itself got another version"
    );
    let version = since.metadata.resource_version.context("no version")?;
    let now: u64 = list.metadata.resource_version.context("no version")?.parse()?;
    ensure!(now > version.parse()?, "version {now} was given before");
    let events = maps.watch(&WatchParams::default().timeout(60), &version).await;
    let gone = match events {
        Err(kube::Error::Api(status)) => status.code == 410,
        Err(error) => return Err(error.into()),
        Ok(events) => matches!(
            std::pin::pin!(events).next().await,
            Some(Ok(WatchEvent::Error(status)) | Err(kube::Error::Api(status))) if status.code == 410
        ),
    };
    ensure!(gone, "a watch went on from a version of before the restore");
    Ok(())
}

/// What makes a restore dangerous to whoever watches on: the version that it has seen lies in the future now, and the
/// apiserver takes such a watch, answers it, and never says a word.
#[tokio::test]
async fn harness_watch_from_the_future_is_taken_and_silent() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await?, "default");
    let version = maps.list(&ListParams::default()).await?.metadata.resource_version;
    let version: u64 = version.context("no version")?.parse()?;
    let params = WatchParams::default().timeout(60);
    let ahead = (version + 1_000_000).to_string();
    let mut events: Events = Box::pin(maps.watch(&params, &ahead).await?);
    maps.create(&PostParams::default(), &named("unheard-of")).await?;
    ensure!(
        next(&mut events, SILENT).await?.is_none(),
        "a watch from the future spoke"
    );
    Ok(())
}
