//! What the kernel's errors lead to.

use super::*;
use crate::kernel::fake::FAILURES;

/// Some ticks.
async fn live(bed: &mut Bed) {
    // Failures come; the next ticks go on from a look.
    for _ in 0..3 {
        let _ = bed.try_tick(5).await;
    }
}

#[tokio::test]
async fn whatever_fails_is_made_good_and_nobody_is_removed_for_it() {
    let calls = {
        let mut bed = Bed::new(20);
        bed.tick(5).await;
        bed.release(3);
        bed.tick(5).await;
        bed.kernel.calls().len()
    };
    for failure in FAILURES {
        for at in 0..calls {
            let mut bed = Bed::new(20);
            bed.kernel.fail(at, failure);
            live(&mut bed).await;
            bed.release(3);
            live(&mut bed).await;
            assert_eq!(bed.tick(5).await, [], "{failure:?} at {at}");
            let mut served: Vec<u8> = served(&bed);
            served.sort_unstable();
            let wanted: Vec<u8> = (1..=20).filter(|n| *n != 3).collect();
            assert_eq!(served, wanted, "{failure:?} at {at}");
            let state = bed.gateway.state();
            assert_eq!(
                (state.failure, &state.refused),
                (None, &None),
                "{failure:?} at {at}"
            );
            assert_eq!(state.applied, Some(21), "{failure:?} at {at}");
            let removed = bed.kernel.calls().into_iter().any(|call| match call {
                Call::Change(changes) => changes
                    .iter()
                    .any(|change| matches!(change, PeerChange::Remove(gone) if *gone != key(3))),
                _ => false,
            });
            assert!(!removed, "{failure:?} at {at}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_followed_by_a_look_at_once() {
    let mut bed = Bed::new(3);
    bed.tick(5).await;
    let before = bed.gateway.state().applied;
    bed.desired.lock().apply(uid(9), Some(peer(9)));
    bed.desired.lock().note(9);
    let at = bed.kernel.calls().len();
    bed.kernel.fail(at, Failure::LostAck);
    let news = bed.desired.lock().news();
    bed.gateway.news(&news);
    let error = bed.on(async |gateway, on, _| gateway.step(on).await).await;
    assert!(error.is_err());
    assert_eq!(bed.gateway.state().applied, before);
    let more = bed.on(async |gateway, on, _| gateway.step(on).await).await;
    assert_eq!(more.unwrap(), Step::More);
    assert_eq!(bed.kernel.calls().last(), Some(&Call::Begin));
    while bed
        .on(async |gateway, on, _| gateway.step(on).await)
        .await
        .unwrap()
        != Step::Idle
    {}
    assert_eq!(bed.gateway.state().applied, Some(9));
    assert_eq!(bed.gateway.state().failure, None);
}

#[tokio::test]
async fn a_kernel_that_always_fails_is_left_alone_until_the_next_tick() {
    let mut bed = Bed::new(3);
    bed.tick(5).await;
    bed.desired.lock().apply(uid(9), Some(peer(9)));
    let before = bed.kernel.calls().len();
    for at in before..before + 1_000 {
        bed.kernel.fail(at, Failure::Enobufs);
    }
    bed.try_tick(5).await.unwrap_err();
    assert!(bed.kernel.calls().len() < before + 20);
}

#[tokio::test]
async fn forgetting_that_always_fails_waits_for_the_next_tick() {
    for failure in [Failure::Enomem, Failure::Eperm, Failure::Disconnected] {
        let mut bed = Bed::new(2);
        bed.tick(5).await;
        bed.shake_hands(1);
        for _ in 0..35 {
            bed.tick(5).await;
        }
        let forget = Call::Change(vec![PeerChange::Forget(key(1))]);
        bed.kernel.fail_every(forget.clone(), failure);
        let before = bed.kernel.made();
        bed.boot += 5;
        bed.on(async |gateway, on, assignment| {
            gateway.tick(on, assignment, true).await.unwrap();
            let mut steps = 0;
            while !matches!(gateway.step(on).await, Ok(Step::Idle)) {
                steps += 1;
                assert!(steps < 100, "{failure:?}: it goes round without end");
            }
        })
        .await;
        let tried = bed.kernel.calls_from(before);
        let tried = tried.iter().filter(|call| **call == forget).count();
        assert!((1..10).contains(&tried), "{failure:?}: tried {tried} times");
    }
}

#[tokio::test]
async fn an_interface_that_is_gone_is_made_anew_at_once() {
    let mut bed = Bed::new(3);
    bed.tick(5).await;
    let before = bed.gateway.state().session.clone();
    bed.kernel.unmake(NAME);
    bed.desired.lock().apply(uid(9), Some(peer(9)));
    let news = bed.desired.lock().news();
    bed.gateway.news(&news);
    let error = bed.on(async |gateway, on, _| gateway.step(on).await).await;
    assert!(error.is_err());
    assert!(bed.gateway.needs_tick());
    // Whoever runs the gateway looks for its interface without waiting for a tick.
    bed.pass(false).await.unwrap();
    assert_eq!(served(&bed).len(), 4);
    assert_ne!(bed.gateway.state().session, before);
}

#[tokio::test]
async fn an_interface_that_is_gone_and_cannot_be_made_waits_for_the_tick() {
    let mut bed = Bed::new(3);
    bed.tick(5).await;
    bed.kernel.unmake(NAME);
    bed.kernel.fail_every(Call::Create, Failure::Eperm);
    bed.desired.lock().apply(uid(9), Some(peer(9)));
    let news = bed.desired.lock().news();
    bed.gateway.news(&news);
    let error = bed.on(async |gateway, on, _| gateway.step(on).await).await;
    assert!(error.is_err());
    let mut tries = 0;
    while bed.gateway.needs_tick() {
        bed.on(async |gateway, on, assignment| gateway.tick(on, assignment, false).await)
            .await
            .unwrap_err();
        tries += 1;
        assert!(tries < 10, "it is tried without end");
    }
    assert!(tries > 0);
}

#[tokio::test]
async fn a_port_in_use_keeps_nobody_from_going() {
    let mut bed = Bed::new(3);
    bed.tick(5).await;
    bed.kernel.occupy(4_711);
    bed.assignment.listen_port = 4_711;
    bed.release(2);
    bed.try_tick(5).await.unwrap_err();
    assert_eq!(bed.gateway.state().failure, Some(Reason::Conflict));
    assert_eq!(served(&bed).len(), 2);
    assert_eq!(bed.gateway.state().applied, Some(3));
}
