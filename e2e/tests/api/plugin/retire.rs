//! `install retire`, with the rights of the chart's hook and no more, beside an operator that lives.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{chart, documents, wait};
use serde_json::{Value, json};

use super::{NODE, Site, run};
use crate::{chart as objects, fixture::SOON};

const NAMESPACE: &str = "culvert-system";

/// Flags of an operator that heeds the Lease.
const ELECTED: [&str; 3] = ["--leader-elect", "--lease-namespace", NAMESPACE];

/// The hook's account and its roles, as the chart has them.
fn rights() -> Result<String> {
    let mut found = documents::objects(&chart::render(&[])?)?;
    found.retain(|object| object["metadata"]["name"] == "culvert-uninstall" && object["kind"] != "Job");
    ensure!(found.len() == 5, "{found:?}");
    Ok(objects::list(&found))
}

async fn gateway_node(site: &Site, name: &str) -> Result<Option<Value>> {
    let nodes = site.api.list("gatewaynodes").await?;
    Ok(nodes.into_iter().find(|node| node["metadata"]["name"] == name))
}

/// A second node, without an agent, which an administrator has drained.
async fn drained_by_hand(site: &Site) -> Result<()> {
    let labels = json!({ "culvert.dev/gateway": "true" });
    site.api
        .apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "gateway-2", "labels": labels } }))
        .await?;
    wait::until("the second node", SOON, || async {
        gateway_node(site, "default.gateway-2").await
    })
    .await?;
    let patch = r#"{"spec":{"drain":true}}"#;
    site.api
        .kubectl(
            &["patch", "wgn/default.gateway-2", "--type=merge", "-p", patch],
            None,
        )
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_retires_beside_an_operator_and_all_comes_back_with_another() -> Result<()> {
    let mut site = Site::start().await?;
    drop(site.operator.take());
    let operator = site
        .api
        .operator_with("first", &site.api.plane.kubeconfig(), &ELECTED)?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let addresses = site.key("laptop").await?["status"]["addresses"].clone();
    drained_by_hand(&site).await?;
    let before = gateway_node(&site, "default.gateway-1")
        .await?
        .context("no gateway")?;

    site.api.kubectl(&["apply", "-f", "-"], Some(&rights()?)).await?;
    let account = format!("system:serviceaccount:{NAMESPACE}:culvert-uninstall");
    site.user = site.api.plane.kubeconfig_for(&account, None)?;
    let said = run(site.command(&["install", "retire", "--wait", "30s"])?)
        .await?
        .well()?;
    for words in ["default.gateway-1 has left", "pool default is let go"] {
        ensure!(said.contains(words), "{words}: {said}");
    }
    ensure!(!site.agent.has_interface(), "the interface is still there");
    // The operator runs, and undoes nothing of it.
    ensure!(gateway_node(&site, "default.gateway-1").await?.is_none());
    let pool = site.api.list("ippools").await?.remove(0);
    ensure!(pool["metadata"]["finalizers"].is_null(), "{pool}");
    ensure!(site.peers().await?.len() == 1, "a claim is gone");
    operator.kill()?;

    // As after a reinstall.
    let _second = site
        .api
        .operator_with("second", &site.api.plane.kubeconfig(), &ELECTED)?;
    site.api
        .says("gatewaynodes", "default.gateway-1", "Ready", "Ready")
        .await
        .context("the node does not come back")?;
    let after = gateway_node(&site, "default.gateway-1")
        .await?
        .context("no gateway")?;
    ensure!(after["metadata"]["uid"] != before["metadata"]["uid"], "{after}");
    ensure!(
        after["status"]["publicKey"] == before["status"]["publicKey"],
        "{after}"
    );
    ensure!(site.key("laptop").await?["status"]["addresses"] == addresses);
    let second = gateway_node(&site, "default.gateway-2")
        .await?
        .context("no second node")?;
    ensure!(second["spec"]["drain"] == true, "{second}");
    ensure!(site.agent.has_interface() && after["spec"]["nodeName"] == NODE);
    site.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_retires_without_an_operator_or_an_agent() -> Result<()> {
    let mut site = Site::start().await?;
    drop(site.operator.take());
    site.api.kubectl(&["apply", "-f", "-"], Some(&rights()?)).await?;
    let account = format!("system:serviceaccount:{NAMESPACE}:culvert-uninstall");
    site.user = site.api.plane.kubeconfig_for(&account, None)?;
    site.agent.halt().await?;
    let said = run(site.command(&["install", "retire", "--wait", "2s"])?).await?;
    ensure!(said.code == 0, "{said:?}");
    ensure!(
        said.err.contains("default.gateway-1 has not answered"),
        "{said:?}"
    );
    ensure!(gateway_node(&site, "default.gateway-1").await?.is_none());
    // Nothing hangs on a finalizer now.
    site.api
        .kubectl(&["delete", "ippools", "--all", "--timeout=30s"], None)
        .await
        .map(drop)
}
