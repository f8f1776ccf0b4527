//! Parts of generated schemas that a derive cannot express, and rules that more than one kind has.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{Schema, SchemaGenerator};
use serde_json::json;

/// Exactly the canonical base64 of 32 bytes below 2^255.
///
/// This rule and the next stand on the object that has the field and point at it, because a rule on a string makes the
/// apiserver print that string, and what is wrong may be a private key pasted there.
pub(crate) const KEY_SHAPE: &str =
    "self.publicKey.matches('^[A-Za-z0-9+/]{41}[A-HQ-Xg-nw-z0-3][AEIMQUYcgkosw048]=$')";

/// Takes out p - 1, everything from p on, and the other low-order points.
pub(crate) const KEY_POINT: &str = "!self.publicKey.matches('^[789+/][Pfv/]/{39}38=$') && !(self.publicKey in ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', 'AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', '4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=', 'X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc='])";

/// Conditions as a list map keyed by type, so that two writers never overwrite each other's entry
/// and the names of managed fields are condition types, never values.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Condition>>();
    schema.insert("x-kubernetes-list-type".into(), json!("map"));
    schema.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
    schema.insert("maxItems".into(), json!(16));
    schema
}
