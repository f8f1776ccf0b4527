//! Requests to the API, in the terms of the world: what comes back is a [`Change`], or the class of a failure.

use culvert_follow::{Raw, ask};
use kube::Client;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use serde::Serialize;

use super::retry::Failure;
use super::{FIELD_MANAGER, Outcome};
use crate::observe;
use crate::world::{Change, Kind, Uid};

/// The objects of one kind.
pub(super) struct Objects<'a> {
    client: &'a Client,
    kind: Kind,
    request: Request,
}

type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

impl<'a> Objects<'a> {
    /// Those of the whole cluster.
    pub fn all(client: &'a Client, kind: Kind) -> Self {
        Self {
            client,
            kind,
            request: Request::new(observe::path(kind)),
        }
    }

    /// The keys of one namespace.
    pub fn keys(client: &'a Client, namespace: &str) -> Self {
        Self {
            client,
            kind: Kind::Key,
            request: Request::new(keys_path(namespace)),
        }
    }

    pub async fn get(&self, name: &str) -> Result<Raw, Failure> {
        // Without a resourceVersion it is answered from a quorum of etcd, never from a cache.
        self.send(self.request.get(name, &GetParams::default())).await
    }

    pub async fn create(&self, object: &impl Serialize) -> Outcome {
        self.learned(self.request.create(&post(), bytes(object)?)).await
    }

    pub async fn replace(&self, name: &str, object: &impl Serialize) -> Outcome {
        self.learned(self.request.replace(name, &post(), bytes(object)?))
            .await
    }

    pub async fn replace_status(&self, name: &str, object: &impl Serialize) -> Outcome {
        let request = self
            .request
            .replace_subresource("status", name, &post(), bytes(object)?);
        self.learned(request).await
    }

    pub async fn merge(&self, name: &str, patch: serde_json::Value) -> Outcome {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.learned(self.request.patch(name, &params, &Patch::Merge(patch)))
            .await
    }

    /// Server-side apply under a manager of its own.
    pub async fn apply(&self, name: &str, manager: String, patch: serde_json::Value) -> Outcome {
        let params = PatchParams {
            field_manager: Some(manager),
            force: true,
            ..PatchParams::default()
        };
        self.learned(self.request.patch(name, &params, &Patch::Apply(patch)))
            .await
    }

    /// Deletes this very version of this very object.
    pub async fn delete(&self, name: &str, uid: Uid, resource_version: u64) -> Outcome {
        let only = Preconditions {
            uid: Some(uid.to_string()),
            resource_version: Some(resource_version.to_string()),
        };
        let params = DeleteParams {
            preconditions: Some(only),
            ..DeleteParams::default()
        };
        match self.send(self.request.delete(name, &params)).await {
            // Somebody's finalizer keeps it.
            Ok(kept) if kept.metadata.deleting => Ok(self.read(&kept).into_iter().collect()),
            Ok(_) | Err(Failure::NotFound) => Ok(vec![Change::Gone(self.kind, uid)]),
            Err(failure) => Err(failure),
        }
    }

    async fn learned(&self, request: Built) -> Outcome {
        let object = self.send(request).await?;
        Ok(self.read(&object).into_iter().collect())
    }

    pub fn read(&self, object: &Raw) -> Option<Change> {
        observe::change(self.kind, object)
    }

    async fn send(&self, request: Built) -> Result<Raw, Failure> {
        let request = request.map_err(|_| Failure::Unclear("request failed"))?;
        ask(self.client, request).await
    }
}

/// Where the keys of a namespace are.
pub(super) fn keys_path(namespace: &str) -> String {
    <culvert_crds::WireGuardKey as kube::Resource>::url_path(&(), Some(namespace))
}

fn bytes(object: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(object).map_err(|_| Failure::Unclear("request failed"))
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
