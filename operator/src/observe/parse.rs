//! Objects of the API into the world's own types: the edge at which texts become values.

use std::net::IpAddr;
use std::time::Duration;

use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::gateway_node::{LEAVING, RETIRED};
use culvert_crds::peer::peer_name;
use culvert_crds::pool::IPPoolStatus;
use culvert_crds::{
    GatewayNodeSpec, GatewayNodeStatus, IPPoolSpec, WireGuardGatewaySpec, WireGuardKeySpec,
    WireGuardKeyStatus, WireGuardPeerSpec,
};
use culvert_follow::Raw;
use culvert_wireguard::PublicKey;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus};
use k8s_openapi::api::discovery::v1::Endpoint;
use k8s_openapi::api::networking::v1::ServiceCIDRSpec;

use crate::world::status::{KeyStatus, seconds};
use crate::world::{
    Addresses, Change, Claim, Gateway, GatewayNode, Key, Kind, Node, Pool, Ranges, Report, Uid,
};

/// The finalizer that keeps a pool while claims use it.
pub const POOL_FINALIZER: &str = culvert_crds::pool::IN_USE;

/// What an object says; `None` when a part is missing or unreadable that no default can stand for.
pub fn change(kind: Kind, raw: &Raw) -> Option<Change> {
    let uid = raw.metadata.uid?;
    Some(match kind {
        Kind::Key => Change::Key(Box::new(key(uid, raw)?)),
        Kind::Claim => Change::Claim(Box::new(claim(uid, raw)?)),
        Kind::Pool => Change::Pool(Box::new(pool(uid, raw)?)),
        Kind::Gateway => Change::Gateway(Box::new(gateway(uid, raw)?)),
        Kind::GatewayNode => Change::GatewayNode(Box::new(gateway_node(uid, raw)?)),
        Kind::Node => Change::Node(Box::new(node(uid, raw))),
        Kind::ServiceRange => {
            let spec: ServiceCIDRSpec = raw.spec()?;
            let ranges = spec.cidrs.iter().flatten().map(|range| range.parse().ok());
            Change::Ranges(kind, uid, ranges.collect::<Option<_>>()?)
        }
        Kind::Apiserver => {
            let endpoints: Vec<Endpoint> = raw.endpoints()?;
            // Also one that is not ready: it is there.
            let addresses = endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            let ranges = addresses.map(|address| address.parse::<IpAddr>().ok().map(IpNet::from));
            Change::Ranges(kind, uid, ranges.collect::<Option<_>>()?)
        }
    })
}

fn created(raw: &Raw) -> u32 {
    raw.metadata.creation_timestamp.map_or(0, seconds)
}

fn duration(duration: kube::core::Duration) -> Duration {
    duration.into()
}

fn key(uid: Uid, raw: &Raw) -> Option<Key> {
    let spec: WireGuardKeySpec = raw.spec()?;
    let status: Option<WireGuardKeyStatus> = raw.status();
    let public_key = PublicKey::from_base64(&spec.public_key)
        .ok()
        .filter(|key| key.check().is_ok());
    Some(Key {
        uid,
        namespace: raw.metadata.namespace.clone()?,
        name: raw.metadata.name.clone(),
        resource_version: raw.metadata.resource_version,
        generation: u32::try_from(raw.metadata.generation).ok()?,
        created: created(raw),
        deleting: raw.metadata.deleting,
        public_key,
        pool: spec.pool_ref.name,
        suspend: spec.suspend,
        expire_after: spec.expire_after.map(duration),
        address_generation: u32::try_from(spec.address_generation).ok()?,
        status: KeyStatus::read(status.as_ref()),
    })
}

fn claim(uid: Uid, raw: &Raw) -> Option<Claim> {
    let spec: WireGuardPeerSpec = raw.spec()?;
    let addresses: Option<Vec<IpAddr>> = spec.addresses.iter().map(|a| a.parse().ok()).collect();
    let addresses = Addresses::new(addresses?)?;
    if addresses.first().map(peer_name).as_ref() != Some(&raw.metadata.name) {
        return None;
    }
    Some(Claim {
        uid,
        resource_version: raw.metadata.resource_version,
        created: created(raw),
        public_key: PublicKey::from_base64(&spec.public_key).ok()?,
        addresses,
        pool: spec.pool_ref.name,
        key: Uid::try_parse(&spec.key_ref.uid).ok()?,
        key_namespace: spec.key_ref.namespace,
        key_name: spec.key_ref.name,
        address_generation: u32::try_from(spec.address_generation).ok()?,
        released: spec.released,
    })
}

