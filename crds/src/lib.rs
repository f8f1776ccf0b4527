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
