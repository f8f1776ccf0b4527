//! The gateways that serve a pool, and what a client has to know of them. [`serving`] is pure.

use std::net::IpAddr;

use culvert_crds::{ConditionType, GatewayNode, IPPool, WireGuardGateway};
use culvert_wireguard::PublicKey;
use ipnet::IpNet;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Resource, ResourceExt as _};

use crate::cluster::Cluster;
use crate::exit::Exit;
use crate::judge::HEARD;
use crate::request::{Ask, Failure};

/// One gateway on one node, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The name of the `GatewayNode`.
    pub name: String,

    /// The gateway.
    pub gateway: String,

    /// The node.
    pub node: String,

    /// The gateway's public key on this node.
    pub public_key: PublicKey,

    /// Where it is, as `host:port`.
    pub endpoint: String,

    /// It serves: whoever connects is answered.
    pub ready: bool,

    /// Resolvers for clients.
    pub dns: Vec<IpAddr>,

    /// Private ranges that it opens.
    pub opens: Vec<IpNet>,

    /// Its own addresses in the tunnel.
    pub own: Vec<IpAddr>,

    /// MTU of the tunnel.
    pub mtu: u32,
}

/// There is no gateway to connect to.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Nobody serves the pool.
    #[error("no gateway serves pool `{0}`")]
    None(String),

    /// None has the name that was asked for.
    #[error("no gateway of pool `{pool}` is called `{name}`")]
    Unknown {
        /// The pool.
        pool: String,
        /// What was asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },

    /// No gateway is on a node of this name.
    #[error("no gateway is on a node called `{name}`")]
    NoNode {
        /// What was asked for.
        name: String,
        /// The nodes there are.
        known: Vec<String>,
    },

    /// The apiserver will not tell.
    #[error(transparent)]
    Request(#[from] Failure),
}

impl GatewayError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::None(_) | Self::Unknown { .. } | Self::NoNode { .. } => Exit::NotFound,
            Self::Request(failure) => failure.exit(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::None(_) => Some("`kubectl get wgn` says what is wrong with the gateways' nodes".to_owned()),
            Self::Unknown { known, .. } | Self::NoNode { known, .. } => {
                Some(format!("there are: {}", known.join(", ")))
            }
            Self::Request(failure) => failure.hint(),
        }
    }
}

/// Asks the cluster for the gateways of a pool, by name of their nodes; ready ones and others.
pub async fn of_pool(cluster: &Cluster, pool: &str) -> Result<Vec<Serving>, GatewayError> {
    let pools = cluster.all::<IPPool>();
    let ask = Ask::cluster("get", "ippools").named(pool);
    let pool_object = cluster.ask(ask, pools.get(pool));
    let gateways = list::<WireGuardGateway>(cluster, "wireguardgateways");
    let nodes = list::<GatewayNode>(cluster, "gatewaynodes");
    // One round trip, not three.
    let (pool_object, gateways, nodes) = futures::try_join!(pool_object, gateways, nodes)?;
    let found = serving(&pool_object, &gateways, &nodes);
    if found.is_empty() {
        return Err(GatewayError::None(pool.to_owned()));
    }
    Ok(found)
}

/// Lists a kind of the whole cluster.
pub async fn list<K>(cluster: &Cluster, resource: &'static str) -> Result<Vec<K>, Failure>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let api = cluster.all::<K>();
    let params = ListParams::default();
    let list = cluster.ask(Ask::cluster("list", resource), api.list(&params));
    Ok(list.await?.items)
}

/// Those that have this name: of the `GatewayNode`, of the node, or of the gateway.
pub fn choose(found: Vec<Serving>, pool: &str, name: &str) -> Result<Vec<Serving>, GatewayError> {
    let known: Vec<String> = found.iter().map(|one| one.name.clone()).collect();
    let fits = |one: &Serving| {
        [&one.name, &one.node, &one.gateway]
            .iter()
            .any(|known| *known == name)
    };
    let chosen: Vec<Serving> = found.into_iter().filter(fits).collect();
    if chosen.is_empty() {
        return Err(GatewayError::Unknown {
            pool: pool.to_owned(),
            name: name.to_owned(),
            known,
        });
    }
    Ok(chosen)
}

/// The gateways that serve a pool. A node without key or endpoint cannot be connected to, and is left out; so is one that
/// drains, or that belongs to an earlier gateway of the same name.
pub fn serving(pool: &IPPool, gateways: &[WireGuardGateway], nodes: &[GatewayNode]) -> Vec<Serving> {
    let name = pool.name_any();
    let own = own_addresses(pool);
    // Against the newest report, not against a clock: this machine's may be wrong.
    let reports = nodes
        .iter()
        .filter_map(|node| node.status.as_ref()?.renew_time.as_ref());
    let newest = reports.map(|time| time.0).max().unwrap_or(Timestamp::MIN);
    let mut found: Vec<Serving> = nodes
        .iter()
        .filter_map(|node| {
            let reference = &node.spec.gateway_ref;
            let gateway = gateways.iter().find(|gateway| {
                gateway.name_any() == reference.name && gateway.uid().as_ref() == Some(&reference.uid)
            })?;
            let serves = gateway.spec.pool_refs.iter().any(|pool| pool.name == name);
            (serves && !node.spec.drain).then_some(())?;
            one(node, gateway, &name, &own, newest)
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn one(
    node: &GatewayNode,
    gateway: &WireGuardGateway,
    pool: &str,
    own: &[IpAddr],
    newest: Timestamp,
) -> Option<Serving> {
    let status = node.status.as_ref()?;
    let public_key = PublicKey::from_base64(status.public_key.as_deref()?).ok()?;
    let is_ready = |kind: &str, status: &str| kind == ConditionType::Ready.as_str() && status == "True";
    let is_heard = status
        .renew_time
        .as_ref()
        .is_some_and(|time| newest.duration_since(time.0).unsigned_abs() <= HEARD);
    let ready = is_heard
        && status.conditions.iter().any(|c| is_ready(&c.type_, &c.status))
        && status.pools.iter().any(|served| served == pool);
    let spec = &gateway.spec;
    let dns: Vec<IpAddr> = spec
        .dns
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect();
    // As the definition of `spec.dns` says: the gateway's own address answers where it passes questions on.
    let dns = match (dns.is_empty(), spec.egress.dns_forward.is_empty()) {
        (true, false) => own.to_vec(),
        _ => dns,
    };
    Some(Serving {
        name: node.name_any(),
        gateway: gateway.name_any(),
        node: node.spec.node_name.clone(),
        public_key,
        endpoint: status.endpoints.first()?.clone(),
        ready,
        dns,
        opens: spec
            .egress
            .allow
            .iter()
            .filter_map(|range| range.parse().ok())
            .collect(),
        own: own.to_vec(),
        mtu: spec.mtu,
    })
}

/// The gateway's own addresses: the first host address of each range.
fn own_addresses(pool: &IPPool) -> Vec<IpAddr> {
    let ipv4 = pool.spec.ipv4.as_ref().map(|range| range.cidr.as_str());
    let ipv6 = pool.spec.ipv6.as_ref().map(|range| range.cidr.as_str());
    let first = |range: IpNet| match range {
        IpNet::V4(range) => IpAddr::V4((u32::from(range.network()) | 1).into()),
        IpNet::V6(range) => IpAddr::V6((u128::from(range.network()) | 1).into()),
    };
    let ranges = [ipv4, ipv6].into_iter().flatten();
    ranges.filter_map(|range| range.parse().ok()).map(first).collect()
}

#[cfg(test)]
mod tests;
