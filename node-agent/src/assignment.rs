//! What is asked of this node: one assignment for each of its gateways.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use culvert_crds::gateway::KeyStorage;
use culvert_crds::gateway_node::LEAVING;
use culvert_crds::{GatewayNode, IPPool, WireGuardGateway};
use ipnet::IpNet;
use kube::ResourceExt as _;

use crate::egress::Egress;
use crate::interface::{LONGEST_WINDOW, Mark, SHORTEST_WINDOW};

/// One gateway on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the `GatewayNode`.
    pub name: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Uid of the gateway, and when its peers are forgotten.
    pub mark: Mark,
    /// Name of the interface.
    pub interface: String,
    /// UDP port.
    pub listen_port: u16,
    /// MTU in bytes.
    pub mtu: u32,
    /// Where the private key is kept.
    pub key_storage: KeyStorage,
    /// The ranges of each pool that the gateway serves, by the pool's name.
    pub ranges: HashMap<String, Vec<IpNet>>,
    /// Pools that the gateway names and that do not exist, or not yet: a pool waits with its end for its peers, so whoever
    /// is of one of these may be served still.
    pub absent: Vec<String>,
    /// Parts of the ranges that no key is given addresses of.
    pub excluded: Vec<IpNet>,
    /// Where clients may go.
    pub egress: Egress,
    /// Where clients connect, without port.
    pub endpoint_host: Option<String>,
    /// Raised to have every client forgotten at once.
    pub purge_generation: i64,
    /// For which generation that has been reported done, by whichever agent: a restart must not repeat it.
    pub purged_generation: i64,
    /// How many nodes the gateway has, as the operator last said; reports are spread accordingly.
    pub nodes: u32,
}

/// A gateway that is asked to leave this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Name of the `GatewayNode`.
    pub name: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Uid of the gateway.
    pub gateway: String,
    /// Whether it may come back.
    pub departure: Departure,
}

/// How a gateway leaves its node; the later one is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Departure {
    /// An administrator drains the node. Its clients find the gateway of the same key when it comes back.
    ForNow,
    /// The node is not selected any more, or the gateway is gone: nobody will ask for its key again.
    ForGood,
}

impl Leaving {
    /// Reads what is asked; `None` when the node is to stay. It needs no gateway: that may be gone already.
    pub fn read(node: &GatewayNode) -> Option<Self> {
        let leaving = Self {
            name: node.metadata.name.clone()?,
            generation: node.metadata.generation.unwrap_or(0),
            gateway: node.spec.gateway_ref.uid.clone(),
            departure: if node.annotations().contains_key(LEAVING) {
                Departure::ForGood
            } else {
                Departure::ForNow
            },
        };
        node.spec.drain.then_some(leaving)
    }
}

impl Assignment {
    /// Reads what a gateway asks of its node. Pools that do not exist (yet) are left out.
    ///
    /// `None` when the node is asked to leave, when the gateway is not the one that is meant, or when a part of an
    /// object cannot be read: the node then stays as it is.
    pub fn read(node: &GatewayNode, gateway: &WireGuardGateway, pools: &[IPPool]) -> Option<Self> {
        if node.spec.drain || gateway.metadata.uid.as_ref() != Some(&node.spec.gateway_ref.uid) {
            return None;
        }
        let (mut ranges, mut excluded) = (HashMap::new(), Vec::new());
        let mut absent: Vec<String> = gateway
            .spec
            .pool_refs
            .iter()
            .map(|pool| pool.name.clone())
            .collect();
        for pool in pools {
            let name = pool.metadata.name.clone()?;
            let named = absent.len();
            absent.retain(|absent| *absent != name);
            if absent.len() == named {
                continue;
            }
            let v4 = pool.spec.ipv4.as_ref().map(|range| range.cidr.parse().ok());
            let v6 = pool.spec.ipv6.as_ref().map(|range| range.cidr.parse().ok());
            let nets: Option<Vec<IpNet>> = v4.into_iter().chain(v6).collect();
            ranges.insert(name, nets?);
            excluded.extend(
                pool.spec
                    .exclude
                    .iter()
                    .filter_map(|range| range.parse::<IpNet>().ok()),
            );
        }
        absent.sort_unstable();
        excluded.sort_unstable();
        Some(Self {
            name: node.metadata.name.clone()?,
            generation: node.metadata.generation.unwrap_or(0),
            mark: Mark {
                gateway: gateway.metadata.uid.clone()?,
                window: Duration::from(gateway.spec.purge.handshake_window)
                    .clamp(SHORTEST_WINDOW, LONGEST_WINDOW),
            },
            interface: gateway.spec.interface.clone(),
            listen_port: gateway.spec.listen_port,
            mtu: gateway.spec.mtu,
            key_storage: gateway.spec.key_storage,
            ranges,
            absent,
            excluded,
            egress: Egress::read(gateway)?,
            endpoint_host: node.spec.endpoint_host.clone(),
            purge_generation: node.spec.purge_generation,
            purged_generation: node
                .status
                .as_ref()
                .and_then(|status| status.purged_generation)
                .unwrap_or(0),
            nodes: nodes(gateway),
        })
    }

