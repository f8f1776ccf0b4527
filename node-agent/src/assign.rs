//! Follows the objects that say what this node's gateways are: `GatewayNode`s of this node, gateways, pools.
//!
//! Nothing is taken from a node for what one list alone leaves out: see [`catalog`].

mod catalog;

use std::sync::{Arc, Mutex, PoisonError};

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway};
use culvert_follow::{Deaf, Listener, Next, Params, Raw, Told, Uid, follow};
use kube::api::ObjectMeta;
use kube::{Client, Resource};
use tokio::sync::watch;

use crate::assignment::{Assignment, Leaving};
use crate::metrics::{Metrics, Watched};
use crate::watch::{SECOND_OPINION, params};
use catalog::Catalog;

/// What this node's gateways are, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Every kind has been listed whole.
    pub complete: bool,
    /// One for each gateway that is to serve.
    pub gateways: Vec<Assignment>,
    /// One for each gateway that is to leave.
    pub leaving: Vec<Leaving>,
}

impl Assignments {
    /// Whether everything is known, and it is nothing.
    pub fn is_nothing(&self) -> bool {
        self.complete && self.gateways.is_empty() && self.leaving.is_empty()
    }
}

/// Follows for ever; the newest state is in `assignments`.
pub async fn run(
    client: Client,
    node: String,
    metrics: Arc<Metrics>,
    assignments: watch::Sender<Assignments>,
) {
    let (nodes, gateways, pools) = ears(&metrics, assignments);
    let of_node = Params {
        fields: Some(format!("spec.nodeName={node}")),
        ..params::<GatewayNode>()
    };
    tokio::join!(
        follow(client.clone(), of_node, nodes),
        follow(client.clone(), params::<WireGuardGateway>(), gateways),
        follow(client, params::<IPPool>(), pools),
    );
}

fn ears(
    metrics: &Arc<Metrics>,
    assignments: watch::Sender<Assignments>,
) -> (Ear<GatewayNode>, Ear<WireGuardGateway>, Ear<IPPool>) {
    let known = Arc::<Mutex<Known>>::default();
    let assignments = Arc::new(assignments);
    let nodes = Ear {
        known: known.clone(),
        assignments: assignments.clone(),
        metrics: metrics.clone(),
        kind: Watched::GatewayNode,
        catalog: |known| &mut known.nodes,
        read: |raw| {
            let mut node = GatewayNode::new(&raw.metadata.name, raw.spec()?);
            node.metadata = ObjectMeta {
                annotations: Some(raw.metadata.annotations()),
                ..metadata(raw)
            };
            node.status = raw.status();
            Some(node)
        },
    };
    let gateways = Ear {
        known: known.clone(),
        assignments: assignments.clone(),
        metrics: metrics.clone(),
        kind: Watched::Gateway,
        catalog: |known| &mut known.gateways,
        read: |raw| {
            let mut gateway = WireGuardGateway::new(&raw.metadata.name, raw.spec()?);
            gateway.metadata = metadata(raw);
            gateway.status = raw.status();
            Some(gateway)
        },
    };
    let pools = Ear {
        known,
        assignments,
        metrics: metrics.clone(),
        kind: Watched::Pool,
        catalog: |known| &mut known.pools,
        read: |raw| {
            let mut pool = IPPool::new(&raw.metadata.name, raw.spec()?);
            pool.metadata = metadata(raw);
            Some(pool)
        },
    };
    (nodes, gateways, pools)
}

/// As much of an object's metadata as is read of it later.
fn metadata(raw: &Raw) -> ObjectMeta {
    ObjectMeta {
        name: Some(raw.metadata.name.clone()),
        uid: raw.metadata.uid.map(|uid| uid.to_string()),
        generation: Some(raw.metadata.generation),
        ..ObjectMeta::default()
    }
}

/// What the three kinds say at present.
#[derive(Debug, Default)]
struct Known {
    nodes: Catalog<GatewayNode>,
    gateways: Catalog<WireGuardGateway>,
    pools: Catalog<IPPool>,
}

impl Known {
    /// What it means; `None` until every kind has been listed whole.
    fn assignments(&self) -> Option<Assignments> {
        if !(self.nodes.is_complete() && self.gateways.is_complete() && self.pools.is_complete()) {
            return None;
        }
        let pools: Vec<IPPool> = self.pools.objects().cloned().collect();
        let mut new = Assignments {
            complete: true,
            ..Assignments::default()
        };
        for node in self.nodes.objects() {
            new.leaving.extend(Leaving::read(node));
            let gateway = self.gateways.get(&node.spec.gateway_ref.name);
            // A pool that makes no sense is not one that is missing: the node stays as it is.
            let gateway = gateway.filter(|gateway| {
                let mut refs = gateway.spec.pool_refs.iter();
                !refs.any(|pool| self.pools.is_unreadable(&pool.name))
            });
            new.gateways
                .extend(gateway.and_then(|gateway| Assignment::read(node, gateway, &pools)));
        }
        new.gateways.sort_by(|a, b| a.name.cmp(&b.name));
        new.leaving.sort_by(|a, b| a.name.cmp(&b.name));
        Some(new)
    }
}

/// Listens to one of the kinds.
struct Ear<K> {
    known: Arc<Mutex<Known>>,
    assignments: Arc<watch::Sender<Assignments>>,
    metrics: Arc<Metrics>,
    kind: Watched,
    catalog: fn(&mut Known) -> &mut Catalog<K>,
    read: fn(&Raw) -> Option<K>,
}

impl<K> Ear<K> {
    fn with<T>(&self, change: impl FnOnce(&mut Catalog<K>) -> T) -> T {
        // Nothing that holds the lock can leave a catalog half changed.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change((self.catalog)(&mut known))
    }

    /// Hands over what it means, if that is anything new.
    fn publish(&self) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(new) = known.assignments() else { return };
        self.assignments.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }
}

impl<K: Resource<DynamicType = ()> + Send> Listener for Ear<K> {
    async fn list_begins(&mut self, _version: u64) -> Told {
        self.with(Catalog::list_begins);
        Ok(())
    }

    async fn now_is(&mut self, raw: &Raw) -> Told {
        let Some(uid) = raw.metadata.uid else {
            return Ok(());
        };
        let object = (self.read)(raw);
        if object.is_none() {
            tracing::warn!(kind = %K::kind(&()), %uid, "object cannot be read; what depends on it stays as it is");
        }
        self.with(|catalog| catalog.now_is(uid, &raw.metadata.name, object));
        Ok(())
    }

    async fn gone(&mut self, uid: Uid, _version: u64) -> Told {
        self.with(|catalog| catalog.gone(uid));
        Ok(())
    }

    async fn seen(&mut self, _version: u64) -> Told {
        self.publish();
        Ok(())
    }

    async fn list_complete(&mut self, _version: u64) -> Result<Next, Deaf> {
        let is_doubted = self.with(Catalog::list_complete);
        self.publish();
        Ok(if is_doubted {
            Next::ListAgain(SECOND_OPINION)
        } else {
            Next::Watch
        })
    }

    async fn rewound(&mut self) -> Told {
        // No version is remembered here; the list that follows says what there is.
        tracing::warn!(
            kind = %K::kind(&()),
            "the API's history has gone back, as after a restore from a backup; everything is listed again"
        );
        Ok(())
    }

    fn failed(&mut self) {
        self.metrics.watch_failed(self.kind);
    }
}

#[cfg(test)]
mod tests;
