//! Steps: what overtakes what, and when the watermark moves.

use super::*;

#[tokio::test]
async fn one_added_peer_costs_one_message_and_no_look() {
    for count in [10, 10_000] {
        let mut bed = Bed::of_many(count);
        bed.tick(5).await;
        bed.add(count);
        bed.hear();
        let calls = bed.calls_of_step().await;
        assert_eq!(calls.iter().map(size).collect::<Vec<_>>(), [Some(1)], "{count}");
        assert!(bed.has(count));
        bed.remove(count);
        bed.hear();
        assert_eq!(
            bed.calls_of_step().await,
            [Call::Change(vec![PeerChange::Remove(nth_key(count))])]
        );
    }
}

#[tokio::test]
async fn urgent_peers_overtake_a_bulk() {
    let mut bed = Bed::of_many(1_000);
    bed.begin(5).await;
    while bed.kernel.links().is_empty() || bed.kernel.device(NAME).peers.is_empty() {
        bed.step().await;
    }
    bed.add(5_000);
    bed.hear();
    assert_eq!(
        bed.calls_of_step().await.iter().map(size).collect::<Vec<_>>(),
        [Some(1)]
    );
    assert!(bed.has(5_000) && bed.kernel.device(NAME).peers.len() < 100);
    // Between the datagrams of a look as well.
    bed.until_idle().await;
    bed.kernel.set_room(50);
    bed.begin(5).await;
    bed.amid_a_look().await;
    bed.add(5_001);
    bed.hear();
    assert_eq!(
        bed.calls_of_step().await.iter().map(size).collect::<Vec<_>>(),
        [Some(1)]
    );
}

#[tokio::test]
async fn forgetting_overtakes_a_bulk() {
    let mut bed = Bed::of_many(300);
    bed.tick(5).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    bed.kernel
        .handshake(NAME, &nth_key(7), endpoint, bed.clocks().wall);
    bed.tick(5).await;
    // A bulk is under way when the client's time is over.
    bed.list(5_000);
    bed.begin(100).await;
    for _ in 0..20 {
        bed.step().await;
    }
    assert!(bed.kernel.device(NAME).peers.len() < 4_000);
    bed.begin(90).await;
    let is_forget = |call: &Call| matches!(call, Call::Change(changes) if changes.contains(&PeerChange::Forget(nth_key(7))));
    loop {
        let calls = bed.calls_of_step().await;
        if calls.iter().any(is_forget) {
            break;
        }
        assert!(calls.iter().all(|call| size(call).is_none()), "the bulk went on");
    }
    assert!(bed.kernel.device(NAME).peers.len() < 4_000);
}

#[tokio::test]
async fn forgetting_and_single_peers_take_turns() {
    let mut bed = Bed::of_many(200);
    bed.tick(5).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    for n in 0..200 {
        bed.kernel
            .handshake(NAME, &nth_key(n), endpoint, bed.clocks().wall);
    }
    bed.tick(5).await;
    bed.begin(180).await;
    bed.amid_a_look().await;
    // The look is read to its end; its forgetting and a stream of single peers begin together.
    let mut kinds = Vec::new();
    for n in 0..4 {
        for single in 0..20 {
            bed.add(1_000 + 20 * n + single);
        }
        bed.hear();
        for call in bed.calls_of_step().await {
            if let Call::Change(changes) = call {
                kinds.push(matches!(changes[0], PeerChange::Forget(_)));
            }
        }
    }
    assert!(kinds.contains(&true) && kinds.contains(&false), "{kinds:?}");
}

#[tokio::test]
async fn a_bulk_stops_between_messages_when_asked_to_end() {
    let mut bed = Bed::of_many(5_000);
    bed.begin(5).await;
    for _ in 0..30 {
        bed.step().await;
    }
    let before = bed.kernel.device(NAME).peers.len();
    assert!(before > 0 && before < 4_000);
    bed.on(async |gateway, on, _| gateway.forget(on).await)
        .await
        .unwrap();
    assert_eq!(bed.kernel.device(NAME).peers.len(), before);
    // What was not begun is found again.
    bed.tick(5).await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 5_000);
}

