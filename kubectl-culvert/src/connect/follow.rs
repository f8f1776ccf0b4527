//! What the API says of the key and of the gateways, for as long as somebody listens.
//!
//! Two tasks: each follows a watch and leaves what it knows last in a channel. What fails is begun again, with growing
//! pauses; what was known stays. The gateways' own settings (resolvers, MTU) and the pool, which a user may read and not
//! watch, are read at the start, when a gateway comes that was not there, and every [`AFRESH`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway, WireGuardKey};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::{now, pause, until};
use crate::cluster::Cluster;
use crate::gateways::{self, Serving};
use crate::request::{Ask, Failure, cause};
use std::time::Duration;

/// After a list that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// How often settings are read again and names of gateways looked up: nobody tells when they change. What gateways report
/// meanwhile, each twice a minute, does not put it off.
const AFRESH: Duration = Duration::from_secs(60);

/// The key, as it was last seen.
#[derive(Clone, Debug, Default)]
pub enum KeySeen {
    /// Not yet.
    #[default]
    Unknown,
    /// It was not there.
    Absent,
    /// It was there.
    Present(Arc<WireGuardKey>),
}

/// A gateway, and where it is when that could be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// As the API has it.
    pub serving: Serving,
    /// The address of its endpoint.
    pub address: Option<SocketAddr>,
}

/// The gateways of the pool, as they were last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// Each of them.
    pub known: Vec<Known>,
    /// How long the addresses of a key that was replaced go on.
    pub overlap: Duration,
}

/// What is known of both, last.
pub struct Followed {
    /// The key.
    pub key: watch::Receiver<KeySeen>,
    /// The gateways of the pool.
    pub gateways: watch::Receiver<Gateways>,
    /// What failed last, and may be a person's to put right.
    pub failure: watch::Receiver<Option<Arc<Failure>>>,
    _tasks: JoinSet<()>,
}

impl Followed {
    /// Begins.
    pub fn begin(cluster: &Cluster, name: &str, pool: &str) -> Self {
        let (key, key_seen) = watch::channel(KeySeen::Unknown);
        let (gateways, gateways_seen) = watch::channel(Gateways::default());
        let (failure, failure_seen) = watch::channel(None);
        let failure = Arc::new(failure);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_key(
            cluster.clone(),
            name.to_owned(),
            key,
            Arc::clone(&failure),
        ));
        tasks.spawn(follow_gateways(
            cluster.clone(),
            pool.to_owned(),
            gateways,
            failure,
        ));
        Self {
            key: key_seen,
            gateways: gateways_seen,
            failure: failure_seen,
            _tasks: tasks,
        }
    }
}

type Failed = Arc<watch::Sender<Option<Arc<Failure>>>>;

async fn follow_key(cluster: Cluster, name: String, seen: watch::Sender<KeySeen>, failed: Failed) {
    let objects = watcher::watch_object(cluster.here::<WireGuardKey>(), &name).default_backoff();
    let mut objects = std::pin::pin!(objects);
    while let Some(object) = objects.next().await {
        match object {
            Ok(Some(key)) => drop(seen.send(KeySeen::Present(Arc::new(key)))),
            Ok(None) => drop(seen.send(KeySeen::Absent)),
            Err(error) => {
                let ask = Ask::within("watch", "wireguardkeys", &cluster.namespace);
                tell(&failed, Failure::of(ask, cause(error)));
            }
        }
    }
}

