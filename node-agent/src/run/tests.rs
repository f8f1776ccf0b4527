//! The loop, over a kernel in memory and an apiserver that is a function. Where its clock stands still, time passes
//! as soon as nobody has anything to do.

mod ends;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::Receiver;

use culvert_follow::Uid as ObjectUid;
use culvert_wireguard::{Endpoint, PeerChange, PublicKey};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::apiserver::{Apiserver, Asked, GATEWAYS, NODES, PEERS, POOLS, now};
use crate::kernel::fake::{Call, Fake};

const INTERFACE: &str = "cv0";
const GATEWAY_NODE: &str = "edge.a";

/// How often it is looked whether something is so, and how often at most.
const MOMENT: Duration = Duration::from_millis(10);
const MOMENTS: usize = 6_000;

/// Less than a tick.
const AT_ONCE: Duration = Duration::from_millis(500);

fn object(n: u128, kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "uid": ObjectUid::from_u128(n).to_string(),
            "generation": 1,
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": spec,
    })
}

fn key(n: u32) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn address(n: u32) -> String {
    Ipv4Addr::from_bits(0x0a40_0100 + n).to_string()
}

/// Peer `n`, as its key's only claim.
fn peer(n: u32) -> Value {
    let spec = json!({
        "publicKey": key(n).to_base64(),
        "addresses": [address(n)],
        "poolRef": { "name": "default" },
        "keyRef": { "namespace": "default", "name": "laptop", "uid": ObjectUid::from_u128(2 << 64 | u128::from(n)).to_string() },
        "addressGeneration": 1,
        "released": false,
    });
    object(1 << 64 | u128::from(n), "WireGuardPeer", &address(n), &spec)
}

