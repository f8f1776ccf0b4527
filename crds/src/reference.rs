//! References from one object to another.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A reference to a cluster-scoped object of a kind that the field implies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl From<&str> for NameRef {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }
}
