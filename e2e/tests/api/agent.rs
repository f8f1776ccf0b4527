//! A node agent in this process, over a kernel in memory, behind a proxy of its own; and all that it follows, made by
//! hand: there is no operator here.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_crds::{GatewayNode, NameRef, WireGuardGateway, WireGuardPeer, WireGuardPeerSpec, peer::KeyRef};
use culvert_e2e::{FaultProxy, Reading, Scratch, kubeconfig, wait};
use culvert_node_agent::{
    clock::Clocks,
    flows::Flows,
    kernel::fake::{Call, Fake},
    keystore::Keystore,
    metrics::Metrics,
    privacy::Finding,
    run::{Parts, run},
};
use culvert_wireguard::{Endpoint, PeerChange, PublicKey};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api as Kind, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    fixture::{Api, SOON, examples},
    load::fresh_key,
};

/// The agent's node.
const NODE: &str = "gateway-1";

/// The gateway on it.
const GATEWAY_NODE: &str = "default.gateway-1";

/// The interface that the example asks for.
const INTERFACE: &str = "cv0";

/// Requests that are made at the same time.
const AT_ONCE: usize = 20;

/// What the agent follows.
pub const KINDS: [&str; 4] = ["wireguardpeers", "gatewaynodes", "wireguardgateways", "ippools"];

/// A control plane with a gateway on one node, and peers by number.
pub struct Site {
    pub api: Api,
    client: Client,
}

/// The address of a peer, by its number.
fn address(n: u32) -> String {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 1, 0)) + n).to_string()
}

fn public_key(n: u32) -> Result<PublicKey> {
    PublicKey::from_base64(&fresh_key(n)).context("no public key")
}

impl Site {
    /// Makes it, with the peers 0 to `count`.
    pub async fn start(count: u32) -> Result<Self> {
        Self::at(Api::start().await?, count).await
    }

    /// The same on a control plane that is there.
    pub async fn at(api: Api, count: u32) -> Result<Self> {
        for file in ["pool.yaml", "gateway.yaml"] {
            api.kubectl(&["apply", "-f", &format!("{}/{file}", examples())], None)
                .await?;
        }
        // Sessions here make no handshakes, and a slow machine may take longer than a session lives.
        let patient = r#"{"spec":{"purge":{"handshakeWindow":"24h"}}}"#;
        api.kubectl(
            &["patch", "wireguardgateway/default", "--type=merge", "-p", patient],
            None,
        )
        .await?;
        let client = api.plane.client().await?;
        let gateways: Kind<WireGuardGateway> = Kind::all(client.clone());
        let gateway = gateways.get("default").await?;
        let uid = gateway.metadata.uid.context("the gateway has no uid")?;
        api.apply(&json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "GatewayNode",
            "metadata": { "name": GATEWAY_NODE },
            "spec": { "gatewayRef": { "name": "default", "uid": uid }, "nodeName": NODE },
        }))
        .await?;
        let site = Self { api, client };
        site.add_all(0..count).await?;
        Ok(site)
    }

    fn peers(&self) -> Kind<WireGuardPeer> {
        Kind::all(self.client.clone())
    }

    /// Makes a peer.
    pub async fn add(&self, n: u32) -> Result<()> {
        let spec = WireGuardPeerSpec {
            public_key: fresh_key(n),
            addresses: vec![address(n)],
            pool_ref: NameRef {
                name: "default".to_owned(),
            },
            key_ref: KeyRef {
                namespace: "default".to_owned(),
                name: format!("key-{n}"),
                uid: format!("00000000-0000-4000-8000-{n:012}"),
            },
            address_generation: 0,
            released: false,
        };
        let peer = WireGuardPeer::new(&address(n), spec);
        let made = self.peers().create(&PostParams::default(), &peer).await;
        made.map(drop).context("failed to make a peer")
    }

    /// Makes many.
    pub async fn add_all(&self, peers: impl IntoIterator<Item = u32>) -> Result<()> {
        stream::iter(peers)
            .map(|n| self.add(n))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// The version that a peer has.
    pub async fn version_of_peer(&self, n: u32) -> Result<u64> {
        let peer = self.peers().get(&address(n)).await?;
        let version = peer.metadata.resource_version.context("a peer has a version")?;
        version.parse().context("a version is a number")
    }

    /// Takes a peer's addresses back, as the operator does.
    pub async fn release(&self, n: u32) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "released": true } }));
        let done = self
            .peers()
            .patch(&address(n), &PatchParams::default(), &patch)
            .await;
        done.map(drop).context("failed to release a peer")
    }

    /// Deletes a peer.
    pub async fn delete(&self, n: u32) -> Result<()> {
        let done = self.peers().delete(&address(n), &DeleteParams::default()).await;
        done.map(drop).context("failed to delete a peer")
    }

    /// What the agent has reported.
    pub async fn report(&self) -> Result<GatewayNode> {
        let nodes: Kind<GatewayNode> = Kind::all(self.client.clone());
        nodes.get(GATEWAY_NODE).await.context("failed to read the report")
    }

    /// Waits until the apiserver, which has been started again, answers for our kinds.
    pub async fn answers(&self) -> Result<()> {
        wait::until("our kinds to be served", SOON, || async {
            self.peers().get_opt(&address(0)).await?;
            self.report().await.map(Some)
        })
        .await
        .map(drop)
    }
}

