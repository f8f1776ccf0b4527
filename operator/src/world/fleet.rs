//! Gateways, their nodes, and how far each node's kernel has got.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::time::Duration;

use culvert_wireguard::PublicKey;
use ipnet::IpNet;

use super::{Kind, Target, Uid, World};

/// A node that has not reported for so long serves no more, and holds nobody up.
pub const SERVING_LEASE: Duration = Duration::from_secs(60);

/// A `WireGuardGateway` as observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Uid of the object.
    pub uid: Uid,
    /// Name of the object.
    pub name: String,
    /// Version of the object.
    pub resource_version: u64,
    /// Generation of its spec.
    pub generation: i64,
    /// Somebody has asked for its deletion.
    pub deleting: bool,
    /// Labels of the nodes it takes.
    pub node_selector: BTreeMap<String, String>,
    /// Names of the pools it serves.
    pub pools: Vec<String>,
    /// Name of its interface.
    pub interface: String,
    /// Its UDP port.
    pub listen_port: u16,
    /// Creation, seconds since the epoch.
    pub created: u32,
    /// Host name of its nodes, with `{node}` for the node's name.
    pub host_template: Option<String>,
    /// What was last published.
    pub status: culvert_crds::gateway::WireGuardGatewayStatus,
}

/// A `GatewayNode` as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayNode {
    /// Uid of the object.
    pub uid: Uid,
    /// Name of the object.
    pub name: String,
    /// Version of the object.
    pub resource_version: u64,
    /// Name of the gateway.
    pub gateway: String,
    /// Uid of the gateway.
    pub gateway_uid: Uid,
    /// Name of the node.
    pub node: String,
    /// Where clients connect.
    pub endpoint_host: Option<String>,
    /// The node is asked to leave.
    pub drain: bool,
    /// It was the operator that asked: the object goes when the node has left, even if it is selected again.
    pub leaving: bool,
    /// What its agent last said; `None` before it has said anything.
    pub report: Option<Report>,
    /// When this operator saw the last renewal.
    pub renewed: Duration,
}

/// What an agent says about its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The gateway's public key there.
    pub public_key: Option<PublicKey>,
    /// The session that the watermark belongs to.
    pub session: String,
    /// Every peer up to this version is in the kernel or refused; `None` while it catches up.
    pub applied: Option<u64>,
    /// Names of the pools that the watermark speaks for.
    pub pools: HashSet<String>,
    /// Uids of peers that could not be programmed.
    pub refused: HashSet<Uid>,
    /// How many these are in all.
    pub refused_count: usize,
    /// The interface is gone, as asked.
    pub drained: bool,
    /// The agent's own clock at its last report, as text: only its changes matter.
    pub renew_time: String,
}

/// A `Node` as observed: the parts that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Uid of the object.
    pub uid: Uid,
    /// Name of the object.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its address for the world outside.
    pub external_address: Option<String>,
    /// Its address inside the cluster.
    pub internal_address: Option<String>,
    /// Ranges that the cluster itself uses there: its pods', and its own addresses.
    pub ranges: Vec<IpNet>,
}

impl GatewayNode {
    /// Whether the node's kernel is up to date as far as its watermark says, and the watermark can be believed.
    pub fn serves(&self, now: Duration) -> bool {
        let Some(report) = &self.report else { return false };
        !self.drain
            && !report.drained
            && now.saturating_sub(self.renewed) <= SERVING_LEASE
            // A watermark above the version of the object that carries it is from before a restore of etcd.
            && report.applied.is_some_and(|applied| applied <= self.resource_version)
    }

    /// Whether it serves this pool. One that has not heard of the pool yet, or cannot serve it, does not: its watermark
    /// says nothing about it.
    pub fn serves_pool(&self, pool: &str, now: Duration) -> bool {
        self.serves(now)
            && self
                .report
                .as_ref()
                .is_some_and(|report| report.pools.contains(pool))
    }
}