fn pool(uid: Uid, raw: &Raw) -> Option<Pool> {
    let spec: IPPoolSpec = raw.spec()?;
    Some(Pool {
        uid,
        name: raw.metadata.name.clone(),
        resource_version: raw.metadata.resource_version,
        generation: raw.metadata.generation,
        created: created(raw),
        deleting: raw.metadata.deleting,
        guarded: raw.metadata.finalizers.iter().any(|f| f == POOL_FINALIZER),
        ranges: ranges(&spec),
        allowed_namespaces: spec.allowed_namespaces,
        max_keys_per_namespace: spec.max_keys_per_namespace,
        max_age: spec.key_policy.max_age.map(duration),
        overlap: duration(spec.key_policy.overlap),
        cooldown: duration(spec.cooldown),
        status: raw.status::<IPPoolStatus>().unwrap_or_default(),
        published: Duration::ZERO,
        free: Vec::new(),
        refused: None,
    })
}

fn ranges(spec: &IPPoolSpec) -> Option<Ranges> {
    let v4 = spec.ipv4.as_ref().map(|range| range.cidr.parse());
    let v6 = spec.ipv6.as_ref().map(|range| range.cidr.parse());
    let (v4, v6) = (v4.transpose().ok()?, v6.transpose().ok()?);
    let exclude: Result<Vec<_>, _> = spec.exclude.iter().map(|range| range.parse()).collect();
    (v4.is_some() || v6.is_some()).then_some(Ranges {
        v4,
        v6,
        exclude: exclude.ok()?,
    })
}

fn gateway(uid: Uid, raw: &Raw) -> Option<Gateway> {
    let spec: WireGuardGatewaySpec = raw.spec()?;
    Some(Gateway {
        uid,
        name: raw.metadata.name.clone(),
        resource_version: raw.metadata.resource_version,
        generation: raw.metadata.generation,
        created: created(raw),
        deleting: raw.metadata.deleting,
        node_selector: spec.node_selector,
        pools: spec.pool_refs.into_iter().map(|pool| pool.name).collect(),
        interface: spec.interface,
        listen_port: spec.listen_port,
        host_template: spec.endpoint.map(|endpoint| endpoint.host_template),
        status: raw.status::<WireGuardGatewayStatus>().unwrap_or_default(),
    })
}

fn gateway_node(uid: Uid, raw: &Raw) -> Option<GatewayNode> {
    let spec: GatewayNodeSpec = raw.spec()?;
    let annotations: std::collections::BTreeMap<String, String> = raw.metadata.annotations();
    Some(GatewayNode {
        uid,
        name: raw.metadata.name.clone(),
        resource_version: raw.metadata.resource_version,
        gateway: spec.gateway_ref.name,
        gateway_uid: Uid::try_parse(&spec.gateway_ref.uid).ok()?,
        node: spec.node_name,
        endpoint_host: spec.endpoint_host,
        drain: spec.drain,
        // Drained as Culvert was taken away: as it runs again, the object goes and the node comes back with another.
        leaving: annotations.contains_key(LEAVING) || (annotations.contains_key(RETIRED) && spec.drain),
        report: raw.status::<GatewayNodeStatus>().and_then(report),
        renewed: Duration::ZERO,
    })
}

fn report(status: GatewayNodeStatus) -> Option<Report> {
    let refused = status.refused.unwrap_or_default();
    Some(Report {
        public_key: status
            .public_key
            .and_then(|key| PublicKey::from_base64(&key).ok()),
        // The API's default status is not an answer.
        session: status.session?,
        applied: status.applied_resource_version.and_then(|rv| rv.parse().ok()),
        pools: status.pools.into_iter().collect(),
        refused: refused
            .uids
            .iter()
            .filter_map(|uid| Uid::try_parse(uid).ok())
            .collect(),
        refused_count: usize::try_from(refused.count).unwrap_or(0),
        drained: status.drained,
        renew_time: status.renew_time.map(|t| t.0.to_string()).unwrap_or_default(),
    })
}

