//! The agent's whole loop, as its program runs it, over any kernel.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use culvert_node_agent::{
    flows::Flows,
    kernel::Kernel,
    keystore::Keystore,
    metrics::Metrics,
    privacy::Look,
    run::{Parts, look_through, run},
};
use kube::Client;
use tokio::sync::watch;

/// Runs an agent until `stop` resolves, with its keys in this folder.
pub async fn serve<K: Kernel>(
    client: Client,
    node: String,
    keys: PathBuf,
    mut kernel: K,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let keystore = Keystore::new(keys);
    let metrics = Arc::new(Metrics::new("bench"));
    let gateways = look_through(&mut kernel, &keystore, &metrics)
        .await
        .context("failed to look through the interfaces")?;
    // What the node writes down of its clients is not measured here.
    let (_findings, privacy) = watch::channel(Look::default().finding());
    let parts = Parts {
        client,
        node,
        keystore,
        kernel,
        gateways,
        health: Arc::default(),
        metrics,
        privacy,
        flows: Flows::start(),
        ports: watch::channel(HashSet::new()).0,
    };
    run(parts, stop).await;
    Ok(())
}