impl World {
    /// Every gateway.
    pub fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.gateways.values()
    }

    /// The gateway of this name.
    pub fn gateway(&self, name: &str) -> Option<&Gateway> {
        self.gateways.get(name)
    }

    /// Every gateway node.
    pub fn gateway_nodes(&self) -> impl Iterator<Item = &GatewayNode> {
        self.gateway_nodes.values()
    }

    /// The gateway node of this name.
    pub fn gateway_node(&self, name: &str) -> Option<&GatewayNode> {
        self.gateway_nodes.get(name)
    }

    /// Every node.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Whether a gateway uses this public key for itself.
    pub fn is_gateway_key(&self, public_key: &PublicKey) -> bool {
        self.gateway_keys.contains_key(public_key)
    }

    /// The nodes that should serve a pool.
    pub fn nodes_of_pool<'a>(&'a self, pool: &'a str) -> impl Iterator<Item = &'a GatewayNode> {
        self.gateway_nodes.values().filter(move |node| {
            let gateway = self
                .gateways
                .get(&node.gateway)
                .filter(|gateway| gateway.uid == node.gateway_uid);
            gateway.is_some_and(|gateway| gateway.pools.iter().any(|name| name == pool))
        })
    }

    /// The nodes that serve a pool now.
    pub fn serving<'a>(&'a self, pool: &'a str, now: Duration) -> impl Iterator<Item = &'a GatewayNode> {
        self.nodes_of_pool(pool)
            .filter(move |node| node.serves_pool(pool, now))
    }

    /// The version up to which every serving node of a pool has all peers.
    pub(super) fn watermark(&self, pool: &str, now: Duration) -> Option<u64> {
        self.serving(pool, now)
            .filter_map(|node| node.report.as_ref()?.applied)
            .min()
    }

    pub(super) fn apply_gateway(&mut self, gateway: Gateway, now: Duration) {
        let known = self.gateways.get(&gateway.name);
        let version = known.filter(|known| known.uid == gateway.uid);
        let version = version.map(|known| known.resource_version);
        if version.is_some_and(|known| self.is_old(Kind::Gateway, known, gateway.resource_version)) {
            return;
        }
        let known = self.gateways.get(&gateway.name);
        let mut pools = gateway.pools.clone();
        pools.extend(known.into_iter().flat_map(|known| known.pools.clone()));
        self.gateways.insert(gateway.name.clone(), gateway);
        self.fleet_changed(&pools, now, true);
    }

    pub(super) fn remove_gateway(&mut self, uid: &Uid, now: Duration) {
        let Some(name) = self
            .gateways
            .values()
            .find(|g| g.uid == *uid)
            .map(|g| g.name.clone())
        else {
            return;
        };
        let pools = self
            .gateways
            .remove(&name)
            .map(|gateway| gateway.pools)
            .unwrap_or_default();
        self.fleet_changed(&pools, now, true);
    }

    pub(super) fn apply_gateway_node(&mut self, mut node: GatewayNode, now: Duration) {
        node.renewed = now;
        let before = self
            .gateway_nodes
            .get(&node.name)
            .filter(|known| known.uid == node.uid)
            .cloned();
        if let Some(before) = &before {
            let known = before.resource_version;
            if self.is_old(Kind::GatewayNode, known, node.resource_version) {
                return;
            }
            let renewed = |n: &GatewayNode| n.report.as_ref().map(|r| r.renew_time.clone());
            if renewed(before) == renewed(&node) {
                node.renewed = before.renewed;
            }
        }
        let old_key = before.as_ref().and_then(|b| b.report.as_ref()?.public_key);
        let new_key = node.report.as_ref().and_then(|r| r.public_key);
        if old_key != new_key {
            self.change_gateway_key(old_key, new_key);
        }
        let view = |n: &GatewayNode| {
            let report = n
                .report
                .as_ref()
                .map(|r| (r.drained, r.refused.clone(), r.refused_count, r.pools.clone()));
            (n.drain, n.leaving, report)
        };
        let turned = before.as_ref().map(view) != Some(view(&node));
        if before
            .as_ref()
            .is_some_and(|before| before.endpoint_host != node.endpoint_host)
        {
            self.touch(Target::Fleet);
        }
        let pools = self
            .gateways
            .get(&node.gateway)
            .map(|g| g.pools.clone())
            .unwrap_or_default();
        // Those that are refused no longer, too.
        let reports = [
            before.as_ref().and_then(|b| b.report.as_ref()),
            node.report.as_ref(),
        ];
        let refused: HashSet<Uid> = reports
            .into_iter()
            .flatten()
            .flat_map(|r| r.refused.iter().copied())
            .collect();
        self.touch_at(
            node.renewed + SERVING_LEASE + Duration::from_millis(1),
            Target::Fleet,
        );
        self.gateway_nodes.insert(node.name.clone(), node);
        for uid in refused {
            if let Some(key) = self.claim(&uid).map(|claim| claim.key) {
                self.touch(Target::Key(key));
            }
        }
        self.fleet_changed(&pools, now, turned);
        self.notice_serving(now);
    }

    /// Plans again what depends on a node that has fallen silent.
    pub fn notice_silence(&mut self, now: Duration) {
        if now > self.serving_until {
            self.notice_serving(now);
        }
    }

    /// Plans again what depends on a node that has begun or ceased to serve.
    fn notice_serving(&mut self, now: Duration) {
        let renewed = self.gateway_nodes.values().filter(|n| n.serves(now));
        self.serving_until = renewed
            .map(|n| n.renewed + SERVING_LEASE)
            .min()
            .unwrap_or(Duration::MAX);
        let serving: HashSet<String> = self
            .gateway_nodes
            .values()
            .filter(|n| n.serves(now))
            .map(|n| n.name.clone())
            .collect();
        let turned: Vec<_> = self.serving.symmetric_difference(&serving).cloned().collect();
        self.serving = serving;
        for name in turned {
            let gateway = self
                .gateway_nodes
                .get(&name)
                .and_then(|node| self.gateways.get(&node.gateway));
            let pools = gateway.map(|gateway| gateway.pools.clone()).unwrap_or_default();
            self.fleet_changed(&pools, now, true);
        }
    }

    pub(super) fn remove_gateway_node(&mut self, uid: &Uid, now: Duration) {
        let Some(name) = self
            .gateway_nodes
            .values()
            .find(|n| n.uid == *uid)
            .map(|n| n.name.clone())
        else {
            return;
        };
        if let Some(node) = self.gateway_nodes.remove(&name) {
            self.change_gateway_key(node.report.and_then(|r| r.public_key), None);
            let pools = self
                .gateways
                .get(&node.gateway)
                .map(|g| g.pools.clone())
                .unwrap_or_default();
            self.fleet_changed(&pools, now, true);
        }
    }

    pub(super) fn apply_node(&mut self, node: &Node, now: Duration) {
        // A node's own heartbeat changes its version many times a minute and nothing here.
        if self.nodes.get(&node.name) == Some(node) {
            return;
        }
        let before = self.nodes.insert(node.name.clone(), node.clone());
        if before.is_none_or(|before| before.ranges != node.ranges) {
            self.ranges_changed(now);
        }
        self.touch(Target::Fleet);
    }

    pub(super) fn remove_node(&mut self, uid: &Uid, now: Duration) {
        let Some(name) = self
            .nodes
            .values()
            .find(|n| n.uid == *uid)
            .map(|n| n.name.clone())
        else {
            return;
        };
        self.nodes.remove(&name);
        self.ranges_changed(now);
        self.touch(Target::Fleet);
    }

    fn change_gateway_key(&mut self, old: Option<PublicKey>, new: Option<PublicKey>) {
        if let Some(old) = old
            && let Some(count) = self.gateway_keys.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.gateway_keys.remove(&old);
            }
        }
        if let Some(new) = new {
            *self.gateway_keys.entry(new).or_default() += 1;
        }
        self.touch_carriers(old);
        self.touch_carriers(new);
    }

    /// Plans again what depends on the nodes of these pools: all of it when a node has `turned`, otherwise what the
    /// watermark has passed. A renewal alone costs nothing, however many claims cool down.
    fn fleet_changed(&mut self, pools: &[String], now: Duration, turned: bool) {
        for pool in pools {
            let watermark = self.watermark(pool, now);
            let before = match watermark {
                Some(watermark) => self.watermarks.insert(pool.clone(), watermark),
                None => self.watermarks.remove(pool),
            };
            let passed = match watermark {
                _ if turned => 0..=u64::MAX,
                Some(watermark) => before.map_or(0, |before| before.saturating_add(1))..=watermark,
                None => continue,
            };
            self.touch_awaiting(pool, passed);
            if turned {
                self.touch(Target::Pool(pool.clone()));
            }
        }
        if turned {
            self.touch(Target::Fleet);
        }
    }
}
