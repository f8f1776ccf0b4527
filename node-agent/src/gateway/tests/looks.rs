//! What a look proves, and what one does not that was interrupted or is open.

use super::*;
use crate::plan::drift::Drift;

#[tokio::test]
async fn an_interrupted_look_proves_presence_and_never_absence() {
    let mut bed = Bed::of_many(40);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    let applied = bed.gateway.state().applied;
    bed.add(100);
    bed.hear();
    bed.begin(5).await;
    bed.step().await;
    bed.amid_a_look().await;
    // Somebody removes the last peer that was shown, so that the look ends early: most are not in it.
    let shown = bed.kernel.device(NAME).peers;
    for peer in &shown[..12] {
        let change = DeviceChange::of_peers([PeerChange::Remove(peer.public_key)]);
        bed.kernel.set(NAME, &change);
    }
    let calls = bed.until_idle().await;
    let removed = calls.iter().any(|call| matches!(call, Call::Change(changes) if changes.iter().any(|change| matches!(change, PeerChange::Remove(_)))));
    assert!(!removed);
    assert_eq!(bed.gateway.state().refused, None);
    assert!(bed.gateway.state().applied > applied);
    bed.tick(5).await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 41);
    assert!(bed.repaired(Drift::PeerMissing));
    assert!(!bed.repaired(Drift::PeerSurplus));
}

#[tokio::test]
async fn a_peer_seen_twice_is_one() {
    let mut bed = Bed::of_many(40);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    bed.begin(5).await;
    bed.amid_a_look().await;
    // It was shown, and is made again at the end.
    let first = bed.kernel.device(NAME).peers.remove(0);
    let again = culvert_wireguard::DesiredPeer {
        public_key: first.public_key,
        allowed_ips: first.allowed_ips,
    };
    let change = DeviceChange {
        peers: vec![PeerChange::Reinstate(again)],
        ..DeviceChange::default()
    };
    bed.kernel.set(NAME, &change);
    bed.until_idle().await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 40);
    assert_eq!(bed.tick(5).await, []);
}

#[tokio::test]
async fn what_is_put_during_a_look_is_not_missing_in_it() {
    let mut bed = Bed::of_many(40);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    bed.begin(5).await;
    bed.amid_a_look().await;
    bed.add(100);
    bed.remove(20);
    bed.hear();
    assert_eq!(
        bed.calls_of_step().await.iter().map(size).collect::<Vec<_>>(),
        [Some(1), Some(1)]
    );
    let calls = bed.until_idle().await;
    assert!(calls.iter().all(|call| size(call).is_none()), "{calls:?}");
    assert!(bed.has(100) && !bed.has(20));
    assert_eq!(bed.gateway.state().applied, Some(bed.desired.lock().version()));
    assert!(!bed.has_repaired());
}

#[tokio::test]
async fn a_slot_is_not_reused_while_a_look_is_open() {
    let mut bed = Bed::of_many(40);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    assert!(bed.gateway.is_at_rest());
    bed.begin(5).await;
    bed.amid_a_look().await;
    bed.remove(20);
    bed.hear();
    bed.step().await;
    assert!(!bed.gateway.is_at_rest());
    bed.until_idle().await;
    assert!(bed.gateway.is_at_rest());
    let freed = bed.desired.lock().recycle();
    assert_eq!(freed.len(), 1);
    bed.gateway.recycled(&freed);
    bed.add(100);
    assert_eq!(bed.desired.lock().slot(&nth_key(100)), Some(freed[0]));
    bed.tick(5).await;
    assert!(bed.has(100) && !bed.has(20));
}

#[tokio::test]
async fn what_is_told_while_the_table_is_gone_through_is_not_lost() {
    let mut bed = Bed::of_many(2_000);
    bed.begin(5).await;
    while !matches!(bed.gateway.stage, Stage::Scanning(_)) {
        bed.step().await;
    }
    bed.step().await;
    // One that was gone through already, and one that is new.
    let moved = Peer {
        version: 9_000,
        addresses: vec![[10, 70, 0, 9].into()],
        ..nth(3)
    };
    bed.desired.lock().apply(nth_uid(3), Some(moved));
    bed.add(5_000);
    bed.hear();
    bed.until_idle().await;
    let peers = bed.kernel.device(NAME).peers;
    assert_eq!(peers.len(), 2_001);
    let moved = peers.iter().find(|peer| peer.public_key == nth_key(3)).unwrap();
    assert_eq!(moved.allowed_ips.as_slice(), ["10.70.0.9/32".parse().unwrap()]);
    assert_eq!(bed.tick(5).await, []);
}

impl Bed {
    /// From now on every look ends early: it shows the first half of the peers.
    fn interrupt_looks(&self) {
        self.kernel.fail_every(Call::Next, Failure::DumpInterrupted);
    }
}

