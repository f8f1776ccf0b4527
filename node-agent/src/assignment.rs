//! What is asked of this node: one assignment for each of its gateways.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use culvert_crds::gateway::KeyStorage;
use culvert_crds::{GatewayNode, IPPool, WireGuardGateway};
use ipnet::IpNet;

use crate::interface::Mark;

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
    /// Where clients connect, without port.
    pub endpoint_host: Option<String>,
    /// The node is asked to leave.
    pub drain: bool,
}

impl Assignment {
    /// Reads what a gateway asks of its node. Pools that do not exist (yet) are left out.
    ///
    /// `None` when an object is incomplete or a part of it cannot be read: the node then stays as it is.
    pub fn read(node: &GatewayNode, gateway: &WireGuardGateway, pools: &[IPPool]) -> Option<Self> {
        let mut ranges = HashMap::new();
        for pool in pools {
            let name = pool.metadata.name.clone()?;
            if !gateway
                .spec
                .pool_refs
                .iter()
                .any(|reference| reference.name == name)
            {
                continue;
            }
            let v4 = pool.spec.ipv4.as_ref().map(|range| range.cidr.parse().ok());
            let v6 = pool.spec.ipv6.as_ref().map(|range| range.cidr.parse().ok());
            let nets: Option<Vec<IpNet>> = v4.into_iter().chain(v6).collect();
            ranges.insert(name, nets?);
        }
        Some(Self {
            name: node.metadata.name.clone()?,
            generation: node.metadata.generation.unwrap_or(0),
            mark: Mark {
                gateway: gateway.metadata.uid.clone()?,
                window: Duration::from(gateway.spec.purge.handshake_window).max(Duration::from_secs(180)),
            },
            interface: gateway.spec.interface.clone(),
            listen_port: gateway.spec.listen_port,
            mtu: gateway.spec.mtu,
            key_storage: gateway.spec.key_storage,
            ranges,
            endpoint_host: node.spec.endpoint_host.clone(),
            drain: node.spec.drain,
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

/// The gateway's own address in a range: the first host address, with the range's prefix length.
pub fn gateway_address(range: &IpNet) -> IpNet {
    let first = match range.network() {
        IpAddr::V4(network) => IpAddr::V4(Ipv4Addr::from(u32::from(network).saturating_add(1))),
        IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from(u128::from(network).saturating_add(1))),
    };
    // The prefix length is the range's own, so it is in bounds.
    IpNet::new(first, range.prefix_len()).unwrap_or(*range)
}
