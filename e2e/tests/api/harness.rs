//! The harness itself: an apiserver that answers, a proxy that fails where it is told to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{ControlPlane, Fault, FaultProxy, kubeconfig};
use http::StatusCode;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};

const SOON: Duration = Duration::from_secs(30);

fn named(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

fn default_maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

/// Whether the apiserver has an object, asked past any proxy.
async fn exists(plane: &ControlPlane, name: &str) -> Result<bool> {
    Ok(default_maps(plane.client().await?).get_opt(name).await?.is_some())
}

/// A proxy in front of the shared control plane, and a client that goes through it.
async fn proxied(plane: &ControlPlane) -> Result<(FaultProxy, Api<ConfigMap>)> {
    let proxy = FaultProxy::start(plane.client().await?, &["leases"]).await?;
    let client = kubeconfig::client(&proxy.kubeconfig()).await?;
    Ok((proxy, default_maps(client)))
}

#[tokio::test]
async fn harness_serves_a_fresh_apiserver() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespaces: Api<Namespace> = Api::all(plane.client().await?);
    let list = namespaces.list(&ListParams::default()).await?;
    ensure!(
        list.items
            .iter()
            .any(|namespace| namespace.metadata.name.as_deref() == Some("default"))
    );
    let output = plane.kubectl(&["get", "namespaces", "-o", "name"], None).await?;
    ensure!(
        output.status.success(),
        "kubectl said {}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        String::from_utf8(output.stdout)?
            .lines()
            .any(|line| line == "namespace/default")
    );
    Ok(())
}

#[tokio::test]
async fn harness_users_have_no_rights_but_those_given() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client_for("nobody-in-particular", None).await?;
    match default_maps(client).list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        other => anyhow::bail!("wanted a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn harness_apiserver_comes_back_with_its_data() -> Result<()> {
    let plane = ControlPlane::start().await?;
    default_maps(plane.client().await?)
        .create(&PostParams::default(), &named("kept"))
        .await?;
    plane.kill_apiserver()?;
    ensure!(
        exists(&plane, "kept").await.is_err(),
        "a killed apiserver answered"
    );
    plane.start_apiserver().await?;
    ensure!(exists(&plane, "kept").await?);
    plane.stop_apiserver().await?;
    plane.start_apiserver().await?;
    ensure!(exists(&plane, "kept").await?);
    let folder = plane.folder().to_owned();
    drop(plane);
    ensure!(
        !folder.exists() || culvert_e2e::scratch::keep(),
        "{} is still there",
        folder.display()
    );
    Ok(())
}

#[tokio::test]
async fn proxy_holds_the_nth_write() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    for (fault, second_is_done) in [(Fault::HoldBefore(2), false), (Fault::HoldAfter(2), true)] {
        let (proxy, maps) = proxied(plane).await?;
        let struck = proxy.arm(fault);
        maps.create(&PostParams::default(), &named("first")).await?;
        // Reads are no writes, and pass a proxy that holds one.
        ensure!(maps.get_opt("first").await?.is_some());
        let second = tokio::spawn({
            let maps = maps.clone();
            async move { maps.create(&PostParams::default(), &named("second")).await }
        });
        let call = struck.wait(SOON).await?;
        ensure!(
            (call.to_string().as_str(), call.write) == ("POST configmaps", Some(2)),
            "{call:?}"
        );
        ensure!(!second.is_finished(), "the held write got an answer");
        ensure!(exists(plane, "second").await? == second_is_done, "{fault:?}");
        ensure!(maps.get_opt("first").await?.is_some());
        // The program dies here.
        second.abort();
        ensure!(proxy.writes() == ["POST configmaps"; 2], "{:?}", proxy.writes());
        drop(proxy);
        let direct = default_maps(plane.client().await?);
        direct.delete("first", &DeleteParams::default()).await?;
        if second_is_done {
            direct.delete("second", &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn proxy_loses_replies_and_goes_on() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let (proxy, maps) = proxied(plane).await?;
    for (fault, name, is_done) in [
        (Fault::CutBefore(1), "cut-before", false),
        (Fault::CutAfter(1), "cut-after", true),
        (Fault::Answer(1, StatusCode::TOO_MANY_REQUESTS), "refused", false),
    ] {
        let struck = proxy.arm(fault);
        let error = maps
            .create(&PostParams::default(), &named(name))
            .await
            .err()
            .context("the write got through")?;
        struck.wait(SOON).await?;
        let refused = matches!(&error, kube::Error::Api(status) if status.code == 429);
        ensure!(
            refused == matches!(fault, Fault::Answer(..)),
            "{fault:?}: {error}"
        );
        ensure!(exists(plane, name).await? == is_done, "{fault:?}");
    }
    maps.delete("cut-after", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn proxy_streams_watches() -> Result<()> {
    use kube::api::{WatchEvent, WatchParams};
    let plane = ControlPlane::shared().await?;
    let (_proxy, maps) = proxied(plane).await?;
    let version = maps
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .context("no version")?;
    let params = WatchParams::default().fields("metadata.name=watched").timeout(60);
    let mut events = std::pin::pin!(maps.watch(&params, &version).await?);
    maps.create(&PostParams::default(), &named("watched")).await?;
    let event = tokio::time::timeout(SOON, futures::StreamExt::next(&mut events))
        .await?
        .context("no event")??;
    ensure!(matches!(event, WatchEvent::Added(_)), "{event:?}");
    maps.delete("watched", &DeleteParams::default()).await?;
    Ok(())
}