    /// The interface's own addresses, each with its range's prefix length, so that the kernel routes the range there.
    pub fn addresses(&self) -> Vec<IpNet> {
        let mut addresses: Vec<_> = self.ranges.values().flatten().map(gateway_address).collect();
        addresses.sort_unstable();
        addresses
    }

    /// Where clients connect, as `host:port`.
    pub fn endpoint(&self) -> Option<String> {
        let host = self.endpoint_host.as_deref()?;
        Some(match host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]:{}", self.listen_port),
            Err(_) => format!("{host}:{}", self.listen_port),
        })
    }
}

/// The nodes that a gateway has in all: the second of the two numbers in its status. One, before it has any.
fn nodes(gateway: &WireGuardGateway) -> u32 {
    let told = gateway.status.as_ref().and_then(|status| status.nodes.as_deref());
    let all = told.and_then(|told| told.split_once('/')?.1.parse().ok());
    all.unwrap_or(0).max(1)
}

/// The gateway's own address in a range: the first host address, with the range's prefix length.
pub fn gateway_address(range: &IpNet) -> IpNet {
    let first = match range.network() {
        IpAddr::V4(network) => IpAddr::V4(Ipv4Addr::from(u32::from(network).saturating_add(1))),
        IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from(u128::from(network).saturating_add(1))),
    };
    // The prefix length is the range's own, so it is in bounds.
    IpNet::new(first, range.prefix_len()).unwrap_or(*range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::ObjectMeta;
    use serde_json::json;

    fn read(drain: bool, gateway_uid: &str) -> Option<Assignment> {
        read_with(drain, gateway_uid, &json!(null))
    }

    fn read_with(drain: bool, gateway_uid: &str, nodes: &serde_json::Value) -> Option<Assignment> {
        let node = json!({
            "metadata": { "name": "gw.a", "generation": 3 },
            "spec": {
                "gatewayRef": { "name": "gw", "uid": "one" },
                "nodeName": "a",
                "endpointHost": "2001:db8::1",
                "drain": drain,
                "purgeGeneration": 7,
            },
        });
        let gateway = json!({ "metadata": {}, "spec": { "poolRefs": [{ "name": "default" }] }, "status": { "nodes": nodes } });
        let pool = json!({
            "metadata": { "name": "default" },
            "spec": { "ipv4": { "cidr": "10.64.0.0/11" }, "ipv6": { "cidr": "fd64:cafe:1::/64" } },
        });
        let with = |mut object: serde_json::Value, kind: &str| {
            object["apiVersion"] = json!("culvert.dev/v1alpha1");
            object["kind"] = json!(kind);
            object
        };
        let mut gateway: WireGuardGateway =
            serde_json::from_value(with(gateway, "WireGuardGateway")).unwrap();
        gateway.metadata = ObjectMeta {
            uid: Some(gateway_uid.to_owned()),
            ..ObjectMeta::default()
        };
        let node: GatewayNode = serde_json::from_value(with(node, "GatewayNode")).unwrap();
        let pools = [serde_json::from_value(with(pool, "IPPool")).unwrap()];
        assert_eq!(Leaving::read(&node).is_some(), drain);
        Assignment::read(&node, &gateway, &pools)
    }

    #[test]
    fn the_gateway_has_the_first_host_address_of_each_range() {
        let addresses = read(false, "one").unwrap().addresses();
        assert_eq!(
            addresses,
            [
                "10.64.0.1/11".parse().unwrap(),
                "fd64:cafe:1::1/64".parse().unwrap()
            ]
        );
    }

    #[test]
    fn the_gateways_status_says_how_many_nodes_it_has() {
        for (told, nodes) in [
            (json!(null), 1),
            (json!("0/0"), 1),
            (json!("2/3"), 3),
            (json!("200/200"), 200),
            (json!("many"), 1),
            (json!("1/-3"), 1),
        ] {
            let assignment = read_with(false, "one", &told).unwrap();
            assert_eq!(assignment.nodes, nodes, "{told}");
        }
    }

    #[test]
    fn the_node_is_asked_to_purge() {
        assert_eq!(read(false, "one").unwrap().purge_generation, 7);
    }

    #[test]
    fn an_ipv6_endpoint_is_bracketed() {
        assert_eq!(
            read(false, "one").unwrap().endpoint().unwrap(),
            "[2001:db8::1]:51820"
        );
    }

    #[test]
    fn a_node_that_leaves_and_a_gateway_of_another_uid_are_no_assignment() {
        assert_eq!(read(true, "one"), None);
        assert_eq!(read(false, "two"), None);
    }
}
