//! `WireGuardKey` objects: made, listed, replaced, deleted. The private key is in none of these functions' reach.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_crds::WireGuardKey;
use culvert_wireguard::PublicKey;
use kube::Resource as _;
use kube::api::{DeleteParams, ListParams, Patch, PostParams, Preconditions};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::duration;
use crate::request::{Ask, Failure, Why, patch_params};

/// The field manager of what this program writes, and the value of the label `app.kubernetes.io/managed-by` on keys that it
/// made.
pub const MANAGED_BY: &str = "kubectl-culvert";

const KIND: &str = "wireguardkeys";

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Its name.
    pub name: String,

    /// The pool that its addresses come from.
    pub pool: String,

    /// When it ends, counted from its first addresses.
    pub expire_after: Option<Duration>,

    /// Further labels.
    pub labels: Vec<(String, String)>,
}

fn about(cluster: &Cluster, verb: &'static str, name: &str) -> Ask {
    Ask::within(verb, KIND, &cluster.namespace).named(name)
}

/// Makes the object, with the public key. A name that is taken is an error.
pub async fn create(cluster: &Cluster, key: &NewKey, public: &PublicKey) -> Result<WireGuardKey, Failure> {
    let params = PostParams {
        field_manager: Some(MANAGED_BY.to_owned()),
        ..PostParams::default()
    };
    let ask = about(cluster, "create", &key.name);
    let url = WireGuardKey::url_path(&(), Some(&cluster.namespace));
    let body = body(key, public).to_string().into_bytes();
    let request = kube::core::Request::new(url).create(&params, body);
    let request = request.map_err(|error| Failure::of(ask.clone(), kube::Error::BuildRequest(error)))?;
    cluster.ask(ask, cluster.client.request(request)).await
}

/// What is applied. As text, because the library writes durations in seconds alone, of which the definition takes six
/// digits.
fn body(key: &NewKey, public: &PublicKey) -> Value {
    let mut labels: BTreeMap<&str, &str> = key
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    labels.insert("app.kubernetes.io/managed-by", MANAGED_BY);
    let mut body = json!({
        "apiVersion": WireGuardKey::api_version(&()),
        "kind": WireGuardKey::kind(&()),
        "metadata": { "name": key.name, "labels": labels },
        "spec": { "publicKey": public.to_base64(), "poolRef": { "name": key.pool } },
    });
    if let Some(after) = key.expire_after {
        body["spec"]["expireAfter"] = duration::api_text(after).into();
    }
    body
}

/// The object of this name.
pub async fn get(cluster: &Cluster, name: &str) -> Result<WireGuardKey, Failure> {
    let api = cluster.here::<WireGuardKey>();
    cluster.ask(about(cluster, "get", name), api.get(name)).await
}

/// The keys of the namespace, or of all namespaces; those that a label selector names.
pub async fn list(
    cluster: &Cluster,
    everywhere: bool,
    labels: Option<&str>,
) -> Result<Vec<WireGuardKey>, Failure> {
    let (api, ask) = if everywhere {
        (cluster.all::<WireGuardKey>(), Ask::cluster("list", KIND))
    } else {
        (cluster.here(), Ask::within("list", KIND, &cluster.namespace))
    };
    let params = ListParams {
        label_selector: labels.map(str::to_owned),
        ..ListParams::default()
    };
    Ok(cluster.ask(ask, api.list(&params)).await?.items)
}

/// Puts another public key into the object, provided that it is as `seen`: nobody else's change is lost.
pub async fn replace(
    cluster: &Cluster,
    seen: &WireGuardKey,
    public: &PublicKey,
) -> Result<WireGuardKey, Failure> {
    let name = seen.metadata.name.clone().unwrap_or_default();
    let patch = json!({
        "metadata": {
            "uid": seen.metadata.uid,
            "resourceVersion": seen.metadata.resource_version,
        },
        "spec": { "publicKey": public.to_base64() },
    });
    let params = patch_params();
    let api = cluster.here::<WireGuardKey>();
    cluster
        .ask(
            about(cluster, "patch", &name),
            api.patch(&name, &params, &Patch::Merge(&patch)),
        )
        .await
}

/// What became of a key that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is deleted.
    Now,
    /// It was not there.
    Before,
}

/// Deletes the object; with a uid, only that incarnation of it.
pub async fn revoke(cluster: &Cluster, name: &str, uid: Option<&str>) -> Result<Revoked, Failure> {
    let mut params = DeleteParams::default();
    if let Some(uid) = uid {
        params.preconditions = Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
    }
    let api = cluster.here::<WireGuardKey>();
    let answer = cluster
        .ask(about(cluster, "delete", name), api.delete(name, &params))
        .await;
    match answer {
        Ok(_) => Ok(Revoked::Now),
        Err(Failure {
            why: Why::NotFound, ..
        }) => Ok(Revoked::Before),
        // Another object has the name: the one that was meant is gone.
        Err(Failure {
            why: Why::Conflict, ..
        }) if uid.is_some() => Ok(Revoked::Before),
        Err(failure) => Err(failure),
    }
}
