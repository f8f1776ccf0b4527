//! The first act and the last, on a kernel in memory: an apiserver that never answers is no hindrance.

use std::convert::Infallible;

use culvert_wireguard::{AllowedIps, DesiredPeer, DeviceChange, Endpoint, PeerChange, PublicKey, WallTime};
use http::{Request, Response};
use kube::client::Body;
use tempfile::TempDir;

use super::super::*;
use crate::interface::Managed;
use crate::kernel::fake::{Call, Fake};

const STALE: PublicKey = PublicKey::from_bytes([1; 32]);
const LIVE: PublicKey = PublicKey::from_bytes([2; 32]);

/// An interface that an earlier agent has left, with a client that fell silent an hour ago and one that is there.
fn left(kernel: &Fake, name: &str, alias: Option<&str>) {
    kernel.make(name, "wireguard", alias);
    let now = Clocks::read().wall;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    for (public_key, ago) in [(STALE, 3_600), (LIVE, 0)] {
        let peer = DesiredPeer {
            public_key,
            allowed_ips: AllowedIps::new(),
        };
        kernel.set(name, &DeviceChange::of_peers([PeerChange::Set(peer)]));
        let at = WallTime {
            seconds: now.seconds - ago,
            ..now
        };
        kernel.handshake(name, &public_key, endpoint, at);
    }
}

/// Peers of whom it is not known any more where their clients are.
fn forgotten(kernel: &Fake, name: &str) -> Vec<PublicKey> {
    let peers = kernel.device(name).peers;
    let forgotten = peers
        .iter()
        .filter(|peer| peer.endpoint.is_none_or(|endpoint| endpoint.is_forgotten()));
    forgotten.map(|peer| peer.public_key).collect()
}

fn keystore() -> (Keystore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Keystore::new(folder.path().join("keys")), folder)
}

#[tokio::test]
async fn the_first_act_forgets_whoever_is_stale_where_our_mark_is() {
    let mut kernel = Fake::default();
    left(&kernel, "cv0", Some("culvert.dev/one/600"));
    left(&kernel, "wg0", None);
    let (keystore, _folder) = keystore();
    let found = look_through(&mut kernel, &keystore, &Metrics::new(""))
        .await
        .unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["one"]);
    assert_eq!(found["one"].untold(), 2);
    assert_eq!(forgotten(&kernel, "cv0"), [STALE]);
    assert_eq!(forgotten(&kernel, "wg0"), []);
}

#[tokio::test]
async fn at_the_end_whoever_is_stale_is_forgotten_and_sessions_stay() {
    let kernel = Fake::default();
    left(&kernel, "cv0", Some("culvert.dev/one/180"));
    let interface = Managed::of(kernel.links().remove(0)).unwrap();
    // It has been found, and no look has been at it yet: the end comes before the first tick.
    let gateways = HashMap::from([("one".to_owned(), Gateway::found(interface))]);
    let (keystore, _folder) = keystore();
    let silent =
        tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let parts = Parts {
        client: Client::new(silent, "default"),
        node: "a".into(),
        keystore,
        kernel: kernel.clone(),
        gateways,
        health: Arc::default(),
        metrics: Arc::new(Metrics::new("")),
        privacy: watch::channel(Finding::Nothing).1,
        flows: Flows::handed_over().0,
        ports: watch::channel(HashSet::new()).0,
    };
    run(parts, std::future::ready(())).await;
    assert_eq!(forgotten(&kernel, "cv0"), [STALE]);
    assert!(kernel.has_session("cv0", &LIVE) && kernel.has_session("cv0", &STALE));
    let changes = kernel.calls().into_iter();
    let changes: Vec<Call> = changes
        .filter(|call| !matches!(call, Call::Begin | Call::Next))
        .collect();
    assert_eq!(changes, [Call::Change(vec![PeerChange::Forget(STALE)])]);
}
