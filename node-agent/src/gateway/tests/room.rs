//! More peers than the interface takes.

use super::*;

/// A gateway that wants five peers on a kernel that takes three.
async fn crowded() -> Bed {
    let mut bed = Bed::new(5);
    bed.kernel.set_most_peers(3);
    let error = bed.try_tick(5).await.unwrap_err();
    assert!(matches!(error, PassError::TooManyPeers), "{error:?}");
    bed
}

#[tokio::test]
async fn peers_beyond_what_the_kernel_takes_are_refused_and_tried_once_a_minute() {
    let mut bed = crowded().await;
    let state = bed.gateway.state().clone();
    assert_eq!(state.failure, Some(Reason::TooManyPeers));
    assert_eq!(state.applied, Some(5));
    let served = served(&bed);
    assert_eq!(served.len(), 3);
    let missing = (1..=5)
        .filter(|n| !served.contains(n))
        .map(|n| uid(n).to_string());
    let refused = Refused {
        uids: missing.collect(),
        count: 2,
    };
    assert_eq!(state.refused, Some(refused));
    for minute in 0..2 {
        for tick in 0..11 {
            let before = bed.kernel.calls().len();
            bed.try_tick(5).await.unwrap_err();
            let calls = bed.kernel.calls().split_off(before);
            let change = calls.iter().any(|call| matches!(call, Call::Change(_)));
            assert!(!change, "{minute} {tick}");
        }
        let before = bed.kernel.calls().len();
        bed.try_tick(5).await.unwrap_err();
        let calls = bed.kernel.calls().split_off(before);
        let changes: Vec<_> = calls
            .iter()
            .filter_map(|call| match call {
                Call::Change(changes) => Some(changes.len()),
                _ => None,
            })
            .collect();
        assert_eq!(changes, [1]);
    }
    assert_eq!(bed.gateway.state(), &state);
    bed.kernel.set_most_peers(10);
    for _ in 0..11 {
        bed.try_tick(5).await.unwrap_err();
    }
    bed.tick(5).await;
    let state = bed.gateway.state();
    assert_eq!((state.failure, &state.refused), (None, &None));
    assert_eq!(bed.tick(5).await, []);
}

#[tokio::test]
async fn a_peer_that_goes_makes_room_for_one_that_waits() {
    let mut bed = crowded().await;
    let goes = served(&bed)[0];
    bed.release(goes);
    let before = bed.kernel.calls().len();
    // At once, not at a tick.
    assert!(matches!(bed.pass(false).await, Err(PassError::TooManyPeers)));
    let calls = bed.kernel.calls().split_off(before);
    let changes: Vec<_> = calls
        .iter()
        .filter(|call| matches!(call, Call::Change(_)))
        .collect();
    let remove = Call::Change(vec![PeerChange::Remove(key(goes))]);
    assert!(matches!(&changes[..], [first, Call::Change(second)] if **first == remove && second.len() == 1));
    assert_eq!(served(&bed).len(), 3);
    assert_eq!(bed.gateway.state().refused.as_ref().unwrap().count, 1);
    // One that waited goes: nobody is missing any more.
    let waits = (1..=5).find(|n| *n != goes && !served(&bed).contains(n)).unwrap();
    bed.release(waits);
    assert_eq!(bed.tick(5).await, []);
    assert_eq!(bed.gateway.state().failure, None);
    // What was full is not held against the next one.
    bed.kernel.set_most_peers(10);
    bed.desired.lock().apply(uid(9), Some(peer(9)));
    bed.pass(false).await.unwrap();
    assert_eq!(served(&bed).len(), 4);
}

#[tokio::test]
async fn a_full_interface_forgets_who_falls_silent() {
    let mut bed = crowded().await;
    let silent = served(&bed)[1];
    bed.shake_hands(silent);
    bed.try_tick(180).await.unwrap_err();
    let peers = bed.kernel.device(NAME).peers;
    assert!(peers[1].endpoint.unwrap().is_forgotten());
}

#[tokio::test]
async fn memory_that_ends_for_a_moment_is_no_lack_of_room() {
    let is_change = |call: &Call| matches!(call, Call::Change(_));
    let mut bed = Bed::new(5);
    bed.tick(5).await;
    let at = bed.kernel.calls().iter().position(is_change).unwrap();
    for failure in [Failure::HalfDone, Failure::Enomem] {
        let mut bed = Bed::new(5);
        bed.kernel.fail(at, failure);
        bed.tick(5).await;
        assert_eq!(served(&bed).len(), 5, "{failure:?}");
        let state = bed.gateway.state();
        assert_eq!((state.failure, &state.refused), (None, &None));
    }
}

