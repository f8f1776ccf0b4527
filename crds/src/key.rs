//! `WireGuardKey`: what a user applies. It holds a public key and asks for addresses.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::reference::NameRef;
use crate::schema;

/// A client's public key, for which the operator draws tunnel addresses.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "culvert.dev",
    version = "v1alpha1",
    kind = "WireGuardKey",
    plural = "wireguardkeys",
    shortname = "wgk",
    category = "culvert",
    namespaced,
    status = "WireGuardKeyStatus",
    doc = "A client's public key. The operator answers with random tunnel addresses in status.addresses; both die with this object.",
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.addresses[0]",
        description = "Tunnel address of the client."
    ),
    printcolumn(
        name = "Second-Address",
        type_ = "string",
        json_path = ".status.addresses[1]",
        description = "Its address of the other family."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Expires",
        // Not `date`: kubectl shows the age of those, and a time to come has none.
        type_ = "string",
        json_path = ".status.expiresAt",
        description = "When the addresses are released."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Pool",
        type_ = "string",
        json_path = ".spec.poolRef.name",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(schema::KEY_SHAPE)
        .message("publicKey must be 44 base64 characters encoding 32 bytes, exactly as `wg pubkey` prints them")
        .field_path(".publicKey"),
    validation = Rule::new(schema::KEY_POINT)
        .message("publicKey is a low-order or non-canonical point that protects nothing; make a new pair with `wg genkey` and apply its public half")
        .field_path(".publicKey")
)]
pub struct WireGuardKeySpec {
    /// The client's public key as `wg pubkey` prints it: 44 base64 characters. Never a private key. A new value here rotates the key in place: it gets new addresses.
    #[schemars(length(max = 512))]
    pub public_key: String,

    /// The pool that the addresses come from.
    #[serde(default = "default_pool")]
    pub pool_ref: NameRef,

    /// Releases the addresses while true; the key keeps its place.
    #[serde(default)]
    pub suspend: bool,

    /// Time after which the addresses are released, counted from when the public key was first given any, for instance `168h`; the pool's maximum age caps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]{1,5}h|[0-9]{1,6}[ms]){1,3}$') && duration(self) >= duration('1m') && duration(self) <= duration('8760h')")
            .message("expireAfter must be a duration from 1m to 8760h, in h, m and s: 168h is a week")
    )]
    pub expire_after: Option<Duration>,

    /// Raise it to get new addresses for the same public key.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[x_kube(
        validation = Rule::new("self >= oldSelf").message("addressGeneration can only be raised")
    )]
    pub address_generation: i64,
}

fn default_pool() -> NameRef {
    NameRef::from("default")
}

/// The public key does not print: it is in no log, and who pastes a private one in its place must not find it there.
impl fmt::Debug for WireGuardKeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireGuardKeySpec")
            .field("pool_ref", &self.pool_ref)
            .field("suspend", &self.suspend)
            .field("address_generation", &self.address_generation)
            .finish_non_exhaustive()
    }
}

/// What the operator answers.
#[derive(Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = json!({"observedGeneration": -1})))]
pub struct WireGuardKeyStatus {
    /// The generation of the spec that this status answers; -1 before the first answer.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,

    /// The client's tunnel addresses, without prefix length: IPv4, IPv6 or both, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub addresses: Vec<String>,

    /// The public key that the addresses belong to; without addresses, the one whose age `publicKeySince` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,

    /// The address generation that the addresses belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_generation: Option<i64>,

    /// When the public key was first given addresses, unless it was with the present ones: its age is counted from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_since: Option<Time>,

    /// When the addresses are released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// `Accepted`, `Programmed`, `Ready`, and `Expiring` where the addresses have an end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Neither do public key and addresses here.
impl fmt::Debug for WireGuardKeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireGuardKeyStatus")
            .field("observed_generation", &self.observed_generation)
            .field("addresses", &self.addresses.len())
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}

fn unobserved() -> i64 {
    -1
}

impl Default for WireGuardKeyStatus {
    fn default() -> Self {
        Self {
            observed_generation: unobserved(),
            addresses: Vec::new(),
            public_key: None,
            address_generation: None,
            public_key_since: None,
            expires_at: None,
            conditions: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{KeyRef, WireGuardPeerSpec};

    const PUBLIC_KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

    #[test]
    fn public_keys_and_addresses_do_not_print() {
        let addresses = vec!["10.64.0.9".to_owned(), "fd64::9".to_owned()];
        let mut key = WireGuardKey::new(
            "laptop",
            WireGuardKeySpec {
                public_key: PUBLIC_KEY.to_owned(),
                pool_ref: default_pool(),
                suspend: false,
                expire_after: None,
                address_generation: 3,
            },
        );
        key.status = Some(WireGuardKeyStatus {
            addresses: addresses.clone(),
            public_key: Some(PUBLIC_KEY.to_owned()),
            ..WireGuardKeyStatus::default()
        });
        let peer = WireGuardPeerSpec {
            public_key: PUBLIC_KEY.to_owned(),
            addresses,
            pool_ref: default_pool(),
            key_ref: KeyRef {
                namespace: "tenant".to_owned(),
                name: "laptop".to_owned(),
                uid: "uid".to_owned(),
            },
            address_generation: 3,
            released: true,
        };
        let printed = format!("{key:?} {key:#?} {peer:?} {peer:#?}");
        for canary in [&PUBLIC_KEY[..8], "10.64.0.9", "fd64::9"] {
            assert!(!printed.contains(canary), "{printed}");
        }
        assert!(printed.contains("laptop"), "nothing was printed");
    }
}
