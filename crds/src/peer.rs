//! `WireGuardPeer`: the claim that binds an address to a key, and at once all that an agent needs.
//!
//! It is named by its address, so the apiserver's uniqueness of names makes the address unique,
//! whatever two allocators do at the same time.

use std::fmt;
use std::net::IpAddr;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::reference::NameRef;
use crate::schema;

/// The claim of one address (or one IPv4 and one IPv6 address) for one key.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "culvert.dev",
    version = "v1alpha1",
    kind = "WireGuardPeer",
    plural = "wireguardpeers",
    shortname = "wgp",
    category = "culvert",
    doc = "The claim of tunnel addresses for one key, made by the operator and programmed by every gateway. Named by its first address.",
    validation = Rule::new("self.metadata.name == self.spec.addresses[0].replace(':', '-')")
        .message("a peer is named by its first address, with `-` in place of `:`"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.keyRef.namespace"),
    printcolumn(name = "Key", type_ = "string", json_path = ".spec.keyRef.name"),
    printcolumn(name = "Released", type_ = "boolean", json_path = ".spec.released"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(
    validation = Rule::new("self.publicKey == oldSelf.publicKey && self.addresses == oldSelf.addresses && self.poolRef == oldSelf.poolRef && self.keyRef == oldSelf.keyRef && self.addressGeneration == oldSelf.addressGeneration && (self.released || !oldSelf.released)")
        .message("a peer never changes, but for `released` from false to true"),
    validation = Rule::new(schema::KEY_SHAPE)
        .message("publicKey must be 44 base64 characters encoding 32 bytes")
        .field_path(".publicKey"),
    validation = Rule::new(schema::KEY_POINT)
        .message("publicKey is a low-order or non-canonical point that protects nothing")
        .field_path(".publicKey"),
    // On the spec as well: an address, too, is nothing to print.
    validation = Rule::new("self.addresses.all(a, isIP(a) && ip.isCanonical(a) && ip(a).isGlobalUnicast()) && (size(self.addresses) < 2 || (ip(self.addresses[0]).family() == 4 && ip(self.addresses[1]).family() == 6))")
        .message("addresses must be canonical unicast addresses: one IPv4, one IPv6, or an IPv4 followed by an IPv6 address")
        .field_path(".addresses")
)]
pub struct WireGuardPeerSpec {
    /// The client's public key, base64.
    #[schemars(length(max = 44))]
    pub public_key: String,

    /// The addresses, in canonical text without prefix length: IPv4 first.
    #[schemars(length(min = 1, max = 2), inner(length(max = 39)))]
    pub addresses: Vec<String>,

    /// The pool that the addresses were drawn from.
    pub pool_ref: NameRef,

    /// The key that the addresses belong to.
    pub key_ref: KeyRef,

    /// The key's `addressGeneration` when the addresses were drawn.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub address_generation: i64,

    /// The addresses are no longer the key's. Agents drop the peer at once; the object itself goes when every serving gateway has done so and the pool's cooldown is over.
    #[serde(default)]
    pub released: bool,
}

/// Public key and addresses are the API's own: they are in no log, so they do not print. The object's name is one of them;
/// who holds a whole object does not print it either.
impl fmt::Debug for WireGuardPeerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireGuardPeerSpec")
            .field("pool_ref", &self.pool_ref)
            .field("key_ref", &self.key_ref)
            .field("released", &self.released)
            .finish_non_exhaustive()
    }
}

/// A reference to a `WireGuardKey` of any namespace, fixed to one incarnation of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Namespace of the key.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// Name of the key.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Uid of the key: a key that is deleted and made again is another one.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// The name of the peer whose first address is `address`.
pub fn peer_name(address: IpAddr) -> String {
    // The canonical text of Rust's standard library and of the API's `ip.isCanonical` agree (RFC 5952).
    address.to_string().replace(':', "-")
}
