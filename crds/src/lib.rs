//! The API of Culvert: five kinds in the group `culvert.dev`, version `v1alpha1`.
//!
//! ```text
//!  user ──▶ WireGuardKey ──▶ operator ──▶ WireGuardPeer ──▶ every node agent
//!  admin ─▶ IPPool, WireGuardGateway ─▶ operator ─▶ GatewayNode ◀─▶ that node's agent
//! ```
//!
//! Everything an apiserver can decide by itself is decided here, as CEL rules in the generated
//! definitions: they hold while the operator is down, and their messages say what to do and repeat
//! no value. What needs other objects is the operator's.
//!
//! Strings in a `spec` stay strings here; operator and agent parse them at their edge, so that one
//! object they cannot read never hides the others of a list.

pub mod admission;
pub mod conditions;
pub mod gateway;
pub mod gateway_node;
pub mod key;
pub mod peer;
pub mod pool;
mod reference;
mod schema;

pub use conditions::{ConditionType, Reason};
pub use gateway::{WireGuardGateway, WireGuardGatewaySpec};
pub use gateway_node::{GatewayNode, GatewayNodeSpec, GatewayNodeStatus, GatewayRef};
pub use key::{WireGuardKey, WireGuardKeySpec, WireGuardKeyStatus};
pub use peer::{WireGuardPeer, WireGuardPeerSpec};
pub use pool::{IPPool, IPPoolSpec};
pub use reference::NameRef;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind.
pub const GROUP: &str = "culvert.dev";

/// The definitions of all kinds, in the order in which they are applied.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        IPPool::crd(),
        WireGuardGateway::crd(),
        WireGuardKey::crd(),
        WireGuardPeer::crd(),
        GatewayNode::crd(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        JSONSchemaProps, JSONSchemaPropsOrArray,
    };
    use kube::ResourceExt as _;

    #[test]
    fn a_terminal_shows_seven_columns_and_the_rest_when_it_is_asked_for() {
        for definition in crds() {
            let version = &definition.spec.versions[0];
            let columns = version.additional_printer_columns.iter().flatten();
            let shown = columns.filter(|column| column.priority.unwrap_or(0) == 0);
            // The name comes by itself.
            assert!(shown.count() < 7, "{}", definition.name_any());
        }
    }

    #[test]
    fn every_kind_is_among_culverts_and_has_a_short_name() {
        for definition in crds() {
            let names = &definition.spec.names;
            assert_eq!(
                names.categories,
                Some(vec!["culvert".to_owned()]),
                "{}",
                names.kind
            );
            let short = names.short_names.iter().flatten().count();
            assert!(short > 0, "{}", names.kind);
        }
    }

    /// Every field below this one that nothing is said about.
    fn unexplained(path: &str, schema: &JSONSchemaProps, found: &mut Vec<String>) {
        for (name, field) in schema.properties.iter().flatten() {
            let path = format!("{path}.{name}");
            if field.description.as_deref().is_none_or(str::is_empty) {
                found.push(path.clone());
            }
            unexplained(&path, field, found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            unexplained(path, items, found);
        }
    }

    #[test]
    fn every_field_is_explained() {
        let mut found = Vec::new();
        for definition in crds() {
            let schema = definition.spec.versions[0].schema.as_ref();
            let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_ref());
            unexplained(&definition.spec.names.kind, schema.unwrap(), &mut found);
        }
        assert_eq!(found, Vec::<String>::new());
    }
}
