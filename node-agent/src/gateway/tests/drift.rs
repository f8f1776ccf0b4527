//! What others do to an interface of ours.

use super::*;
use crate::plan::drift::Drift;

#[tokio::test]
async fn every_drift_is_repaired_and_counted() {
    type Hand = fn(&Bed);
    let cases: [(Drift, Hand); 15] = [
        (Drift::InterfaceGone, |bed| bed.kernel.unmake(NAME)),
        (Drift::InterfaceGone, |bed| bed.kernel.carry(NAME)),
        (Drift::InterfaceRenamed, |bed| {
            bed.kernel.rename_by_hand(NAME, "other");
        }),
        (Drift::InterfaceDown, |bed| bed.kernel.set_down(NAME)),
        (Drift::Mtu, |bed| {
            bed.kernel.shape_by_hand(NAME, Shape::Mtu(1_300));
        }),
        (Drift::Address, |bed| {
            let shape = Shape::Add("192.0.2.1/32".parse().unwrap());
            bed.kernel.shape_by_hand(NAME, shape);
        }),
        (Drift::Alias, |bed| {
            bed.kernel
                .set_alias(NAME, &format!("culvert.dev/{}/999", uid(200)));
        }),
        (Drift::PrivateKey, |bed| {
            let private_key = Some(PrivateKey::from_bytes(&[9; 32]));
            bed.kernel.set(
                NAME,
                &DeviceChange {
                    private_key,
                    ..DeviceChange::default()
                },
            );
        }),
        (Drift::Port, |bed| {
            bed.kernel.set(
                NAME,
                &DeviceChange {
                    listen_port: Some(1),
                    ..DeviceChange::default()
                },
            );
        }),
        (Drift::Mark, |bed| {
            bed.kernel.set(
                NAME,
                &DeviceChange {
                    fwmark: Some(1),
                    ..DeviceChange::default()
                },
            );
        }),
        (Drift::Forwarding, |bed| bed.kernel.stop_forwarding(NAME)),
        (Drift::Table, |bed| bed.kernel.flush_ruleset()),
        (Drift::PeerMissing, |bed| {
            bed.kernel
                .set(NAME, &DeviceChange::of_peers([PeerChange::Remove(nth_key(1))]));
        }),
        (Drift::PeerAltered, |bed| {
            bed.kernel
                .set_peer(NAME, &nth_key(1), |peer| peer.has_preshared_key = true);
        }),
        (Drift::PeerSurplus, |bed| {
            give(bed, key(99), []);
        }),
    ];
    for (drift, hand) in cases {
        is_repaired_and_counted(hand, &[drift]).await;
    }
}

/// Whether what a hand does is put right by a tick, and counted as these alone.
async fn is_repaired_and_counted(hand: fn(&Bed), drifts: &[Drift]) {
    let mut bed = Bed::of_many(3);
    bed.tick(5).await;
    let right = bed.kernel.device(NAME);
    hand(&bed);
    assert!(!bed.has_repaired());
    assert_ne!(bed.tick(5).await, [], "{drifts:?}");
    let counted = Drift::ALL.into_iter().filter(|other| bed.repaired(*other));
    assert_eq!(counted.collect::<Vec<_>>(), drifts);
    let mut peers = bed.kernel.device(NAME).peers;
    peers.sort_unstable_by_key(|peer| peer.public_key);
    assert!(peers == right.peers, "{drifts:?}");
    let settings = bed.kernel.device(NAME).settings;
    assert!(settings == right.settings, "{drifts:?}");
    assert_eq!(bed.tick(5).await, [], "{drifts:?}");
}

#[tokio::test]
async fn whatever_is_altered_of_a_peer_is_repaired_and_counted() {
    is_repaired_and_counted(|bed| give(bed, nth_key(1), [77]), &[Drift::PeerAltered]).await;
    is_repaired_and_counted(|bed| give(bed, nth_key(1), [1, 77]), &[Drift::PeerAltered]).await;
    is_repaired_and_counted(|bed| give(bed, nth_key(1), []), &[Drift::PeerAltered]).await;
    // An address that is another's goes from it without a word.
    is_repaired_and_counted(|bed| give(bed, nth_key(1), [1, 2]), &[Drift::PeerAltered]).await;
    is_repaired_and_counted(
        |bed| give(bed, key(99), [1]),
        &[Drift::PeerAltered, Drift::PeerSurplus],
    )
    .await;
    is_repaired_and_counted(
        |bed| {
            bed.kernel
                .set_peer(NAME, &nth_key(1), |peer| peer.persistent_keepalive = 25);
        },
        &[Drift::PeerAltered],
    )
    .await;
}

#[tokio::test]
async fn each_altered_peer_is_counted_once() {
    let mut bed = Bed::of_many(3);
    bed.tick(5).await;
    // Both the one that has it now and the one that had it.
    give(&bed, nth_key(1), [1, 2]);
    for _ in 0..3 {
        bed.tick(5).await;
        let altered = "culvert_agent_repaired_total{drift=\"peer_altered\"}";
        assert_eq!(bed.counted(altered), 2);
    }
}