#[tokio::test]
async fn the_watermark_waits_for_a_look_that_shows_the_peer() {
    let mut bed = Bed::of_many(10);
    bed.tick(5).await;
    let before = bed.gateway.state().applied.unwrap();
    bed.add(10);
    bed.hear();
    assert_eq!(bed.calls_of_step().await.len(), 1);
    assert!(bed.has(10));
    assert_eq!(bed.gateway.state().applied, Some(before));
    bed.until_idle().await;
    assert_eq!(bed.gateway.state().applied, Some(before + 1));
    // Where nothing is to be sent, it waits for nothing.
    bed.desired.lock().note(before + 9);
    bed.hear();
    assert_eq!(bed.until_idle().await, []);
    assert_eq!(bed.gateway.state().applied, Some(before + 9));
    // Nor does it for a removal: its acknowledgement is the proof.
    bed.remove(10);
    bed.hear();
    assert_eq!(bed.until_idle().await.len(), 1);
    assert_eq!(bed.gateway.state().applied, Some(before + 10));
}

#[tokio::test]
async fn a_peer_the_kernel_ignores_is_refused_and_the_watermark_goes_on() {
    let mut bed = Bed::of_many(10);
    bed.tick(5).await;
    // The kernel ignores the key that it has itself.
    let own = || PrivateKey::from_bytes(&[9; 32]);
    let ignored = own().public_key();
    {
        let mut table = bed.desired.lock();
        let peer = Peer {
            version: 50,
            public_key: ignored,
            ..nth(20)
        };
        table.apply(nth_uid(20), Some(peer));
        table.note(50);
    }
    bed.hear();
    let change = || DeviceChange {
        private_key: Some(own()),
        ..DeviceChange::default()
    };
    bed.kernel.set(NAME, &change());
    // Somebody may have removed it by hand, so it is sent again; and again the key is the peer's.
    while !bed.calls_of_step().await.contains(&Call::Configure) {}
    assert_eq!(bed.gateway.state().applied, Some(10));
    bed.kernel.set(NAME, &change());
    bed.until_idle().await;
    let state = bed.gateway.state().clone();
    assert_eq!(state.applied, Some(50));
    let refused = Refused {
        uids: vec![nth_uid(20).to_string()],
        count: 1,
    };
    assert_eq!(state.refused, Some(refused));
    // By and by the key is put right, and the peer served.
    bed.tick(5).await;
    bed.tick(60).await;
    assert_eq!(bed.gateway.state().refused, None);
    assert_eq!(bed.kernel.device(NAME).peers.len(), 11);
}

#[tokio::test]
async fn a_peer_that_is_removed_by_hand_before_a_look_is_put_back_at_once() {
    let mut bed = Bed::of_many(10);
    bed.tick(5).await;
    bed.add(10);
    bed.hear();
    bed.calls_of_step().await;
    bed.kernel.set(
        NAME,
        &DeviceChange {
            peers: vec![PeerChange::Remove(nth_key(10))],
            ..DeviceChange::default()
        },
    );
    bed.until_idle().await;
    assert!(bed.has(10));
    assert_eq!(bed.gateway.state().refused, None);
    assert_eq!(bed.gateway.state().applied, Some(bed.desired.lock().version()));
}

#[tokio::test]
async fn a_history_that_went_back_begins_a_session_and_cuts_nobody() {
    let mut bed = Bed::of_many(30);
    bed.tick(5).await;
    let before = bed.gateway.state().clone();
    bed.desired.lock().rewound();
    assert_eq!(bed.tick(5).await, []);
    let state = bed.gateway.state().clone();
    assert_ne!(state.session, before.session);
    assert_eq!(state.applied, None);
    bed.list(30);
    assert_eq!(bed.tick(5).await, []);
    assert_eq!(bed.gateway.state().applied, Some(30));
    assert_eq!(bed.gateway.state().session, state.session);
}

#[tokio::test]
async fn whoever_was_told_to_go_goes_though_not_everything_is_known() {
    let mut bed = Bed::of_many(30);
    bed.tick(5).await;
    bed.desired.lock().rewound();
    bed.remove(7);
    bed.hear();
    bed.until_idle().await;
    assert!(!bed.has(7));
    assert_eq!(bed.kernel.device(NAME).peers.len(), 29);
}

#[tokio::test]
async fn an_interface_that_nobody_asks_for_loses_nobody() {
    let mut bed = Bed::of_many(30);
    bed.tick(5).await;
    let interface = bed.gateway.interface.clone().unwrap();
    // An agent that starts finds it before it knows what is asked of it.
    bed.gateway = Gateway::found(interface);
    bed.on(async |gateway, on, _| gateway.forget(on).await)
        .await
        .unwrap();
    bed.remove(7);
    bed.add(40);
    bed.hear();
    let calls = bed.until_idle().await;
    assert!(calls.iter().all(|call| size(call).is_none()), "{calls:?}");
    assert_eq!(bed.kernel.device(NAME).peers.len(), 30);
    bed.tick(5).await;
    assert!(bed.has(40) && !bed.has(7));
}