/// A running agent.
pub struct Agent {
    pub proxy: FaultProxy,
    kernel: Fake,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _folder: Scratch,
}

impl Agent {
    /// Starts one, and waits until it serves the peers 0 to `count`, each with a session.
    pub async fn start(site: &Site, count: u32) -> Result<Self> {
        Self::start_as(site.api.plane.client().await?, count).await
    }

    /// The same with the rights of this client.
    pub async fn start_as(own: Client, count: u32) -> Result<Self> {
        let proxy = FaultProxy::start(own, &["leases"]).await?;
        let client = kubeconfig::client(&proxy.kubeconfig()).await?;
        let folder = Scratch::new("culvert-agent-")?;
        let kernel = Fake::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let (_, privacy) = watch::channel(Finding::Nothing);
        let parts = Parts {
            client,
            node: NODE.to_owned(),
            keystore: Keystore::new(folder.path().to_owned()),
            kernel: kernel.clone(),
            gateways: HashMap::new(),
            health: Arc::default(),
            metrics: Arc::new(Metrics::new("0")),
            privacy,
            // A kernel in memory tracks nothing.
            flows: Flows::handed_over().0,
            ports: watch::channel(HashSet::new()).0,
        };
        let task = tokio::spawn(run(parts, async {
            let _ = stopped.await;
        }));
        let agent = Self {
            proxy,
            kernel,
            stop: Some(stop),
            task,
            _folder: folder,
        };
        agent.serves(0..count).await?;
        for n in 0..count {
            agent.handshake(n)?;
        }
        Ok(agent)
    }

    /// The peers in its kernel.
    pub fn served(&self) -> BTreeSet<u32> {
        if !self.has_interface() {
            return BTreeSet::new();
        }
        let peers = self.kernel.device(INTERFACE).peers;
        let number = |key: &PublicKey| {
            let bytes = STANDARD.decode(key.to_base64()).unwrap_or_default();
            bytes.get(1..5).map(|bytes| {
                bytes
                    .iter()
                    .fold(0, |number, byte| number << 8 | u32::from(*byte))
            })
        };
        peers.iter().filter_map(|peer| number(&peer.public_key)).collect()
    }

    /// Whether its interface is in the kernel.
    pub fn has_interface(&self) -> bool {
        self.kernel.links().iter().any(|link| link.name == INTERFACE)
    }

    /// Waits until exactly these peers are in its kernel.
    pub async fn serves(&self, peers: impl IntoIterator<Item = u32>) -> Result<()> {
        self.serves_within(SOON, peers).await
    }

    /// As [`Self::serves`], within a time of its own.
    pub async fn serves_within(&self, time: Duration, peers: impl IntoIterator<Item = u32>) -> Result<()> {
        let wanted: BTreeSet<u32> = peers.into_iter().collect();
        wait::until("the peers in the kernel", time, || async {
            ensure!(!self.task.is_finished(), "the agent has ended");
            let served = self.served();
            let missing: Vec<_> = wanted.difference(&served).take(5).collect();
            let surplus: Vec<_> = served.difference(&wanted).take(5).collect();
            ensure!(
                missing.is_empty() && surplus.is_empty(),
                "missing {missing:?}, too much {surplus:?}"
            );
            Ok(Some(()))
        })
        .await
    }

    fn handshake(&self, n: u32) -> Result<()> {
        let endpoint = Endpoint::new("198.51.100.7:40000".parse()?);
        self.kernel
            .handshake(INTERFACE, &public_key(n)?, endpoint, Clocks::read().wall);
        Ok(())
    }

    /// Ensures that these peers have never been taken out of the kernel since they were first in it.
    pub fn ensure_sessions(&self, peers: impl IntoIterator<Item = u32>) -> Result<()> {
        let served = self.served();
        for n in peers {
            ensure!(
                served.contains(&n) && self.kernel.has_session(INTERFACE, &public_key(n)?),
                "the session of peer {n} was cut"
            );
        }
        Ok(())
    }

    /// How many changes of peers it has asked of its kernel so far.
    pub fn changes(&self) -> usize {
        let count = |call: &Call| match call {
            Call::Change(changes) => changes.iter().filter(|change| is_of_substance(change)).count(),
            _ => 0,
        };
        self.kernel.calls().iter().map(count).sum()
    }

    /// How many requests of these sorts there have been for a kind, after the first `since` of all calls.
    pub fn read(&self, since: usize, kind: &str, sorts: &[Reading]) -> usize {
        let calls = self.proxy.calls();
        let of_kind = calls.iter().skip(since).filter(|call| call.kind == kind);
        of_kind
            .filter(|call| call.reading().is_some_and(|reading| sorts.contains(&reading)))
            .count()
    }

    /// Stops it, as a signal does.
    pub async fn stop(mut self) -> Result<()> {
        self.halt().await
    }

    /// The same, of one that is not to be used any more.
    pub async fn halt(&mut self) -> Result<()> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let ended = tokio::time::timeout(SOON, &mut self.task).await;
        ended
            .context("the agent does not end")?
            .context("the agent panicked")
    }
}

/// Whether a change puts a peer in or takes it out.
fn is_of_substance(change: &PeerChange) -> bool {
    matches!(change, PeerChange::Remove(_) | PeerChange::Set(_))
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}
