//! The user: makes keys, as many as wanted at once.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_crds::WireGuardKey;
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    core::Request,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::fields::Fields;

/// How many keys the user makes at once: more than one apiserver of a small machine can take.
const AT_ONCE: usize = 64;

/// A key that has been made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its number, like no other's.
    pub number: u64,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its version as it was made.
    pub version: String,
    /// Its public key.
    pub public_key: String,
}

/// Makes one.
pub async fn make(client: &Client, namespace: &str, pool: &str, number: u64) -> Result<Made> {
    let name = format!("key-{number:06}");
    let public_key = public_key(number);
    let object = json!({
        "apiVersion": WireGuardKey::api_version(&()),
        "kind": WireGuardKey::kind(&()),
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "publicKey": public_key, "poolRef": { "name": pool } },
    });
    let path = WireGuardKey::url_path(&(), Some(namespace));
    let request = Request::new(path).create(&PostParams::default(), object.to_string().into_bytes())?;
    let reply: Fields = client.request(request).await.context("failed to make a key")?;
    Ok(Made {
        number,
        namespace: namespace.to_owned(),
        name,
        uid: reply.metadata.uid,
        version: reply.metadata.resource_version,
        public_key,
    })
}

/// Makes many, with the numbers from `first` on.
pub async fn make_all(
    client: &Client,
    namespace: &str,
    pool: &str,
    first: u64,
    count: usize,
) -> Result<Vec<Made>> {
    let (client, namespace, pool) = (client.clone(), namespace.to_owned(), pool.to_owned());
    each(AT_ONCE, (first..).take(count).collect(), move |number: u64| {
        let (client, namespace, pool) = (client.clone(), namespace.clone(), pool.clone());
        async move { make(&client, &namespace, &pool, number).await }
    })
    .await
}

/// The name of some key of a namespace.
pub async fn any(client: &Client, namespace: &str) -> Result<String> {
    let keys: Api<WireGuardKey> = Api::namespaced(client.clone(), namespace);
    let first = keys
        .list(&ListParams::default().limit(1))
        .await
        .context("failed to list keys")?;
    let key = first
        .items
        .into_iter()
        .next()
        .context("the namespace has no key")?;
    key.metadata.name.context("a key has no name")
}

/// Does something to each of `items`, `at_once` of them at a time, on all processors as the operator does.
pub async fn each<I, O, F, Fut>(at_once: usize, items: Vec<I>, work: F) -> Result<Vec<O>>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
    F: Fn(I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send,
{
    let (items, work, next) = (Arc::new(items), Arc::new(work), Arc::new(AtomicUsize::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        let (items, work, next) = (Arc::clone(&items), Arc::clone(&work), Arc::clone(&next));
        workers.spawn(async move {
            let mut done = Vec::new();
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push(work(item.clone()).await?);
            }
            anyhow::Ok(done)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = workers.join_next().await {
        all.extend(done.context("a worker ended early")??);
    }
    Ok(all)
}

/// The public key of nobody in particular.
fn public_key(number: u64) -> String {
    let mut bytes = [0; 32];
    for (part, salt) in bytes.chunks_mut(8).zip(1..) {
        part.copy_from_slice(&scatter(number, salt).to_le_bytes());
    }
    // Below 2^255 - 19, so canonical.
    bytes[31] = 7;
    STANDARD.encode(bytes)
}

/// Bits that look random and are the same in every run (`SplitMix64`'s finish).
pub fn scatter(number: u64, salt: u64) -> u64 {
    let mut x = number.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
