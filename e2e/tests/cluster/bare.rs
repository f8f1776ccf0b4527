//! The harness itself: a cluster on which pods run and reach what they should.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Cluster,
    cluster::{SOON, condition},
    wait,
};
use serde_json::json;

#[tokio::test]
async fn pods_run_on_every_node_and_are_heard() -> Result<()> {
    let images = PathBuf::from(env::var_os("CULVERT_IMAGES").context("CULVERT_IMAGES is not set")?);
    let cluster = Cluster::start(2, &images).await?;
    let pods = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "probe" },
        "spec": {
            "selector": { "matchLabels": { "app": "probe" } },
            "template": {
                "metadata": { "labels": { "app": "probe" } },
                "spec": {
                    "containers": [{
                        "name": "operator",
                        "image": "ghcr.io/culvert-dev/culvert-operator:0.1.0",
                        "imagePullPolicy": "Never",
                        "args": ["--listen=0.0.0.0:8080"],
                        "readinessProbe": { "httpGet": { "path": "/livez", "port": 8080 } },
                    }],
                },
            },
        },
    });
    cluster
        .tools
        .kubectl_with(&["apply", "-f", "-"], &pods.to_string())
        .await?;
    let ready = wait::until("two pods to be Ready", SOON, || async {
        let pods = cluster.tools.get("/api/v1/namespaces/default/pods").await?;
        let pods = pods["items"].as_array().context("no list")?;
        ensure!(
            pods.iter().all(|pod| condition(pod, "Ready") == "True"),
            "{pods:?}"
        );
        Ok((pods.len() == 2).then_some(()))
    });
    ready.await.with_context(|| cluster.tails())?;
    Ok(())
}
