//! A user who writes many keys: through a client of its own, past every proxy, and until the API has them.

use std::time::Duration;

use anyhow::{Context, Result};
use culvert_e2e::{ControlPlane, wait};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

/// How long a write is tried: longer than an apiserver takes to come back.
const INSIST: Duration = Duration::from_mins(3);

/// How long a collection may take to go: the apiserver deletes its objects one by one.
const CROWD: Duration = Duration::from_mins(15);

/// How many writes of this user are under way at once.
const AT_ONCE: usize = 16;

/// Where the keys are, unless a test says otherwise.
pub const NAMESPACE: &str = "default";

/// Every kind of ours, with its plural.
pub const KINDS: [(&str, &str); 5] = [
    ("WireGuardKey", "wireguardkeys"),
    ("WireGuardPeer", "wireguardpeers"),
    ("IPPool", "ippools"),
    ("WireGuardGateway", "wireguardgateways"),
    ("GatewayNode", "gatewaynodes"),
];

/// Public keys of nobody in particular, all different, and different from the fixture's.
pub fn fresh_key(n: u32) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut bytes = [7; 32];
    bytes[1..5].copy_from_slice(&n.to_be_bytes());
    STANDARD.encode(bytes)
}

/// The user.
#[derive(Clone)]
pub struct Load {
    client: Client,
    keys: Api<DynamicObject>,
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("culvert.dev", "v1alpha1", kind), plural)
}

/// The keys of [`NAMESPACE`].
pub fn keys_of(client: Client) -> Api<DynamicObject> {
    Api::namespaced_with(client, NAMESPACE, &resource("WireGuardKey", "wireguardkeys"))
}

impl Load {
    /// A user of the namespace [`NAMESPACE`].
    pub async fn new(plane: &ControlPlane) -> Result<Self> {
        let client = plane.client().await?;
        let keys = keys_of(client.clone());
        Ok(Self { client, keys })
    }

    /// Makes a key, whatever it takes.
    pub async fn create(&self, name: &str, public_key: &str) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "WireGuardKey",
            "metadata": { "name": name },
            "spec": { "publicKey": public_key },
        }))?;
        wait::until("a key to be made", INSIST, || async {
            match self.keys.create(&PostParams::default(), &object).await {
                // An earlier try got through, and its reply did not.
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Some(())),
                reply => reply.map(|_| Some(())).context("failed to create it"),
            }
        })
        .await
    }

    /// Makes many.
    pub async fn create_all(&self, keys: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        let made = stream::iter(keys)
            .map(|(name, public_key)| async move { self.create(&name, &public_key).await })
            .buffer_unordered(AT_ONCE);
        made.try_collect().await
    }

    /// Gives a key another public key in place, whatever it takes.
    pub async fn rotate(&self, name: &str, public_key: &str) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "publicKey": public_key } }));
        wait::until("a key to be rotated", INSIST, || async {
            let reply = self.keys.patch(name, &PatchParams::default(), &patch).await;
            reply.map(|_| Some(())).context("failed to patch it")
        })
        .await
    }

    /// Deletes a key, whatever it takes.
    pub async fn delete(&self, name: &str) -> Result<()> {
        wait::until("a key to be deleted", INSIST, || async {
            match self.keys.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(())),
                reply => reply.map(|_| Some(())).context("failed to delete it"),
            }
        })
        .await
    }

    /// Deletes every key with one request, repeated until none is left.
    pub async fn delete_all(&self) -> Result<()> {
        wait::until("all keys to be deleted", CROWD, || async {
            self.keys
                .delete_collection(&DeleteParams::default(), &ListParams::default())
                .await
                .context("failed to delete them")?;
            Ok(self.keys().await?.is_empty().then_some(()))
        })
        .await
    }

    /// Every key.
    pub async fn keys(&self) -> Result<Vec<Value>> {
        self.list("WireGuardKey", "wireguardkeys").await
    }

    /// One key.
    pub async fn key(&self, name: &str) -> Result<Value> {
        let key = self.keys.get(name).await.context("failed to read a key")?;
        Ok(serde_json::to_value(key)?)
    }

    /// The version at which keys are read at present.
    pub async fn version(&self) -> Result<String> {
        let list = self.keys.list(&ListParams::default().limit(1)).await;
        let list = list.context("failed to list keys")?;
        list.metadata.resource_version.context("a list has no version")
    }

    /// Every pool.
    pub async fn pools(&self) -> Result<Vec<Value>> {
        self.list("IPPool", "ippools").await
    }

    /// Every peer, released ones included.
    pub async fn peers(&self) -> Result<Vec<Value>> {
        self.list("WireGuardPeer", "wireguardpeers").await
    }

    /// Deletes a peer behind the operator's back.
    pub async fn delete_peer(&self, name: &str) -> Result<()> {
        let kind = resource("WireGuardPeer", "wireguardpeers");
        let peers: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        peers
            .delete(name, &DeleteParams::default())
            .await
            .context("failed to delete a peer")?;
        Ok(())
    }

    /// Uid and version of every object of ours: two that are equal, with time between, mean that nothing was written.
    pub async fn versions(&self) -> Result<Vec<(String, String)>> {
        let mut versions = Vec::new();
        for (kind, plural) in KINDS {
            for object in self.list(kind, plural).await? {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                versions.push((text("uid"), text("resourceVersion")));
            }
        }
        versions.sort();
        Ok(versions)
    }

    async fn list(&self, kind: &str, plural: &str) -> Result<Vec<Value>> {
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(kind, plural));
        // An apiserver that has just started still says "storage is (re)initializing" when it calls itself ready.
        let list = wait::until(&format!("the list of {plural}"), INSIST, || async {
            let list = all.list(&ListParams::default()).await;
            list.map(Some).context("failed to list them")
        })
        .await?;
        let values = list.items.into_iter().map(|mut object| {
            // Long, and of no interest in a failure's message.
            object.metadata.managed_fields = None;
            serde_json::to_value(object)
        });
        Ok(values.collect::<Result<_, _>>()?)
    }
}