fn uid(n: u32) -> String {
    peer(n)["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// A node, its API, and the agent while it runs.
struct Bed {
    api: Apiserver,
    kernel: Fake,
    folder: TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    /// Addresses whose connections the agent wants forgotten.
    forgotten: Option<Receiver<HashSet<IpAddr>>>,
    /// The ports of which the agent has told.
    ports: watch::Sender<HashSet<u16>>,
}

impl Bed {
    /// An agent that has done all there is to do for the peers 1 to `count`, each with a session.
    async fn serving(count: u32) -> Self {
        let api = Apiserver::default();
        let gateway = json!({ "name": "edge", "uid": ObjectUid::from_u128(1).to_string() });
        for (kind, object) in [
            (
                POOLS,
                object(
                    3,
                    "IPPool",
                    "default",
                    &json!({ "ipv4": { "cidr": "10.64.0.0/11" } }),
                ),
            ),
            (
                GATEWAYS,
                object(
                    1,
                    "WireGuardGateway",
                    "edge",
                    &json!({ "poolRefs": [{ "name": "default" }] }),
                ),
            ),
            (
                NODES,
                object(
                    2,
                    "GatewayNode",
                    GATEWAY_NODE,
                    &json!({ "gatewayRef": gateway, "nodeName": "a" }),
                ),
            ),
        ] {
            api.put(kind, object);
        }
        (1..=count).for_each(|n| api.put(PEERS, peer(n)));
        let mut bed = Self {
            api,
            kernel: Fake::default(),
            folder: tempfile::tempdir().unwrap(),
            running: None,
            forgotten: None,
            ports: watch::channel(HashSet::new()).0,
        };
        bed.start().await;
        for n in 1..=count {
            let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
            bed.kernel
                .handshake(INTERFACE, &key(n), endpoint, Clocks::read().wall);
        }
        bed
    }

    /// Starts an agent, and waits until it has done all there is to do.
    async fn start(&mut self) {
        let before = self.status()["session"].clone();
        self.begin().await;
        self.until("the watermark", |bed| {
            let status = bed.status();
            status["session"] != before && status["appliedResourceVersion"].is_string()
        })
        .await;
    }

    /// Starts an agent.
    async fn begin(&mut self) {
        let (keystore, metrics) = (
            Keystore::new(self.folder.path().to_owned()),
            Arc::new(Metrics::new("0")),
        );
        let mut kernel = self.kernel.clone();
        let gateways = look_through(&mut kernel, &keystore, &metrics).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (_, privacy) = watch::channel(Finding::Nothing);
        let (flows, forgotten) = Flows::handed_over();
        self.forgotten = Some(forgotten);
        let parts = Parts {
            client: self.api.client(),
            node: "a".to_owned(),
            keystore,
            kernel,
            gateways,
            health: Arc::default(),
            metrics,
            privacy,
            flows,
            ports: self.ports.clone(),
        };
        let task = tokio::spawn(run(parts, async {
            let _ = stopped.await;
        }));
        self.running = Some((stop, task));
    }

    async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        task.await.unwrap();
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..MOMENTS {
            if is_so(self) {
                return;
            }
            if let Some((_, task)) = &self.running {
                assert!(!task.is_finished(), "the agent has ended");
            }
            sleep(MOMENT).await;
        }
        panic!("it never comes to {what}");
    }

    /// Waits until the agent has just looked at everything, as it does every few seconds.
    async fn until_a_tick(&self) {
        let made = self.kernel.made();
        self.until("a tick", |bed| bed.kernel.made() > made).await;
        sleep(AT_ONCE).await;
    }

    /// Whether the kernel has exactly so many peers, from the first on.
    fn serves(&self, count: u32) -> bool {
        let peers = self.kernel.device(INTERFACE).peers;
        let mut found: Vec<_> = peers.iter().map(|peer| peer.public_key).collect();
        let mut wanted: Vec<_> = (1..=count).map(key).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        found == wanted
    }

    /// Asserts that each of these peers has been there all the time.
    fn assert_sessions(&self, count: u32) {
        assert!(self.serves(count), "others are served");
        for n in 1..=count {
            assert!(self.kernel.has_session(INTERFACE, &key(n)), "{n} was cut");
        }
    }

    fn status(&self) -> Value {
        self.api.get(NODES, GATEWAY_NODE)["status"].clone()
    }

    /// Lists of all peers, after the first `since` requests.
    fn lists(&self, since: usize) -> Vec<Asked> {
        let mut asked = self.api.asked().split_off(since);
        asked.retain(|asked| asked.what == PEERS && asked.is_list());
        asked
    }

    /// What was asked of the kernel that changes something, from this call on.
    fn changes(&self, since: usize) -> Vec<Call> {
        let mut calls = self.kernel.calls_from(since);
        calls.retain(|call| {
            let reads = [
                Call::Managed,
                Call::Link,
                Call::Addresses,
                Call::Routes,
                Call::Begin,
                Call::Next,
                Call::Tables,
                Call::Generation,
                Call::ReadTable,
                Call::TableStands,
                Call::Chains,
            ];
            !reads.contains(call)
        });
        calls
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // The runtime waits for whoever waits.
        self.kernel.let_go();
    }
}

#[tokio::test(start_paused = true)]
async fn who_looks_at_the_node_is_told_where_clients_arrive() {
    let bed = Bed::serving(1).await;
    assert_eq!(*bed.ports.borrow(), HashSet::from([51_820]));
    let mut gateway = bed.api.get(GATEWAYS, "edge");
    gateway["spec"]["listenPort"] = json!(51_900);
    gateway["metadata"]["generation"] = json!(2);
    bed.api.put(GATEWAYS, gateway);
    bed.until("another port", |bed| {
        *bed.ports.borrow() == HashSet::from([51_900])
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_first_list_after_a_restart_that_leaves_most_out_takes_nobody_away() {
    for named in [0, 5] {
        let mut bed = Bed::serving(20).await;
        bed.stop().await;
        bed.api.cut(PEERS, 1, named);
        let since = bed.api.asked().len();
        bed.begin().await;
        bed.until("a list", |bed| bed.lists(since).len() == 1).await;
        sleep(Duration::from_secs(4)).await;
        bed.assert_sessions(20);
        bed.until("another list", |bed| bed.lists(since).len() == 2).await;
        bed.until_a_tick().await;
        bed.assert_sessions(20);
        let lists = bed.lists(since);
        let between = lists[1].at.duration_since(lists[0].at);
        assert!(between >= Duration::from_secs(5), "{between:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whom_two_first_lists_leave_out_is_gone() {
    let mut bed = Bed::serving(20).await;
    bed.stop().await;
    bed.api.cut(PEERS, 2, 5);
    bed.begin().await;
    bed.until("the end of the others", |bed| {
        bed.kernel.device(INTERFACE).peers.len() == 5
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_changes_nothing_where_all_is_as_asked() {
    // The peers are known before or after what is asked of the gateway.
    for takes in [0, 2] {
        let mut bed = Bed::serving(20).await;
        bed.until_a_tick().await;
        bed.stop().await;
        bed.api.slow_down(PEERS, Duration::from_secs(takes));
        let before = bed.kernel.made();
        bed.start().await;
        bed.until_a_tick().await;
        bed.until_a_tick().await;
        // Nobody knows what was done to the tables meanwhile.
        assert_eq!(bed.changes(before), [Call::Apply]);
        bed.assert_sessions(20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_peer_waits_neither_for_a_tick_nor_for_a_look() {
    let bed = Bed::serving(3).await;
    for n in [4, 5] {
        bed.until_a_tick().await;
        let (before, since) = (bed.kernel.made(), now());
        bed.api.put(PEERS, peer(n));
        bed.until("the peer", |bed| bed.serves(n)).await;
        assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
        let first = bed.kernel.calls_from(before).remove(0);
        assert!(
            matches!(&first, Call::Change(changes) if changes.len() == 1),
            "{first:?}"
        );
    }
    bed.until_a_tick().await;
    let (before, since) = (bed.kernel.made(), now());
    let mut released = peer(5);
    released["spec"]["released"] = json!(true);
    bed.api.put(PEERS, released);
    bed.until("its end", |bed| bed.serves(4)).await;
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    let removal = Call::Change(vec![PeerChange::Remove(key(5))]);
    assert_eq!(bed.kernel.calls_from(before)[0], removal);
}

/// Nobody's clock stands still here: a kernel that takes its time keeps a thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_watch_is_read_while_the_kernel_takes_its_time() {
    let bed = Bed::serving(3).await;
    let before = bed.api.read(PEERS);
    bed.kernel.hold();
    bed.api.put(PEERS, peer(4));
    bed.until("a message", |bed| bed.kernel.is_waited_for()).await;
    (5..=201).for_each(|n| bed.api.put(PEERS, peer(n)));
    bed.api.delete(PEERS, &address(201));
    bed.until("all that was told", |bed| bed.api.read(PEERS) == before + 199)
        .await;
    assert!(bed.serves(3));
    let since = bed.kernel.made();
    bed.kernel.let_go();
    bed.until("the peers", |bed| bed.serves(200)).await;
    // Whoever was there meanwhile alone, the kernel never heard of.
    let named = |call: &Call| match call {
        Call::Change(changes) => changes.iter().any(|change| *change.public_key() == key(201)),
        _ => false,
    };
    assert!(!bed.kernel.calls_from(since).iter().any(named));
}

#[tokio::test(start_paused = true)]
async fn every_list_is_read_from_a_quorum() {
    let mut bed = Bed::serving(3).await;
    bed.stop().await;
    // A gateway that nobody asks for is looked for in lists of its own.
    let unknown = format!("culvert.dev/{}/180", ObjectUid::from_u128(9));
    bed.kernel.make("cv9", "wireguard", Some(&unknown));
    bed.start().await;
    bed.until("its end", |bed| bed.kernel.links().len() == 1).await;
    // A watch ends, and a small list tells where history stands.
    bed.until("small lists", |bed| {
        let asked = bed.api.asked();
        let is_small = |asked: &&Asked| asked.is_read() && !asked.is_list();
        asked.iter().filter(is_small).count() >= 3
    })
    .await;
    for kind in [PEERS, NODES, GATEWAYS, POOLS] {
        let asked = bed.api.asked();
        let mut lists = asked.iter().filter(|asked| asked.what == kind && asked.is_read());
        assert!(lists.clone().count() >= 2, "{kind}");
        assert!(
            lists.all(|list| list.value("resourceVersion").is_none()
                && list.value("resourceVersionMatch").is_none()),
            "{kind}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_refused_is_counted_in_the_report_and_64_are_named() {
    let bed = Bed::serving(3).await;
    let with = |n, field: &str, value: Value| {
        let mut peer = peer(n);
        peer["spec"][field] = value;
        bed.api.put(PEERS, peer);
    };
    let refused = |bed: &Bed, count: usize| bed.status()["refused"]["count"] == json!(count);
    // Of a younger key with a public key that is in use, with the gateway's own, and one that cannot be read.
    with(30, "publicKey", json!(key(1).to_base64()));
    with(31, "publicKey", bed.status()["publicKey"].clone());
    with(32, "addresses", json!(7));
    bed.until("three", |bed| refused(bed, 3)).await;
    assert_eq!(
        bed.status()["refused"]["uids"],
        json!([uid(30), uid(31), uid(32)])
    );
    // Outside the pool's range, each under its own name.
    for n in 100..170 {
        let mut outside = peer(n);
        let address = format!("192.168.0.{n}");
        outside["metadata"]["name"] = json!(address);
        outside["spec"]["addresses"] = json!([address]);
        bed.api.put(PEERS, outside);
    }
    bed.until("all", |bed| refused(bed, 73)).await;
    assert_eq!(bed.status()["refused"]["uids"].as_array().unwrap().len(), 64);
    assert!(bed.serves(3));
    for n in 100..170 {
        bed.api.delete(PEERS, &format!("192.168.0.{n}"));
    }
    (30..=32).for_each(|n| bed.api.delete(PEERS, &address(n)));
    bed.until("none", |bed| bed.status()["refused"].is_null()).await;
    let version = bed.api.get(PEERS, &address(3))["metadata"]["resourceVersion"].clone();
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    assert!(number(&bed.status()["appliedResourceVersion"]) > number(&version));
}

#[tokio::test(start_paused = true)]
async fn whom_those_who_leave_have_talked_to_is_forgotten_within_two_ticks() {
    let bed = Bed::serving(3).await;
    bed.until_a_tick().await;
    let mut released = peer(1);
    released["spec"]["released"] = json!(true);
    bed.api.put(PEERS, released);
    bed.api.delete(PEERS, &address(2));
    bed.until("their end", |bed| bed.kernel.device(INTERFACE).peers.len() == 1)
        .await;
    let forgotten = bed.forgotten.as_ref().unwrap();
    assert!(forgotten.try_recv().is_err());
    bed.until_a_tick().await;
    bed.until_a_tick().await;
    let expected = [1, 2].map(|n| address(n).parse().unwrap());
    assert_eq!(forgotten.try_recv(), Ok(HashSet::from(expected)));
}
