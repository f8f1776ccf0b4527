//! What must be true of keys and peers, said without a word of the operator's own code: it reads what the apiserver
//! has, as text.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::{FaultProxy, wait};
use serde_json::Value;

use crate::{load::Load, scale::scale};

/// What a check found.
#[derive(Debug, Default)]
pub struct Census {
    pub keys: usize,
    /// Keys that have addresses.
    pub served: usize,
    /// Keys whose public key another one holds.
    pub duplicates: usize,
    /// Keys that wait for a free address.
    pub waiting: usize,
    /// Peers that are not released.
    pub peers: usize,
    /// Those of them that their key has rotated away from.
    pub old: usize,
    /// Addresses in peers, released ones included.
    pub addresses: usize,
}

impl fmt::Display for Census {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} keys: {} served, {} duplicates, {} waiting; {} peers, {} of them old; {} addresses, 0 twice",
            self.keys, self.served, self.duplicates, self.waiting, self.peers, self.old, self.addresses
        )
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

fn is_released(peer: &Value) -> bool {
    peer["spec"]["released"] == true
}

/// The addresses in a key's status.
pub fn published(key: &Value) -> Vec<&str> {
    let addresses = key["status"]["addresses"].as_array();
    addresses
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The reason of the condition `Ready`.
pub fn reason(key: &Value) -> &str {
    let conditions = key["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|one| one["type"] == "Ready");
    ready.map_or("", |ready| text(ready, "/reason"))
}

/// Holds at every moment: no address stands in two peers, released ones included. Gives the number of addresses.
pub fn no_address_twice(peers: &[Value]) -> Result<usize> {
    let mut seen = BTreeSet::new();
    for peer in peers {
        for address in peer["spec"]["addresses"].as_array().into_iter().flatten() {
            let address = address.as_str().context("an address is no text")?;
            ensure!(seen.insert(address), "{address} stands in two peers");
        }
    }
    Ok(seen.len())
}

/// Holds once all is done. `may_wait`: keys may be waiting for a free address.
pub fn settled(keys: &[Value], peers: &[Value], may_wait: bool) -> Result<Census> {
    let mut census = Census {
        keys: keys.len(),
        addresses: no_address_twice(peers)?,
        ..Census::default()
    };
    let by_uid: BTreeMap<&str, &Value> = keys.iter().map(|key| (uid(key), key)).collect();
    let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
    let mut held: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for peer in peers {
        let (name, owner) = (text(peer, "/metadata/name"), text(peer, "/spec/keyRef/uid"));
        ensure!(!is_released(peer), "{name} is released and still there");
        ensure!(by_uid.contains_key(owner), "{name} is of no key");
        let before = holders.insert(text(peer, "/spec/publicKey"), owner);
        ensure!(
            before.is_none_or(|before| before == owner),
            "{name} has another key's public key"
        );
        held.entry(owner).or_default().push(peer);
    }
    census.peers = peers.len();
    for key in keys {
        let own = held.get(uid(key)).map_or(&[][..], Vec::as_slice);
        census.old += one(key, own)?;
        match (reason(key), published(key).is_empty()) {
            ("NoGateway" | "Ready", false) => {
                ensure!(
                    key["status"]["publicKey"] == key["spec"]["publicKey"],
                    "{key} shows old addresses"
                );
                census.served += 1;
            }
            ("DuplicateKey", true) => {
                let holder = holders.get(text(key, "/spec/publicKey"));
                ensure!(
                    holder.is_some_and(|holder| *holder != uid(key)),
                    "nobody has the public key of {key}"
                );
                census.duplicates += 1;
            }
            ("PoolExhausted", _) if may_wait => census.waiting += 1,
            (other, _) => bail!("`{other}` is how {key} ended"),
        }
    }
    Ok(census)
}

/// One key and its unreleased peers; gives how many of these are old.
fn one(key: &Value, own: &[&Value]) -> Result<usize> {
    ensure!(
        key["status"]["observedGeneration"] == key["metadata"]["generation"],
        "{key} has not been answered"
    );
    let is_current = |peer: &Value| {
        ["publicKey", "addressGeneration", "poolRef"]
            .iter()
            .all(|field| peer["spec"][field] == key["spec"][field])
    };
    let old = own.iter().filter(|peer| !is_current(peer)).count();
    ensure!(
        old <= 1 && own.len() - old <= 1,
        "{key} has {} peers, {old} old",
        own.len()
    );
    let shown = published(key);
    if !shown.is_empty() {
        let backing = own.iter().filter(|peer| {
            peer["spec"]["publicKey"] == key["status"]["publicKey"]
                && peer["spec"]["addresses"] == key["status"]["addresses"]
        });
        ensure!(backing.count() == 1, "no peer backs what {key} shows");
    }
    Ok(old)
}

/// The pools' own count, which is written with a delay, is that of the peers.
fn counted(pools: &[Value], peers: &[Value]) -> Result<()> {
    for pool in pools {
        let name = text(pool, "/metadata/name");
        let count = peers
            .iter()
            .filter(|peer| text(peer, "/spec/poolRef/name") == name)
            .count();
        let said = &pool["status"]["allocated"];
        ensure!(
            *said == count,
            "the pool {name} counts {said} peers, there are {count}"
        );
    }
    Ok(())
}

/// Waits until all is done, checks it, and prints how long it took.
pub async fn settle(load: &Load, what: &str, may_wait: bool) -> Result<Census> {
    let watch = wait::Stopwatch::start();
    let census = wait::until(&format!("all to settle after {what}"), scale().settle, || async {
        // The peers last: a peer that comes or goes in between is seen as a fault, and looked at again.
        let keys = load.keys().await?;
        settled(&keys, &load.peers().await?, may_wait).map(Some)
    })
    .await?;
    println!(
        "{what}: settled after {:.1} s: {census}",
        watch.elapsed().as_secs_f32()
    );
    Ok(census)
}

/// So long after the last of them do writes that failed count as given up.
const LAST_TRIES: Duration = Duration::from_secs(4);

/// Nothing of ours is written for a while, and nobody tries to through the proxies.
pub async fn nobody_writes(load: &Load, proxies: &[&FaultProxy]) -> Result<()> {
    let written = || proxies.iter().map(|proxy| proxy.written()).collect::<Vec<_>>();
    let quiet = scale().quiet;
    wait::until("the pools' last counts", scale().settle, || async {
        counted(&load.pools().await?, &load.peers().await?).map(Some)
    })
    .await?;
    // A request that was refused or cut is tried again by the client library, whatever has become of its object.
    wait::until("the last tries", scale().settle, || async {
        let before = written();
        wait::pass(LAST_TRIES).await;
        Ok((before == written()).then_some(()))
    })
    .await?;
    let (before, tried) = (load.versions().await?, written());
    wait::pass(quiet).await;
    let (after, tried_since) = (load.versions().await?, written());
    for (proxy, (before, after)) in proxies.iter().zip(tried.iter().zip(&tried_since)) {
        let writes = proxy.writes();
        ensure!(
            before == after,
            "{} writes in {} s of rest, the last: {:?}",
            after - before,
            quiet.as_secs(),
            &writes[writes.len().saturating_sub(5)..]
        );
    }
    ensure!(
        before == after,
        "something was written in {} s of rest",
        quiet.as_secs()
    );
    println!("0 writes for {} s", quiet.as_secs());
    Ok(())
}
