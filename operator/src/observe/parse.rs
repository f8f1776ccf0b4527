//! Objects of the API into the world's own types: the edge at which texts become values.

use std::time::Duration;

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway, WireGuardKey, WireGuardPeer};
use culvert_wireguard::PublicKey;
use k8s_openapi::api::core::v1::Node;
use kube::api::ObjectMeta;

use crate::world;
use crate::world::status::KeyStatus;

/// The finalizer that keeps a pool while claims use it.
pub const POOL_FINALIZER: &str = "culvert.dev/in-use";

/// The annotation on a `GatewayNode` whose drain is the operator's own, not an administrator's.
pub const LEAVING: &str = "culvert.dev/leaving";

/// Reading an object into `T`.
pub trait Parse<T> {
    /// `None` when a part is missing or unreadable that no default can stand for.
    fn parse(&self) -> Option<T>;
}

struct Meta {
    uid: String,
    name: String,
    resource_version: u64,
    generation: i64,
    created: i64,
    deleting: bool,
}

fn meta(meta: &ObjectMeta) -> Option<Meta> {
    Some(Meta {
        uid: meta.uid.clone()?,
        name: meta.name.clone()?,
        resource_version: meta.resource_version.as_ref()?.parse().ok()?,
        generation: meta.generation.unwrap_or(0),
        created: meta.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
        deleting: meta.deletion_timestamp.is_some(),
    })
}

fn duration(duration: kube::core::Duration) -> Duration {
    duration.into()
}

impl Parse<world::Key> for WireGuardKey {
    fn parse(&self) -> Option<world::Key> {
        let meta = meta(&self.metadata)?;
        let public_key = PublicKey::from_base64(&self.spec.public_key)
            .ok()
            .filter(|key| key.check().is_ok());
        Some(world::Key {
            uid: meta.uid,
            namespace: self.metadata.namespace.clone()?,
            name: meta.name,
            resource_version: meta.resource_version,
            generation: meta.generation,
            created: meta.created,
            deleting: meta.deleting,
            public_key,
            pool: self.spec.pool_ref.name.clone(),
            suspend: self.spec.suspend,
            expire_after: self.spec.expire_after.map(duration),
            address_generation: self.spec.address_generation,
            status: KeyStatus::read(self.status.as_ref()),
        })
    }
}

impl Parse<world::Claim> for WireGuardPeer {
    fn parse(&self) -> Option<world::Claim> {
        let meta = meta(&self.metadata)?;
        let addresses: Option<Vec<_>> = self.spec.addresses.iter().map(|a| a.parse().ok()).collect();
        Some(world::Claim {
            uid: meta.uid,
            name: meta.name,
            resource_version: meta.resource_version,
            created: meta.created,
            public_key: PublicKey::from_base64(&self.spec.public_key).ok()?,
            addresses: addresses?,
            pool: self.spec.pool_ref.name.clone(),
            key: self.spec.key_ref.clone(),
            address_generation: self.spec.address_generation,
            released: self.spec.released,
            since: Duration::ZERO,
            programmed: None,
        })
    }
}

impl Parse<world::Pool> for IPPool {
    fn parse(&self) -> Option<world::Pool> {
        let meta = meta(&self.metadata)?;
        let spec = &self.spec;
        let finalizers = self.metadata.finalizers.as_deref().unwrap_or_default();
        Some(world::Pool {
            uid: meta.uid,
            name: meta.name,
            resource_version: meta.resource_version,
            generation: meta.generation,
            deleting: meta.deleting,
            guarded: finalizers.iter().any(|f| f == POOL_FINALIZER),
            ranges: ranges(spec),
            allowed_namespaces: spec.allowed_namespaces.clone(),
            max_keys_per_namespace: spec.max_keys_per_namespace,
            max_age: spec.key_policy.max_age.map(duration),
            overlap: duration(spec.key_policy.overlap),
            cooldown: duration(spec.cooldown),
            status: self.status.clone().unwrap_or_default(),
            published: Duration::ZERO,
            free: Vec::new(),
        })
    }
}

fn ranges(spec: &culvert_crds::IPPoolSpec) -> Option<world::Ranges> {
    let v4 = spec
        .ipv4
        .as_ref()
        .map(|range| range.cidr.parse())
        .transpose()
        .ok()?;
    let v6 = spec
        .ipv6
        .as_ref()
        .map(|range| range.cidr.parse())
        .transpose()
        .ok()?;
    let exclude: Result<Vec<_>, _> = spec.exclude.iter().map(|range| range.parse()).collect();
    (v4.is_some() || v6.is_some()).then_some(world::Ranges {
        v4,
        v6,
        exclude: exclude.ok()?,
    })
}

impl Parse<world::Gateway> for WireGuardGateway {
    fn parse(&self) -> Option<world::Gateway> {
        let meta = meta(&self.metadata)?;
        Some(world::Gateway {
            uid: meta.uid,
            name: meta.name,
            resource_version: meta.resource_version,
            generation: meta.generation,
            deleting: meta.deleting,
            node_selector: self.spec.node_selector.clone(),
            pools: self.spec.pool_refs.iter().map(|pool| pool.name.clone()).collect(),
            host_template: self
                .spec
                .endpoint
                .as_ref()
                .map(|endpoint| endpoint.host_template.clone()),
            status: self.status.clone().unwrap_or_default(),
        })
    }
}

impl Parse<world::GatewayNode> for GatewayNode {
    fn parse(&self) -> Option<world::GatewayNode> {
        let meta = meta(&self.metadata)?;
        Some(world::GatewayNode {
            uid: meta.uid,
            name: meta.name,
            resource_version: meta.resource_version,
            gateway: self.spec.gateway_ref.name.clone(),
            gateway_uid: self.spec.gateway_ref.uid.clone(),
            node: self.spec.node_name.clone(),
            endpoint_host: self.spec.endpoint_host.clone(),
            drain: self.spec.drain,
            leaving: self
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|all| all.contains_key(LEAVING)),
            report: self.status.as_ref().and_then(report),
            renewed: Duration::ZERO,
        })
    }
}

fn report(status: &culvert_crds::GatewayNodeStatus) -> Option<world::Report> {
    // The API's default status is not an answer.
    let session = status.session.clone()?;
    let refused = status.refused.as_ref();
    Some(world::Report {
        public_key: status
            .public_key
            .as_deref()
            .and_then(|key| PublicKey::from_base64(key).ok()),
        session,
        applied: status
            .applied_resource_version
            .as_ref()
            .and_then(|rv| rv.parse().ok()),
        pools: status.pools.iter().cloned().collect(),
        refused: refused
            .map(|r| r.uids.iter().cloned().collect())
            .unwrap_or_default(),
        refused_count: refused.map_or(0, |r| usize::try_from(r.count).unwrap_or(0)),
        drained: status.drained,
        renew_time: status
            .renew_time
            .as_ref()
            .map(|t| t.0.to_string())
            .unwrap_or_default(),
    })
}

impl Parse<world::Node> for Node {
    fn parse(&self) -> Option<world::Node> {
        let meta = meta(&self.metadata)?;
        let addresses = self
            .status
            .as_ref()
            .and_then(|s| s.addresses.as_deref())
            .unwrap_or_default();
        let address = |kind| {
            addresses
                .iter()
                .find(|a| a.type_ == kind)
                .map(|a| a.address.clone())
        };
        Some(world::Node {
            uid: meta.uid,
            name: meta.name,
            labels: self.metadata.labels.clone().unwrap_or_default(),
            external_address: address("ExternalIP"),
            internal_address: address("InternalIP"),
        })
    }
}
