//! As little of an object as a measurement needs: reading it all would take the processor from what is measured.

use serde::Deserialize;

/// A key or a peer.
#[derive(Clone, Debug, Deserialize)]
pub struct Fields {
    /// What every object has.
    pub metadata: Meta,

    #[serde(default)]
    spec: Spec,

    #[serde(default)]
    status: Status,
}

/// Metadata of an object, or of a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name; of an object.
    pub name: String,
    /// Uid; of an object.
    pub uid: String,
    /// Version.
    pub resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    pool_ref: PoolRef,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PoolRef {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    addresses: Vec<String>,
    conditions: Vec<Mark>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Mark {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Fields {
    /// Whether a key shows addresses.
    pub fn is_published(&self) -> bool {
        !self.status.addresses.is_empty()
    }

    /// Whether a key with addresses is programmed.
    pub fn is_programmed(&self) -> bool {
        let mut marks = self.status.conditions.iter();
        self.is_published() && marks.any(|mark| mark.kind == "Programmed" && mark.status == "True")
    }

    /// The pool it names.
    pub fn pool(&self) -> &str {
        &self.spec.pool_ref.name
    }
}