async fn follow_gateways(cluster: Cluster, pool: String, seen: watch::Sender<Gateways>, failed: Failed) {
    let events = watcher::watcher(cluster.all::<GatewayNode>(), watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut settings = Settings::default();
    let mut nodes: BTreeMap<String, GatewayNode> = BTreeMap::new();
    let mut listed = BTreeMap::new();
    let mut due = now().boot + AFRESH;
    loop {
        let event = tokio::select! {
            event = next(&mut events) => event,
            () = until(due) => {
                if let Ok(read) = Settings::read(&cluster, &pool).await {
                    settings = read;
                }
                let before = seen.borrow().known.clone();
                let before = look_up_again(before).await;
                leave(&seen, settings.known(&nodes, &before).await);
                due = now().boot + AFRESH;
                continue;
            }
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(node)) => drop(listed.insert(node.name_any(), node)),
            Ok(Event::InitDone) => nodes = std::mem::take(&mut listed),
            Ok(Event::Apply(node)) => drop(nodes.insert(node.name_any(), node)),
            Ok(Event::Delete(node)) => drop(nodes.remove(&node.name_any())),
            Err(error) => {
                tell(
                    &failed,
                    Failure::of(Ask::cluster("watch", "gatewaynodes"), cause(error)),
                );
                continue;
            }
        }
        if !listed.is_empty() {
            continue;
        }
        while !settings.cover(&nodes) {
            match Settings::read(&cluster, &pool).await {
                Ok(read) => {
                    settings = read;
                    break;
                }
                Err(failure) => {
                    tell(&failed, failure);
                    pause(AGAIN).await;
                }
            }
        }
        let before = seen.borrow().known.clone();
        let known = settings.known(&nodes, &before).await;
        leave(&seen, known);
    }
}

/// Leaves what is known, and wakes those who wait for it when it is something else than before.
fn leave(seen: &watch::Sender<Gateways>, known: Gateways) {
    seen.send_if_modified(|seen| {
        let differs = *seen != known;
        *seen = known;
        differs
    });
}

async fn next(
    events: &mut (impl Stream<Item = Result<Event<GatewayNode>, watcher::Error>> + Unpin),
) -> Result<Event<GatewayNode>, watcher::Error> {
    match events.try_next().await {
        Ok(Some(event)) => Ok(event),
        // The stream has no end of its own.
        Ok(None) => std::future::pending().await,
        Err(error) => Err(error),
    }
}

/// The pool, and the gateways' own settings.
#[derive(Default)]
struct Settings {
    pool: Option<IPPool>,
    gateways: Vec<WireGuardGateway>,
}

impl Settings {
    async fn read(cluster: &Cluster, pool: &str) -> Result<Self, Failure> {
        let pools = cluster.all::<IPPool>();
        let ask = Ask::cluster("get", "ippools").named(pool);
        let pool = cluster.ask(ask, pools.get(pool));
        let gateways = gateways::list::<WireGuardGateway>(cluster, "wireguardgateways");
        let (pool, gateways) = futures::try_join!(pool, gateways)?;
        Ok(Self {
            pool: Some(pool),
            gateways,
        })
    }

    /// Whether they say something of every node's gateway.
    fn cover(&self, nodes: &BTreeMap<String, GatewayNode>) -> bool {
        let is_there = |node: &GatewayNode| {
            let uid = Some(&node.spec.gateway_ref.uid);
            self.gateways
                .iter()
                .any(|gateway| gateway.metadata.uid.as_ref() == uid)
        };
        self.pool.is_some() && nodes.values().all(is_there)
    }

    async fn known(&self, nodes: &BTreeMap<String, GatewayNode>, before: &[Known]) -> Gateways {
        let Some(pool) = &self.pool else {
            return Gateways::default();
        };
        let nodes: Vec<GatewayNode> = nodes.values().cloned().collect();
        let mut known = Vec::new();
        for serving in gateways::serving(pool, &self.gateways, &nodes) {
            let earlier = before
                .iter()
                .find(|known| known.serving.endpoint == serving.endpoint);
            let address = match earlier.and_then(|known| known.address) {
                Some(address) => Some(address),
                None => resolve(&serving.endpoint).await,
            };
            known.push(Known { serving, address });
        }
        Gateways {
            known,
            overlap: pool.spec.key_policy.overlap.into(),
        }
    }
}

/// Looks up those that are names. One that is not found stays where it was.
async fn look_up_again(mut gateways: Vec<Known>) -> Vec<Known> {
    for known in &mut gateways {
        let endpoint = &known.serving.endpoint;
        if endpoint.parse::<SocketAddr>().is_err()
            && let Some(address) = resolve(endpoint).await
        {
            known.address = Some(address);
        }
    }
    gateways
}

async fn resolve(endpoint: &str) -> Option<SocketAddr> {
    if let Ok(address) = endpoint.parse() {
        return Some(address);
    }
    tokio::net::lookup_host(endpoint).await.ok()?.next()
}

fn tell(failed: &Failed, failure: Failure) {
    failed.send_replace(Some(Arc::new(failure)));
}
