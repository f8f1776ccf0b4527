//! A `WireGuardPeer` object into what an agent needs of it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use culvert_crds::peer::peer_name;
use culvert_follow::Raw;
pub use culvert_follow::Uid;
use culvert_wireguard::PublicKey;
use serde::Deserialize;

/// What an agent needs of a peer.
#[derive(Clone, PartialEq, Eq)]
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

/// Addresses do not print.
impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("version", &self.version)
            .field("addresses", &self.addresses.len())
            .field("released", &self.released)
            .finish_non_exhaustive()
    }
}

/// As much of the spec as an agent needs, borrowed from the object's text where that is possible.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    public_key: Cow<'a, str>,
    addresses: Vec<IpAddr>,
    #[serde(borrow)]
    pool_ref: Pool<'a>,
    #[serde(borrow)]
    key_ref: Key<'a>,
    #[serde(default)]
    released: bool,
}

#[derive(Deserialize)]
struct Pool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
}

/// Reads an object; `None` when any part of it is doubtful.
///
/// The name counts: it is what makes an address unique, and the rule that says so may be missing in the cluster, or be
/// younger than the object.
pub fn peer(object: &Raw) -> Option<Peer> {
    let about = &object.metadata;
    let spec: Spec<'_> = object.spec()?;
    let public_key = PublicKey::from_base64(&spec.public_key)
        .ok()
        .filter(PublicKey::is_usable)?;
    let is_named = about.name == peer_name(*spec.addresses.first()?);
    Some(Peer {
        version: Some(about.resource_version).filter(|version| *version > 0 && is_named)?,
        created: about.creation_timestamp?.as_second(),
        key_uid: spec.key_ref.uid.parse().ok()?,
        public_key,
        addresses: spec.addresses,
        pool: spec.pool_ref.name.into_owned(),
        released: spec.released,
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
                "uid": "0b0e0d5c-1a71-4f0e-9c0e-3a8f6f6b1c00",
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
        peer(&serde_json::from_str(&object.to_string()).unwrap())
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
