use culvert_wireguard::PublicKey;
use serde_json::{Value, json};

use super::*;

fn uid(n: u8) -> Uid {
    Uid::from_u128(u128::from(n))
}

fn peer(n: u8, version: u64, released: bool) -> Value {
    json!({
        "metadata": {
            "name": format!("10.64.0.{n}"),
            "uid": uid(n).to_string(),
            "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": {
            "publicKey": key(n).to_base64(),
            "addresses": [format!("10.64.0.{n}")],
            "poolRef": { "name": "default" },
            "keyRef": { "namespace": "default", "name": "laptop", "uid": Uid::from_u128(1_000 + u128::from(n)).to_string() },
            "addressGeneration": 1,
            "released": released,
        },
    })
}

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

fn raw(object: &Value) -> Raw {
    serde_json::from_str(&object.to_string()).unwrap()
}

fn anew() -> Peers {
    Peers {
        shared: Shared::default(),
        metrics: Arc::new(Metrics::new("0")),
    }
}

/// The peers 2 to 9, listed at this version.
async fn listed(version: u64) -> Peers {
    let mut peers = anew();
    assert_eq!(list(&mut peers, version, 2..10).await, Next::Watch);
    peers
}

async fn list(peers: &mut Peers, version: u64, named: impl IntoIterator<Item = u8>) -> Next {
    peers.list_begins(version).await.unwrap();
    for n in named {
        peers.now_is(&raw(&peer(n, u64::from(n), false))).await.unwrap();
    }
    peers.list_complete(version).await.unwrap()
}

/// Who is served.
fn served(peers: &Peers) -> Vec<u8> {
    let desired = peers.shared.lock();
    let is_served = |n: &u8| desired.slot(&key(*n)).is_some_and(|slot| !desired.is_off(slot));
    (1..=20).filter(is_served).collect()
}

fn history(peers: &Peers) -> u64 {
    peers.shared.lock().news().history
}

#[tokio::test]
async fn a_rewound_history_keeps_serving_and_begins_anew() {
    let mut peers = listed(90).await;
    let before = history(&peers);
    peers.rewound().await.unwrap();
    assert_eq!(served(&peers), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(history(&peers) > before && !peers.shared.lock().is_complete());
    // What this history does not know goes, when a second list agrees.
    assert_eq!(list(&mut peers, 20, 2..8).await, Next::ListAgain(SECOND_OPINION));
    assert_eq!(served(&peers), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(list(&mut peers, 21, 2..8).await, Next::Watch);
    assert_eq!(served(&peers), [2, 3, 4, 5, 6, 7]);
    let desired = peers.shared.lock();
    assert_eq!((desired.version(), desired.is_complete()), (21, true));
}

#[tokio::test]
async fn a_peer_revoked_under_a_version_of_before_the_restore_is_off_at_once() {
    let mut peers = listed(90).await;
    peers.rewound().await.unwrap();
    list(&mut peers, 20, 2..10).await;
    peers.now_is(&raw(&peer(4, 21, true))).await.unwrap();
    peers.seen(21).await.unwrap();
    peers.gone(uid(5), 22).await.unwrap();
    assert_eq!(served(&peers), [2, 3, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_released_peer_stays_off_after_a_restore() {
    let mut peers = listed(90).await;
    peers.now_is(&raw(&peer(4, 91, true))).await.unwrap();
    peers.gone(uid(5), 92).await.unwrap();
    for _ in 0..2 {
        peers.rewound().await.unwrap();
        assert_eq!(list(&mut peers, 20, 2..10).await, Next::Watch);
        assert_eq!(served(&peers), [2, 3, 6, 7, 8, 9]);
    }
    // A new claim is nobody's past.
    let mut anew = peer(4, 30, false);
    anew["metadata"]["uid"] = json!(uid(104).to_string());
    peers.now_is(&raw(&anew)).await.unwrap();
    assert_eq!(served(&peers), [2, 3, 4, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_peer_that_went_unseen_stays_off_after_a_restore() {
    let mut peers = listed(90).await;
    assert_eq!(list(&mut peers, 95, 2..9).await, Next::Watch);
    peers.rewound().await.unwrap();
    assert_eq!(list(&mut peers, 20, 2..10).await, Next::Watch);
    assert_eq!(served(&peers), [2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn a_peer_that_a_restore_left_out_is_back_when_another_brings_it_back() {
    let mut peers = listed(90).await;
    peers.rewound().await.unwrap();
    for version in [20, 21] {
        list(&mut peers, version, 2..9).await;
    }
    assert_eq!(served(&peers), [2, 3, 4, 5, 6, 7, 8]);
    peers.rewound().await.unwrap();
    list(&mut peers, 15, 2..10).await;
    assert_eq!(served(&peers), [2, 3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_list_that_leaves_everybody_out_needs_a_second_one() {
    let mut peers = anew();
    list(&mut peers, 30, 2..20).await;
    assert_eq!(list(&mut peers, 40, []).await, Next::ListAgain(SECOND_OPINION));
    assert_eq!(served(&peers).len(), 18);
    assert_eq!(list(&mut peers, 41, []).await, Next::Watch);
    assert_eq!(served(&peers), [0; 0]);
}

#[tokio::test]
async fn an_object_that_makes_no_sense_changes_nothing() {
    let mut peers = listed(90).await;
    let mut odd = peer(3, 91, false);
    odd["spec"]["addresses"] = json!(7);
    peers.now_is(&raw(&odd)).await.unwrap();
    peers.seen(91).await.unwrap();
    assert_eq!(served(&peers), [2, 3, 4, 5, 6, 7, 8, 9]);
    let desired = peers.shared.lock();
    assert_eq!(desired.doubtful().collect::<Vec<_>>(), [&uid(3)]);
    assert_eq!(desired.version(), 91);
}
