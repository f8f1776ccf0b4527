//! A `WireGuardPeer` object into what an agent needs of it.

use std::net::IpAddr;

use culvert_crds::WireGuardPeer;
use culvert_wireguard::PublicKey;

/// Uid of an object.
pub type Uid = String;

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
pub fn peer(object: &WireGuardPeer) -> Option<Peer> {
    let public_key = PublicKey::from_base64(&object.spec.public_key)
        .ok()
        .filter(PublicKey::is_usable)?;
    let addresses: Option<Vec<_>> = object.spec.addresses.iter().map(|a| a.parse().ok()).collect();
    Some(Peer {
        version: object.metadata.resource_version.as_ref()?.parse().ok()?,
        created: object.metadata.creation_timestamp.as_ref()?.0.as_second(),
        key_uid: object.spec.key_ref.uid.clone(),
        public_key,
        addresses: addresses?,
        pool: object.spec.pool_ref.name.clone(),
        released: object.spec.released,
    })
}
