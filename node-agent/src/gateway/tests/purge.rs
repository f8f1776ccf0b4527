//! Who is forgotten and made anew, and when.

use super::*;

#[tokio::test]
async fn a_client_that_falls_silent_is_forgotten_and_later_leaves_no_trace() {
    let mut bed = Bed::new(2);
    bed.tick(5).await;
    // Long enough for ages to be beyond doubt.
    for _ in 0..40 {
        assert_eq!(bed.tick(5).await, []);
    }
    bed.shake_hands(1);
    for _ in 0..35 {
        assert_eq!(bed.tick(5).await, []);
    }
    assert_eq!(
        bed.tick(5).await,
        [Call::Change(vec![PeerChange::Forget(key(1))])]
    );
    assert!(bed.kernel.has_session(NAME, &key(1)));
    assert_eq!(bed.tick(5).await, []);
    assert_eq!(bed.tick(5).await.len(), 1);
    let silent = bed.kernel.device(NAME).peers.pop().unwrap();
    assert!(silent.public_key == key(1));
    assert!(silent.endpoint.is_none() && silent.last_handshake.is_none());
    // Nor does whom it has talked to.
    assert_eq!(bed.gateway.take_flows(), [IpAddr::from([10, 64, 0, 2])]);
    assert_eq!(bed.tick(5).await, []);
    assert!(bed.gateway.take_flows().is_empty());
}

/// Clients that have been silent for so long that their peers are being made anew, and one of those that still wait.
async fn amid_reinstating() -> (Bed, PublicKey) {
    let mut bed = Bed::of_many(100);
    bed.tick(5).await;
    bed.tick(600).await;
    bed.shake_hands_of(0..100);
    bed.tick(5).await;
    bed.tick(180).await;
    bed.tick(5).await;
    bed.begin(5).await;
    let is_reinstate =
        |call: &Call| matches!(call, Call::Change(changes) if matches!(changes[0], PeerChange::Reinstate(_)));
    while !bed.calls_of_step().await.iter().any(is_reinstate) {}
    let mut left = bed.kernel.device(NAME).peers.into_iter();
    let left = left.find(|peer| peer.endpoint.is_some()).unwrap().public_key;
    (bed, left)
}

impl Bed {
    fn come_back(&self, key: &PublicKey) {
        let endpoint = Endpoint::new("192.0.2.2:4712".parse().unwrap());
        self.kernel.handshake(NAME, key, endpoint, self.clocks().wall);
    }
}

#[tokio::test]
async fn whoever_comes_back_before_a_later_look_is_not_made_anew() {
    let (mut bed, back) = amid_reinstating().await;
    bed.come_back(&back);
    bed.begin(1).await;
    bed.until_idle().await;
    assert!(bed.kernel.has_session(NAME, &back));
    // The others are.
    let peers = bed.kernel.device(NAME).peers;
    assert_eq!(peers.iter().filter(|peer| peer.endpoint.is_some()).count(), 1);
}

#[tokio::test]
async fn reinstating_stops_when_its_look_is_old() {
    let (mut bed, back) = amid_reinstating().await;
    let traces = |bed: &Bed| {
        let peers = bed.kernel.device(NAME).peers;
        peers.iter().filter(|peer| peer.endpoint.is_some()).count()
    };
    // Time goes by; somebody of those that are left comes back.
    bed.boot += 3;
    bed.come_back(&back);
    assert!(bed.calls_of_step().await.is_empty());
    assert_eq!(bed.calls_of_step().await, [Call::Begin]);
    bed.until_idle().await;
    assert!(bed.kernel.has_session(NAME, &back));
    assert_eq!(traces(&bed), 1);
}

#[tokio::test]
async fn purge_generation_purges_everything_once() {
    let mut bed = Bed::of_many(30);
    bed.tick(5).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    let shake = |bed: &Bed, n| {
        bed.kernel
            .handshake(NAME, &nth_key(n), endpoint, bed.clocks().wall);
    };
    (0..20).for_each(|n| shake(&bed, n));
    bed.tick(5).await;
    bed.assignment.purge_generation = 3;
    bed.tick(5).await;
    let traces = |bed: &Bed| {
        let peers = bed.kernel.device(NAME).peers;
        peers
            .iter()
            .filter(|peer| peer.endpoint.is_some() || peer.last_handshake.is_some())
            .count()
    };
    assert_eq!((traces(&bed), bed.gateway.state().purged), (0, 3));
    assert_eq!(bed.kernel.device(NAME).peers.len(), 30);
    // Whoever comes back is no longer meant.
    shake(&bed, 4);
    assert_eq!(bed.tick(5).await, []);
    // Nor is anybody by an agent that starts after it.
    bed.assignment.purged_generation = 3;
    bed.gateway = Gateway::new(bed.assignment.mark.clone());
    bed.tick(5).await;
    assert_eq!((traces(&bed), bed.gateway.state().purged), (1, 3));
    assert!(bed.kernel.has_session(NAME, &nth_key(4)));
}