/// What is refused of many peers, by number.
fn refused(numbers: impl IntoIterator<Item = u32>) -> Option<Refused> {
    let uids: Vec<String> = numbers.into_iter().map(|n| nth_uid(n).to_string()).collect();
    let count = i64::try_from(uids.len()).unwrap();
    (count > 0).then_some(Refused { uids, count })
}

impl Bed {
    /// The numbers of peers in each message of a tick that ends short of room.
    async fn short_tick(&mut self) -> Vec<usize> {
        let before = self.kernel.made();
        let error = self.try_tick(5).await.unwrap_err();
        assert!(matches!(error, PassError::TooManyPeers), "{error}");
        assert_eq!(self.gateway.state().failure, Some(Reason::TooManyPeers));
        let calls = self.kernel.calls_from(before);
        messages(&calls).map(<[_]>::len).collect()
    }
}

#[tokio::test]
async fn a_program_serves_ten_thousand_peers_and_the_youngest_wait_for_room() {
    let mut bed = Bed::of_many(0);
    bed.kernel.set_backend(Backend::Userspace);
    // The youngest are told of first.
    for n in (0..10_003).rev() {
        bed.add(n);
    }
    let sent = bed.short_tick().await;
    assert_eq!(sent.iter().sum::<usize>(), 10_000);
    let has_all = |bed: &Bed, numbers: std::ops::Range<u32>| {
        let peers = bed.kernel.device(NAME).peers;
        let keys: std::collections::HashSet<_> = peers.iter().map(|peer| peer.public_key).collect();
        numbers.len() == peers.len() && numbers.into_iter().all(|n| keys.contains(&nth_key(n)))
    };
    assert!(has_all(&bed, 0..10_000));
    let state = bed.gateway.state().clone();
    assert_eq!(state.applied, Some(10_003));
    assert_eq!(state.refused, refused(10_000..10_003));
    assert!(bed.short_tick().await.is_empty());
    assert_eq!(bed.gateway.state(), &state);
    // Whoever goes makes room for the oldest that waits.
    bed.remove(0);
    assert_eq!(bed.short_tick().await, [1, 1]);
    assert!(has_all(&bed, 1..10_001));
    assert_eq!(bed.gateway.state().refused, refused(10_001..10_003));
    bed.remove(1);
    bed.remove(2);
    bed.tick(5).await;
    assert!(has_all(&bed, 3..10_003));
    let state = bed.gateway.state();
    assert_eq!((state.failure, &state.refused), (None, &None));
    assert_eq!(bed.tick(5).await, []);
}

#[tokio::test]
async fn a_peer_that_comes_to_ten_thousand_is_refused_at_once() {
    let mut bed = Bed::of_many(10_000);
    bed.kernel.set_backend(Backend::Userspace);
    bed.tick(5).await;
    assert_eq!(bed.gateway.state().failure, None);
    bed.add(20_000);
    bed.hear();
    assert_eq!(bed.until_idle().await, []);
    let state = bed.gateway.state();
    assert_eq!(state.failure, Some(Reason::TooManyPeers));
    assert_eq!(state.refused, refused([20_000]));
    assert_eq!(state.applied, Some(10_001));
    assert!(bed.short_tick().await.is_empty());
    assert_eq!(bed.gateway.state().refused, refused([20_000]));
    // One of those that are served goes.
    bed.remove(7);
    bed.hear();
    bed.until_idle().await;
    let freed = bed.desired.lock().recycle();
    bed.gateway.recycled(&freed);
    bed.tick(5).await;
    assert!(bed.has(20_000));
    assert_eq!(bed.gateway.state().refused, None);
}

#[tokio::test]
async fn the_kernel_is_sent_no_more_peers_than_it_takes() {
    let mut bed = Bed::of_many(1);
    bed.tick(5).await;
    // As a look would have it that has shown so many of others.
    bed.gateway.foreign = (1 << 20) - 4;
    for n in 1..6 {
        bed.add(n);
    }
    bed.hear();
    let calls = bed.calls_of_step().await;
    assert_eq!(messages(&calls).map(<[_]>::len).collect::<Vec<_>>(), [3]);
    assert!(matches!(bed.gateway.outcome(), Err(PassError::TooManyPeers)));
    assert!(bed.has(3) && !bed.has(4) && !bed.has(5));
    // The next look shows that they have gone.
    bed.until_idle().await;
    assert!(bed.gateway.outcome().is_ok());
    assert_eq!(bed.kernel.device(NAME).peers.len(), 6);
}
