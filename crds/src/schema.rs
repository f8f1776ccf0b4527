//! Parts of generated schemas that a derive cannot express.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{Schema, SchemaGenerator};
use serde_json::json;

/// Conditions as a list map keyed by type, so that two writers never overwrite each other's entry
/// and the names of managed fields are condition types, never values.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Condition>>();
    schema.insert("x-kubernetes-list-type".into(), json!("map"));
    schema.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
    schema.insert("maxItems".into(), json!(16));
    schema
}
