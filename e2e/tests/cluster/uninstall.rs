//! What is left when a release goes, and what comes back with the next one.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use culvert_crds::WireGuardKey;
use culvert_e2e::{cluster::SOON, wait};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    faults,
    world::{NAMESPACE, RELEASE, TEAM, World, fact, helm},
};

/// How many requests are under way at the same time.
const AT_ONCE: usize = 64;

/// What each key has.
type Addresses = BTreeMap<String, Vec<String>>;

/// Uninstalls with so many keys there, installs again, and uninstalls without an operator.
pub async fn a_release_leaves_nodes_clean_and_keys_as_they_were(world: &World, keys: usize) -> Result<()> {
    let client = world.tools().client();
    let api: Api<WireGuardKey> = Api::namespaced(client, TEAM);
    let mut before = Addresses::new();
    fact(
        &format!("{keys} keys have addresses, and every gateway has them"),
        async {
            let numbers = stream::iter(0..keys).map(|number| create(&api, number));
            let created: Vec<()> = numbers.buffer_unordered(AT_ONCE).try_collect().await?;
            ensure!(created.len() == keys, "only {} were created", created.len());
            before = served(&api, keys).await?;
            Ok(String::new())
        },
    )
    .await?;
    fact("definitions that leave the release stay, with every key", async {
        helm(world.tools(), &["upgrade"], &["crds.enabled=false"]).await?;
        ensure!(count(&api).await? == keys, "keys are gone");
        ensure!(served(&api, keys).await? == before, "some have other addresses");
        Ok(String::new())
    })
    .await?;
    fact(
        "a release that is uninstalled leaves nodes clean, and keys where they are",
        async {
            let took = uninstall(world).await?;
            ensure!(count(&api).await? == keys, "keys are gone");
            Ok(took)
        },
    )
    .await?;
    fact("the next release gives every key what it had", async {
        let again = ["install", "--create-namespace", "--take-ownership"];
        let installed = helm(world.tools(), &again, &[]).await;
        if let Err(error) = installed {
            return Err(error.context(world.pods().await));
        }
        world.all_serve().await?;
        let after = served(&api, keys).await?;
        ensure!(after == before, "some have other addresses");
        faults::unique(world).await?;
        Ok(String::new())
    })
    .await?;
    fact(
        "a release whose operator is dead is uninstalled all the same",
        async {
            let scale = [
                "-n",
                NAMESPACE,
                "scale",
                "deployment/culvert-operator",
                "--replicas=0",
            ];
            world.tools().kubectl(&scale).await?;
            let gone = ["-n", NAMESPACE, "wait", "--for=delete", "pod", "--timeout=2m"];
            let labels = ["-l", "app.kubernetes.io/component=operator"];
            world.tools().kubectl(&[&gone[..], &labels].concat()).await?;
            let took = uninstall(world).await?;
            ensure!(count(&api).await? == keys, "keys are gone");
            Ok(took)
        },
    )
    .await
}

/// Uninstalls, and deletes the namespace; says how long it took.
async fn uninstall(world: &World) -> Result<String> {
    let watch = wait::Stopwatch::start();
    let words = [
        "uninstall",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout",
        "5m",
    ];
    if let Err(error) = world.tools().helm(&words).await {
        return Err(error.context(world.pods().await));
    }
    let uninstalled = watch.elapsed();
    world
        .tools()
        .kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"])
        .await?;
    let all = watch.elapsed();
    for node in world.nodes() {
        faults::clean(world, &node.name)?;
    }
    Ok(format!(
        "uninstalled in {} s, the namespace gone after {} s",
        uninstalled.as_secs(),
        all.as_secs()
    ))
}

async fn create(api: &Api<WireGuardKey>, number: usize) -> Result<()> {
    let mut bytes: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    // Larger numbers are no public keys.
    bytes[31] &= 0x7f;
    let name = format!("key-{number}");
    let key = serde_json::from_value(json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardKey",
        "metadata": { "name": name },
        "spec": { "publicKey": BASE64_STANDARD.encode(bytes) },
    }))?;
    let created = api.create(&PostParams::default(), &key).await;
    created
        .map(drop)
        .with_context(|| format!("failed to create {name}"))
}

/// Waits until every key is Ready, and gives their addresses.
async fn served(api: &Api<WireGuardKey>, keys: usize) -> Result<Addresses> {
    wait::until("all keys to be Ready", SOON * 3, || async {
        let list = api.list(&ListParams::default()).await?;
        let mut addresses = Addresses::new();
        for key in &list.items {
            let name = key.name_any();
            let status = key.status.clone().unwrap_or_default();
            let ready = status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            if ready {
                addresses.insert(name, status.addresses);
            }
        }
        ensure!(addresses.len() == keys, "only {} are", addresses.len());
        Ok(Some(addresses))
    })
    .await
}

async fn count(api: &Api<WireGuardKey>) -> Result<usize> {
    Ok(api.list_metadata(&ListParams::default()).await?.items.len())
}
