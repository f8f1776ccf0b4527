//! A `WireGuardPeer` object into what an agent needs of it.

use std::net::IpAddr;

use culvert_crds::WireGuardPeer;
use culvert_crds::peer::peer_name;
use culvert_wireguard::PublicKey;

/// Uid of an object: Kubernetes makes them as UUIDs.
pub type Uid = uuid::Uuid;

/// What an agent needs of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Version of the object.
    pub version: u64,
    /// Creation, seconds since the epoch.
    pub created: i64,
    /// Uid of the key it belongs to.
    pub key_uid: Uid,
    /// The public key.
    pub public_key: PublicKey,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// Name of the pool.
    pub pool: String,
    /// It is no longer its key's.
    pub released: bool,
}

/// Reads an object; `None` when any part of it is doubtful.
///
/// The name counts: it is what makes an address unique, and the rule that says so may be missing in the cluster, or be
/// younger than the object.
pub fn peer(object: &WireGuardPeer) -> Option<Peer> {
    let public_key = PublicKey::from_base64(&object.spec.public_key)
        .ok()
        .filter(PublicKey::is_usable)?;
    let addresses: Option<Vec<_>> = object.spec.addresses.iter().map(|a| a.parse().ok()).collect();
    let addresses = addresses?;
    if object.metadata.name.as_deref() != Some(peer_name(*addresses.first()?).as_str()) {
        return None;
    }
    Some(Peer {
        version: object.metadata.resource_version.as_ref()?.parse().ok()?,
        created: object.metadata.creation_timestamp.as_ref()?.0.as_second(),
        key_uid: object.spec.key_ref.uid.parse().ok()?,
        public_key,
        addresses,
        pool: object.spec.pool_ref.name.clone(),
        released: object.spec.released,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(name: &str, addresses: &[&str]) -> Option<Peer> {
        let object = json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "WireGuardPeer",
            "metadata": {
                "name": name,
                "uid": "u1",
                "resourceVersion": "7",
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": {
                "publicKey": PublicKey::from_bytes([9; 32]).to_base64(),
                "addresses": addresses,
                "poolRef": { "name": "default" },
                "keyRef": { "namespace": "tenant-a", "name": "laptop", "uid": "0b0e0d5c-1a71-4f0e-9c0e-3a8f6f6b1c01" },
                "addressGeneration": 1,
            },
        });
        peer(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_peer_is_read_when_it_is_named_by_its_first_address() {
        let both = read("10.64.0.2", &["10.64.0.2", "fd64::2"]).unwrap();
        assert_eq!(both.addresses.len(), 2);
        assert_eq!(both.version, 7);
        assert!(read("fd64--2", &["fd64::2"]).is_some());
    }

    #[test]
    fn a_peer_named_unlike_its_address_is_refused() {
        for (name, addresses) in [
            ("10.64.0.3", ["10.64.0.2"].as_slice()),
            ("fd64--2", &["10.64.0.2", "fd64::2"]),
            ("laptop", &["10.64.0.2"]),
            // Two texts of one address would be two names.
            ("fd64--0-2", &["fd64::0:2"]),
            ("laptop", &[]),
        ] {
            assert_eq!(read(name, addresses), None, "{name}");
        }
    }
}
