//! Peers by number: as the API has them, as `wg` reads them, and as the kernel shows them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_wireguard::{AllowedIps, DesiredPeer, PrivateKey, PublicKey};
use serde_json::{Value, json};

/// The pool of all peers, with the ranges of the example.
pub const POOL: &str = "default";

/// The gateway's uid, and its object on the node.
pub const GATEWAY_UID: &str = "2f0a54a2-9d0b-4b6f-8a9e-3d1f5f0c7a11";
pub const GATEWAY_NODE: &str = "default.bench";
pub const NODE: &str = "bench";

/// The interface that the agent makes.
pub const INTERFACE: &str = "cv0";

const CREATED: &str = "2026-01-01T00:00:00Z";

/// Numbers scattered over 64 bits, each by itself, so that keys come in no order.
fn scatter(number: u32, salt: u64) -> u64 {
    let mut x = u64::from(number) ^ (salt << 32);
    for _ in 0..2 {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
    }
    x
}

/// The private key of a peer.
pub fn private_key(number: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (salt, part) in (1..).zip(bytes.chunks_exact_mut(8)) {
        part.copy_from_slice(&scatter(number, salt).to_le_bytes());
    }
    bytes
}

/// The public key of a peer: computed once, as that takes longer than what is measured.
pub fn public_key(number: u32) -> PublicKey {
    static KNOWN: Mutex<BTreeMap<u32, PublicKey>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known
        .entry(number)
        .or_insert_with(|| PrivateKey::from_bytes(&private_key(number)).public_key())
}

/// The addresses of a peer.
fn addresses(number: u32) -> (Ipv4Addr, Ipv6Addr) {
    let first = u32::from(Ipv4Addr::new(10, 64, 1, 0));
    let prefix = 0xfd64_cafe_0001_0000_u128 << 64;
    (
        Ipv4Addr::from(first + number),
        Ipv6Addr::from(prefix | u128::from(scatter(number, 9))),
    )
}

/// The object as the API sends it, with the version it has; and its name.
pub fn peer(number: u32, version: u64) -> (String, String) {
    let (v4, v6) = addresses(number);
    let key = STANDARD.encode(public_key(number).as_bytes());
    let uid = |kind: u64| {
        let (high, low) = (scatter(number, kind), scatter(number, kind + 1));
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    };
    let object = json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "WireGuardPeer",
        "metadata": {
            "name": v4.to_string(),
            "uid": uid(11),
            "resourceVersion": version.to_string(),
            "generation": 1,
            "creationTimestamp": CREATED,
        },
        "spec": {
            "publicKey": key,
            "addresses": [v4.to_string(), v6.to_string()],
            "poolRef": { "name": POOL },
            "keyRef": { "namespace": "bench", "name": format!("key-{number:06}"), "uid": uid(21) },
            "addressGeneration": 0,
            "released": false,
        },
    });
    (v4.to_string(), object.to_string())
}

/// The objects that are there from the beginning, but for peers, by the kind's plural.
pub fn fixed() -> [(&'static str, Value); 3] {
    let metadata = |name: &str, uid: &str| {
        json!({
            "name": name,
            "uid": uid,
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": CREATED,
        })
    };
    let object = |kind: &str, metadata: Value, spec: Value| json!({ "apiVersion": "culvert.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
    [
        (
            "ippools",
            object(
                "IPPool",
                metadata(POOL, "7c1d7f3a-6f57-4f53-9a3d-0d2d5d8d9a01"),
                json!({ "ipv4": { "cidr": "10.64.0.0/11" }, "ipv6": { "cidr": "fd64:cafe:1::/64" } }),
            ),
        ),
        (
            "wireguardgateways",
            object(
                "WireGuardGateway",
                metadata("default", GATEWAY_UID),
                json!({ "poolRefs": [{ "name": POOL }], "interface": INTERFACE }),
            ),
        ),
        (
            "gatewaynodes",
            object(
                "GatewayNode",
                metadata(GATEWAY_NODE, "9a0c6a0e-52a5-4f0f-8f7e-6c3c1f1d0b02"),
                json!({
                    "gatewayRef": { "name": "default", "uid": GATEWAY_UID },
                    "nodeName": NODE,
                    "endpointHost": "192.0.2.1",
                }),
            ),
        ),
    ]
}

/// The allowed IPs of a peer, as `wg` takes them.
pub fn allowed_ips(number: u32) -> String {
    let (v4, v6) = addresses(number);
    format!("{v4}/32,{v6}/128")
}

/// A peer as it is to be in the kernel.
pub fn desired(number: u32) -> DesiredPeer {
    let (v4, v6) = addresses(number);
    DesiredPeer {
        public_key: public_key(number),
        allowed_ips: AllowedIps::hosts([v4.into(), v6.into()]),
    }
}

/// A file for `wg setconf` and `wg syncconf` with these peers, those of `located` with an endpoint.
pub fn configuration(peers: std::ops::Range<u32>, located: bool) -> String {
    let mut text = String::new();
    for number in peers {
        let (v4, v6) = addresses(number);
        let key = STANDARD.encode(public_key(number).as_bytes());
        let _ = writeln!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = {v4}/32,{v6}/128");
        if located {
            let [_, a, b, c] = v4.octets();
            let _ = writeln!(text, "Endpoint = 198.{}.{b}.{c}:40000", 18 + a % 2);
        }
    }
    text
}
