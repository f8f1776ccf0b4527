//! Writes to claims. The apiserver's uniqueness of names is what makes an address unique.

use culvert_crds::peer::peer_name;
use culvert_crds::{NameRef, WireGuardKey, WireGuardPeer, WireGuardPeerSpec};
use kube::{Api, Client, Resource};

use super::retry::Failure;
use super::{Outcome, learned, post};
use crate::observe::Observed;
use crate::plan::NewClaim;
use crate::world::{Change, Claim};

/// Creates a claim. When the name is taken, whoever has it is what the world learns: the lost reply to
/// this very request is adopted that way, and somebody else's claim makes the key draw again.
pub async fn create(client: &Client, new: NewClaim) -> Outcome {
    let peers: Api<WireGuardPeer> = Api::all(client.clone());
    let Some(name) = new.addresses.first().map(|address| peer_name(*address)) else {
        return Ok(Vec::new());
    };
    let spec = spec(new, false);
    match learned(peers.create(&post(), &WireGuardPeer::new(&name, spec)).await) {
        Err(Failure::AlreadyExists) => match learned(peers.get(&name).await) {
            Err(Failure::NotFound) => Ok(Vec::new()),
            // Who has it cannot be read: another try at once would draw no better.
            Ok(nobody) if nobody.is_empty() => Err(Failure::AlreadyExists),
            outcome => outcome,
        },
        outcome => outcome,
    }
}

fn spec(claim: NewClaim, released: bool) -> WireGuardPeerSpec {
    WireGuardPeerSpec {
        public_key: claim.public_key.to_base64(),
        addresses: claim.addresses.iter().map(ToString::to_string).collect(),
        pool_ref: NameRef { name: claim.pool },
        key_ref: claim.key,
        address_generation: claim.address_generation,
        released,
    }
}

/// Releases a claim: agents drop the peer at once, the address cools down.
pub async fn release(client: &Client, claim: Claim) -> Outcome {
    let peers: Api<WireGuardPeer> = Api::all(client.clone());
    let held = NewClaim {
        key: claim.key,
        public_key: claim.public_key,
        pool: claim.pool,
        addresses: claim.addresses,
        address_generation: claim.address_generation,
    };
    let spec = spec(held, true);
    let mut peer = WireGuardPeer::new(&claim.name, spec);
    peer.metadata.uid = Some(claim.uid);
    peer.metadata.resource_version = Some(claim.resource_version.to_string());
    learned(peers.replace(&claim.name, &post(), &peer).await)
}

/// Releases a claim whose key has not been seen, after a live read that proves the key gone.
pub async fn release_orphan(client: &Client, claim: Claim) -> Outcome {
    let keys: Api<WireGuardKey> = Api::namespaced(client.clone(), &claim.key.namespace);
    // A read without resourceVersion is answered from a quorum of etcd, never from a cache.
    match keys.get(&claim.key.name).await.map_err(Failure::of) {
        Ok(key) if key.meta().uid.as_deref() == Some(claim.key.uid.as_str()) => {
            Ok(key.change().into_iter().collect::<Vec<Change>>())
        }
        Ok(_) | Err(Failure::NotFound) => release(client, claim).await,
        Err(failure) => Err(failure),
    }
}