#[tokio::test]
async fn whom_an_interrupted_look_leaves_out_is_there_all_the_same() {
    let mut bed = Bed::of_many(40);
    bed.tick(5).await;
    let state = bed.gateway.state().clone();
    bed.interrupt_looks();
    for _ in 0..3 {
        let before = bed.kernel.made();
        assert_eq!(bed.tick(5).await, []);
        let calls = bed.kernel.calls_from(before);
        let looks = calls.iter().filter(|call| **call == Call::Begin).count();
        assert!((2..20).contains(&looks), "{looks} looks");
    }
    assert_eq!(bed.gateway.state(), &state);
    assert!(!bed.has_repaired());
    // An agent that starts knows as little of what it has not seen.
    bed.gateway = Gateway::new(bed.assignment.mark.clone());
    bed.begin(5).await;
    let before = bed.kernel.made();
    for _ in 0..100 {
        bed.step().await;
    }
    assert_eq!(messages(&bed.kernel.calls_from(before)).count(), 0);
    bed.kernel.fail_no_more();
    assert_eq!(bed.tick(5).await, []);
    assert_eq!(bed.gateway.state().applied, state.applied);
    assert!(!bed.has_repaired());
}

#[tokio::test]
async fn a_peer_that_interrupted_looks_leave_out_is_neither_proved_nor_refused() {
    let mut bed = Bed::of_many(40);
    bed.tick(5).await;
    let before = (bed.kernel.made(), bed.gateway.state().clone());
    bed.interrupt_looks();
    bed.add(100);
    bed.hear();
    for _ in 0..100 {
        bed.step().await;
    }
    let calls = bed.kernel.calls_from(before.0);
    assert_eq!(messages(&calls).map(<[_]>::len).collect::<Vec<_>>(), [1]);
    assert!(calls.iter().filter(|call| **call == Call::Begin).count() > 2);
    assert_eq!(bed.gateway.state(), &before.1);
    bed.kernel.fail_no_more();
    bed.until_idle().await;
    let state = bed.gateway.state();
    assert_eq!((state.applied, &state.refused), (Some(41), &None));
}

#[tokio::test]
async fn a_purge_is_not_over_while_looks_leave_somebody_out() {
    let mut bed = Bed::of_many(40);
    bed.tick(5).await;
    bed.shake_hands_of(20..40);
    bed.tick(5).await;
    bed.interrupt_looks();
    bed.assignment.purge_generation = 1;
    bed.tick(5).await;
    assert_eq!((bed.located(), bed.gateway.state().purged), (20, 0));
    bed.kernel.fail_no_more();
    bed.tick(5).await;
    assert_eq!((bed.located(), bed.gateway.state().purged), (0, 1));
}

#[tokio::test]
async fn whom_an_interrupted_look_leaves_out_is_no_younger_for_it() {
    let mut bed = Bed::of_many(40);
    bed.tick(5).await;
    bed.shake_hands_of(0..39);
    bed.tick(5).await;
    bed.interrupt_looks();
    // One comes while no look shows it.
    bed.shake_hands_of(39..40);
    for _ in 0..10 {
        assert_eq!(bed.tick(5).await, []);
    }
    bed.kernel.fail_no_more();
    assert_eq!(bed.tick(5).await, []);
    assert_eq!(bed.located(), 40);
    bed.tick(120).await;
    assert_eq!(bed.located(), 1);
    bed.tick(5).await;
    assert_eq!(bed.located(), 0);
}

#[tokio::test]
async fn whom_an_interrupted_look_shows_stale_is_forgotten() {
    let mut bed = Bed::of_many(40);
    bed.tick(5).await;
    bed.shake_hands_of(0..40);
    bed.tick(5).await;
    bed.interrupt_looks();
    let calls = bed.tick(175).await;
    let mut changes = messages(&calls).flatten();
    assert!(changes.all(|change| matches!(change, PeerChange::Forget(_))));
    assert_eq!(bed.located(), 20);
    bed.kernel.fail_no_more();
    bed.tick(5).await;
    assert_eq!(bed.located(), 0);
}

#[tokio::test]
async fn whom_an_interrupted_look_shows_is_there_before_the_api_has_told_of_it() {
    let mut bed = Bed::of_many(40);
    bed.tick(5).await;
    // An agent that starts has to know how many stand there, so as to doubt a list that names far fewer.
    bed.desired = Shared::default();
    bed.gateway = Gateway::found(bed.gateway.interface.clone().unwrap());
    bed.interrupt_looks();
    for (untold, is_next_whole) in [(20, true), (40, false), (40, false)] {
        bed.on(async |gateway, on, _| gateway.forget(on).await)
            .await
            .unwrap();
        assert_eq!(bed.gateway.untold(), untold);
        if is_next_whole {
            bed.kernel.fail_no_more();
        } else {
            bed.interrupt_looks();
        }
    }
}

#[tokio::test]
async fn a_stranger_that_several_interrupted_looks_show_is_removed_and_counted_once() {
    let mut bed = Bed::of_many(1);
    bed.tick(5).await;
    for n in 50..55 {
        give(&bed, key(n), []);
    }
    bed.interrupt_looks();
    // Half of what there is: the peer, and two of them.
    let gone = [50, 51].map(|n| PeerChange::Remove(key(n)));
    assert_eq!(bed.tick(5).await, [Call::Change(gone.into())]);
    assert_eq!(
        bed.counted("culvert_agent_repaired_total{drift=\"peer_surplus\"}"),
        2
    );
}
