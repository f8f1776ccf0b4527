//! Writes to claims. The apiserver's uniqueness of names is what makes an address unique.

use std::collections::HashSet;
use std::time::Duration;

use culvert_crds::peer::{KeyRef, peer_name};
use culvert_crds::{NameRef, WireGuardPeer, WireGuardPeerSpec};
use culvert_follow::page;
use kube::Client;
use kube::api::ListParams;

use super::Outcome;
use super::api::{Objects, keys_path};
use super::retry::Failure;
use crate::plan::{KeyNews, NewClaim};
use crate::world::{Change, Claim, Kind, Proof};

/// Creates a claim. When the name is taken, whoever has it is what the world learns: the lost reply to
/// this very request is adopted that way, and somebody else's claim makes the key draw again.
pub async fn create(client: &Client, new: NewClaim) -> Outcome {
    let peers = Objects::all(client, Kind::Claim);
    let Some(name) = new.addresses.first().map(peer_name) else {
        return Ok(Vec::new());
    };
    let spec = WireGuardPeerSpec {
        public_key: new.public_key.to_base64(),
        addresses: new.addresses.iter().map(|a| a.to_string()).collect(),
        pool_ref: NameRef::from(&*new.pool),
        key_ref: KeyRef {
            namespace: new.namespace.to_string(),
            name: new.name,
            uid: new.key.to_string(),
        },
        address_generation: i64::from(new.address_generation),
        released: false,
    };
    match peers.create(&WireGuardPeer::new(&name, spec)).await {
        Err(Failure::AlreadyExists) => match peers.get(&name).await {
            Err(Failure::NotFound) => Ok(Vec::new()),
            Err(failure) => Err(failure),
            // Who has it cannot be read: another try at once would draw no better.
            Ok(taken) => Ok(vec![peers.read(&taken).ok_or(Failure::AlreadyExists)?]),
        },
        outcome => outcome,
    }
}

/// Releases a claim unless something about its key is newer than what was planned for: the claims' watch can run ahead of
/// the keys', and then a new claim looks like one that nobody wants.
pub async fn release_of(client: &Client, claim: Claim, key_version: Option<u64>) -> Outcome {
    let Some(version) = key_version else {
        return release(client, claim).await;
    };
    let keys = Objects::keys(client, &claim.key_namespace);
    match keys.get(&claim.key_name).await {
        Ok(key) if key.metadata.uid == Some(claim.key) && key.metadata.resource_version != version => {
            Ok(keys.read(&key).into_iter().collect())
        }
        Ok(_) | Err(Failure::NotFound) => release(client, claim).await,
        Err(failure) => Err(failure),
    }
}

/// The claim, if it is there, of the addresses that the news would take back.
pub async fn still_held(client: &Client, news: &KeyNews) -> Result<Option<Change>, Failure> {
    let Some(name) = news.unless_held.and_then(|held| held.first()).map(peer_name) else {
        return Ok(None);
    };
    let peers = Objects::all(client, Kind::Claim);
    match peers.get(&name).await {
        Ok(found) => Ok(peers.read(&found).filter(
            |found| matches!(found, Change::Claim(claim) if claim.key == news.uid && !claim.released),
        )),
        Err(Failure::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Releases a claim: agents drop the peer at once, the address cools down.
pub async fn release(client: &Client, claim: Claim) -> Outcome {
    let name = claim.name();
    let spec = WireGuardPeerSpec {
        public_key: claim.public_key.to_base64(),
        addresses: claim.addresses.iter().map(|a| a.to_string()).collect(),
        pool_ref: NameRef { name: claim.pool },
        key_ref: KeyRef {
            namespace: claim.key_namespace,
            name: claim.key_name,
            uid: claim.key.to_string(),
        },
        address_generation: i64::from(claim.address_generation),
        released: true,
    };
    let mut peer = WireGuardPeer::new(&name, spec);
    peer.metadata.uid = Some(claim.uid.to_string());
    peer.metadata.resource_version = Some(claim.resource_version.to_string());
    Objects::all(client, Kind::Claim).replace(&name, &peer).await
}

/// Releases a claim whose key has not been seen, after a live read that proves the key gone.
pub async fn release_orphan(client: &Client, claim: Claim) -> Outcome {
    let keys = Objects::keys(client, &claim.key_namespace);
    match keys.get(&claim.key_name).await {
        Ok(key) if key.metadata.uid == Some(claim.key) => Ok(keys.read(&key).into_iter().collect()),
        Ok(_) | Err(Failure::NotFound) => release(client, claim).await,
        Err(failure) => Err(failure),
    }
}

/// Lists the keys of a namespace, so that what is missing is proven gone.
pub async fn prove(client: &Client, namespace: String, asked: Duration) -> Outcome {
    let path = keys_path(&namespace);
    let mut params = ListParams::default().limit(500);
    let mut present = HashSet::new();
    loop {
        let page = page(client, &path, &params).await?;
        present.extend(page.items.iter().filter_map(|key| key.metadata.uid));
        match page.metadata.more.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    Ok(vec![Change::LiveKeys(Box::new(Proof {
        namespace,
        asked,
        present,
    }))])
}