fn node(uid: Uid, raw: &Raw) -> Node {
    let addresses = raw
        .status::<NodeStatus>()
        .and_then(|status| status.addresses)
        .unwrap_or_default();
    let address = |kind| {
        addresses
            .iter()
            .find(|a| a.type_ == kind)
            .map(|a| a.address.clone())
    };
    let pods = raw
        .spec::<NodeSpec>()
        .and_then(|spec| spec.pod_cidrs)
        .unwrap_or_default();
    let pods = pods.iter().filter_map(|range| range.parse::<IpNet>().ok());
    let own = addresses.iter().filter_map(|a| a.address.parse::<IpAddr>().ok());
    let ranges = pods.chain(own.map(IpNet::from)).collect();
    Node {
        uid,
        name: raw.metadata.name.clone(),
        labels: raw.metadata.labels(),
        external_address: address("ExternalIP"),
        internal_address: address("InternalIP"),
        ranges,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn raw(mut object: Value) -> Raw {
        object["metadata"] = json!({
            "name": "it", "uid": "6f8c3b1e-52a7-4d0e-9f6d-0f1f0a1b2c3d", "resourceVersion": "7",
        });
        serde_json::from_str(&object.to_string()).unwrap()
    }

    fn ranges(kind: Kind, object: Value) -> Option<Vec<String>> {
        let ranges = match change(kind, &raw(object))? {
            Change::Ranges(of, _, ranges) if of == kind => ranges,
            Change::Node(node) => node.ranges,
            odd => panic!("{odd:?}"),
        };
        Some(ranges.iter().map(IpNet::to_string).collect())
    }

    #[test]
    fn ranges_of_the_cluster_are_read_from_each_kind_that_has_some() {
        let services = json!({ "spec": { "cidrs": ["10.96.0.0/16", "fd00:96::/108"] } });
        assert_eq!(
            ranges(Kind::ServiceRange, services).unwrap(),
            ["10.96.0.0/16", "fd00:96::/108"]
        );
        let apiservers = json!({ "addressType": "IPv4", "endpoints": [
            { "addresses": ["203.0.113.6"], "conditions": { "ready": true } },
            { "addresses": ["203.0.113.7"], "conditions": { "ready": false } },
        ] });
        assert_eq!(
            ranges(Kind::Apiserver, apiservers).unwrap(),
            ["203.0.113.6/32", "203.0.113.7/32"]
        );
        let node = json!({
            "spec": { "podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"] },
            "status": { "addresses": [
                { "type": "InternalIP", "address": "192.0.2.1" },
                { "type": "ExternalIP", "address": "2001:db8::1" },
                { "type": "Hostname", "address": "it" },
            ] },
        });
        assert_eq!(
            ranges(Kind::Node, node).unwrap(),
            ["10.244.1.0/24", "fd00:1::/64", "192.0.2.1/32", "2001:db8::1/128"]
        );
    }

    #[test]
    fn an_object_with_a_range_that_cannot_be_read_is_unreadable() {
        for cidr in ["10.96.0.0", "10.96.0.0/33", ""] {
            let services = json!({ "spec": { "cidrs": ["10.97.0.0/16", cidr] } });
            assert_eq!(ranges(Kind::ServiceRange, services), None, "{cidr}");
        }
        assert_eq!(ranges(Kind::ServiceRange, json!({})), None);
        let odd = json!({ "endpoints": [{ "addresses": ["apiserver.example.com"] }] });
        assert_eq!(ranges(Kind::Apiserver, odd), None);
        assert_eq!(ranges(Kind::Apiserver, json!({ "addressType": "IPv4" })), None);
        // Nobody is there, which is something else.
        assert_eq!(
            ranges(Kind::Apiserver, json!({ "endpoints": [] })),
            Some(Vec::new())
        );
    }

    #[test]
    fn a_node_that_was_retired_with_culvert_leaves_unless_somebody_brings_it_back() {
        let leaving = |annotation: Option<&str>, drain: bool| {
            let mut object = json!({
                "metadata": { "name": "it", "uid": "6f8c3b1e-52a7-4d0e-9f6d-0f1f0a1b2c3d", "resourceVersion": "7" },
                "spec": {
                    "gatewayRef": { "name": "gw", "uid": "7f8c3b1e-52a7-4d0e-9f6d-0f1f0a1b2c3d" },
                    "nodeName": "a",
                    "drain": drain,
                },
            });
            if let Some(annotation) = annotation {
                object["metadata"]["annotations"] = json!({ annotation: "true" });
            }
            let raw = serde_json::from_str(&object.to_string()).unwrap();
            match change(Kind::GatewayNode, &raw) {
                Some(Change::GatewayNode(node)) => node.leaving,
                odd => panic!("{odd:?}"),
            }
        };
        assert!(leaving(Some(RETIRED), true));
        assert!(!leaving(Some(RETIRED), false));
        assert!(leaving(Some(LEAVING), false));
        // An administrator's drain.
        assert!(!leaving(None, true));
    }
}
