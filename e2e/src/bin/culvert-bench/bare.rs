//! The bare client: sends what the operator would send for a key, and does nothing else.
//!
//! It draws no address (a number decides), remembers nothing and reads no more of the replies than their code. What it
//! writes is a copy of what the operator wrote for another key, with other addresses: the same requests, of the same
//! size. So the operator takes it for its own work, and has nothing left to do when it starts: [`crate::size`] checks
//! that.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use culvert_crds::{
    NameRef, WireGuardKey, WireGuardPeer, WireGuardPeerSpec,
    peer::{KeyRef, peer_name},
};
use kube::{Api, Client, Resource, api::PostParams, core::Request};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::keys::{Made, each, scatter};

/// The pool of its keys; see [`crate::stage`].
pub const POOL: &str = "bench-b";

/// As the operator's writes are recorded: the record is a good part of an object.
const MANAGER: &str = "culvert-operator";

/// A client that does the operator's writes.
#[derive(Clone)]
pub struct Bare {
    client: Client,
    status: Value,
}

impl Bare {
    /// One that copies the status of a key that the operator has published.
    pub async fn copying(client: Client, namespace: &str, name: &str) -> Result<Self> {
        let keys: Api<WireGuardKey> = Api::namespaced(client.clone(), namespace);
        let key = keys.get(name).await.context("failed to read a published key")?;
        let status = key.status.context("a published key has no status")?;
        ensure!(
            status.addresses.len() == 2 && status.conditions.len() == 3,
            "a published key's status is not what the bare client knows to copy"
        );
        Ok(Self {
            client,
            status: serde_json::to_value(status)?,
        })
    }

    /// Sends what follows through another client.
    pub fn speak_through(&mut self, client: Client) {
        self.client = client;
    }

    /// The two writes for one key, one after the other.
    pub async fn serve(&self, key: Made) -> Result<()> {
        let (v4, v6) = addresses(key.number);
        let addresses = vec![v4.to_string(), v6.to_string()];
        let peer = WireGuardPeer::new(
            &peer_name(v4.into()),
            WireGuardPeerSpec {
                public_key: key.public_key.clone(),
                addresses: addresses.clone(),
                pool_ref: NameRef::from(POOL),
                key_ref: KeyRef {
                    namespace: key.namespace.clone(),
                    name: key.name.clone(),
                    uid: key.uid.clone(),
                },
                address_generation: 0,
                released: false,
            },
        );
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let peers = Request::new(WireGuardPeer::url_path(&(), None));
        let request = peers.create(&params, serde_json::to_vec(&peer)?)?;
        let _: IgnoredAny = self
            .client
            .request(request)
            .await
            .context("failed to create a peer")?;

        let mut status = self.status.clone();
        status["addresses"] = json!(addresses);
        status["publicKey"] = json!(key.public_key);
        let object = json!({
            "apiVersion": WireGuardKey::api_version(&()),
            "kind": WireGuardKey::kind(&()),
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "uid": key.uid,
                "resourceVersion": key.version,
            },
            "status": status,
        });
        let keys = Request::new(WireGuardKey::url_path(&(), Some(&key.namespace)));
        let request =
            keys.replace_subresource("status", &key.name, &params, object.to_string().into_bytes())?;
        let _: IgnoredAny = self
            .client
            .request(request)
            .await
            .context("failed to write a key's status")?;
        Ok(())
    }

    /// The writes for many keys, `at_once` keys at a time.
    pub async fn serve_all(&self, keys: Vec<Made>, at_once: usize) -> Result<()> {
        let this = self.clone();
        let work = move |key| {
            let this = this.clone();
            async move { this.serve(key).await }
        };
        each(at_once, keys, work).await.map(drop)
    }
}

/// Addresses out of the ranges of [`POOL`], different for each number and in no order, as drawn ones are: etcd and the
/// apiserver keep objects sorted by name.
fn addresses(number: u64) -> (Ipv4Addr, Ipv6Addr) {
    const SIZE: u64 = 1 << 21;
    // An odd factor permutes what a power of two leaves over. The edges of the range belong to nobody: the numbers
    // that lead there are beyond those in use.
    let place = number.wrapping_add(1000).wrapping_mul(0x000d_2511_f53d) % SIZE;
    let v4 = u32::from(Ipv4Addr::new(10, 128, 0, 0)) | u32::try_from(place).unwrap_or_default();
    let prefix = 0xfd64_cafe_000b_0000_u64;
    let v6 = (u128::from(prefix) << 64) | u128::from(scatter(number, 9));
    (v4.into(), v6.into())
}