#[tokio::test]
async fn a_purge_that_is_asked_for_while_a_look_is_open_waits_for_the_next() {
    let mut bed = Bed::of_many(30);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    bed.kernel
        .handshake(NAME, &nth_key(0), endpoint, bed.clocks().wall);
    bed.begin(5).await;
    bed.amid_a_look().await;
    bed.assignment.purge_generation = 1;
    bed.begin(0).await;
    bed.until_idle().await;
    assert!(!bed.kernel.has_session(NAME, &nth_key(0)));
    assert_eq!(bed.gateway.state().purged, 1);
}

#[tokio::test]
async fn after_a_start_or_a_jump_of_the_clock_nobody_is_made_anew_for_one_window_and_then_everybody_is() {
    let doubts: [fn(&mut Bed); 3] = [
        |bed| bed.ahead += 5_000,
        |bed| bed.ahead -= 5_000,
        |bed| bed.gateway = Gateway::new(bed.assignment.mark.clone()),
    ];
    for (at, doubt) in doubts.into_iter().enumerate() {
        for window in [180, 300] {
            let mut bed = Bed::of_many(3);
            bed.assignment.mark.window = Duration::from_secs(window);
            bed.tick(5).await;
            bed.tick(window).await;
            bed.shake_hands_of(0..1);
            bed.tick(5).await;
            // One is stale, and would be made anew at the second tick from now; one is there.
            bed.shake_hands_of(1..2);
            assert_eq!(bed.tick(window - 5).await.len(), 1);
            bed.shake_hands_of(1..2);
            doubt(&mut bed);
            let is_start = at == 2;
            bed.tick(5).await;
            // Who is there is overwritten after a jump, and loses nothing.
            assert_eq!(bed.located(), usize::from(is_start), "{at}, {window}");
            for second in (5..window).step_by(5) {
                bed.shake_hands_of(1..2);
                assert_eq!(bed.tick(5).await, [], "{at}, {window}: {second}");
            }
            let again = PeerChange::Reinstate(culvert_wireguard::DesiredPeer {
                public_key: nth_key(0),
                allowed_ips: culvert_wireguard::AllowedIps::host(nth(0).addresses[0]),
            });
            assert_eq!(bed.tick(5).await, [Call::Change(vec![again])], "{at}, {window}");
            assert!(bed.kernel.has_session(NAME, &nth_key(1)));
        }
    }
}

#[tokio::test]
async fn a_client_that_comes_right_after_its_peer_was_made_anew_is_counted() {
    let (mut bed, _) = amid_reinstating().await;
    bed.until_idle().await;
    let met = |bed: &Bed| bed.counted("culvert_agent_reinstated_into_activity_total");
    assert_eq!(bed.counted("culvert_agent_reinstated_total"), 100);
    bed.shake_hands_of(0..20);
    assert_eq!(met(&bed), 0);
    bed.tick(5).await;
    assert_eq!(met(&bed), 20);
    // Whoever comes later than the next look has met nothing.
    bed.shake_hands_of(0..100);
    bed.tick(5).await;
    assert_eq!(met(&bed), 20);
}

#[tokio::test]
async fn the_first_act_goes_by_the_window_that_the_interface_carries() {
    let mut bed = Bed::of_many(2);
    bed.assignment.mark.window = Duration::from_secs(600);
    bed.tick(5).await;
    bed.shake_hands_of(0..2);
    for (later, located) in [(300, 2), (299, 2), (1, 0)] {
        bed.boot += later;
        let interface = bed.gateway.interface.clone().unwrap();
        let found = Managed::of(interface.link).unwrap();
        bed.gateway = Gateway::found(found);
        bed.on(async |gateway, on, _| gateway.forget(on).await)
            .await
            .unwrap();
        assert_eq!(bed.located(), located);
    }
}
