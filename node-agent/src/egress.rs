//! Where the clients of a gateway may go: what its spec says, and what the operator has found the cluster to have.

use std::net::IpAddr;

use culvert_crds::gateway::Ipv6Egress;
use culvert_crds::{WireGuardGateway, WireGuardGatewaySpec};
use ipnet::IpNet;

/// Where clients may go, and as whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Private ranges that they may reach.
    pub allow: Vec<IpNet>,
    /// Ranges that they never reach.
    pub deny: Vec<IpNet>,
    /// The cluster's own: pods, services, nodes, apiservers.
    pub cluster: Vec<IpNet>,
    /// Who answers what is asked of the gateway's own address, one of each family at most.
    pub resolvers: Vec<IpAddr>,
    /// Addresses that traffic leaves under; the node's choice where there are none.
    pub source_addresses: Vec<IpAddr>,
    /// Whether IPv6 addresses of the tunnel stay as they are.
    pub keeps_ipv6: bool,
    /// Connections that one client may have at a time.
    pub connections: u32,
}

impl Default for Egress {
    /// Out to the internet, and nowhere else.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            cluster: Vec::new(),
            resolvers: Vec::new(),
            source_addresses: Vec::new(),
            keeps_ipv6: false,
            connections: 4_096,
        }
    }
}

impl Egress {
    /// Reads what a gateway asks. `None` when a part cannot be read: nobody can tell whether it would have closed a way.
    pub fn read(gateway: &WireGuardGateway) -> Option<Self> {
        let WireGuardGatewaySpec { egress, .. } = &gateway.spec;
        let cluster = gateway.status.as_ref().map(|status| &status.cluster_ranges);
        Some(Self {
            allow: parse(&egress.allow)?,
            deny: parse(&egress.deny)?,
            cluster: cluster.map_or_else(|| Some(Vec::new()), |ranges| parse(ranges))?,
            resolvers: parse(&egress.dns_forward)?,
            source_addresses: parse(&egress.source_addresses)?,
            keeps_ipv6: egress.ipv6 == Ipv6Egress::Routed,
            connections: egress.connections_per_client,
        })
    }
}

fn parse<T: std::str::FromStr>(texts: &[String]) -> Option<Vec<T>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(egress: &serde_json::Value, cluster: &[&str]) -> Option<Egress> {
        let gateway = json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "WireGuardGateway",
            "metadata": {},
            "spec": { "poolRefs": [{ "name": "default" }], "egress": egress },
            "status": { "clusterRanges": cluster },
        });
        Egress::read(&serde_json::from_value(gateway).unwrap())
    }

    #[test]
    fn a_gateway_that_says_nothing_lets_clients_out_and_nowhere_else() {
        let egress = read(&json!({}), &["10.96.0.0/12"]).unwrap();
        assert_eq!(
            (egress.allow.as_slice(), egress.deny.as_slice()),
            (&[][..], &[][..])
        );
        assert_eq!(egress.cluster, ["10.96.0.0/12".parse().unwrap()]);
        assert!(!egress.keeps_ipv6);
        assert_eq!(egress.connections, 4_096);
    }

    #[test]
    fn what_cannot_be_read_is_no_permission() {
        assert!(read(&json!({ "deny": ["10.0.0.0/8"] }), &[]).is_some());
        assert_eq!(read(&json!({ "deny": ["10.0.0.0/8", "ten"] }), &[]), None);
        assert_eq!(read(&json!({}), &["pods"]), None);
    }
}
