//! What goes into a message, how much of it, and in which order.

use super::*;

#[tokio::test]
async fn an_address_that_moves_is_taken_from_one_before_the_other_has_it() {
    let mut bed = Bed::of_many(10);
    bed.tick(5).await;
    {
        // The object is another, and has the name of one that is gone.
        let mut table = bed.desired.lock();
        let peer = Peer {
            version: 60,
            addresses: nth(3).addresses,
            ..nth(50)
        };
        table.apply(nth_uid(50), Some(peer));
        table.note(60);
    }
    bed.hear();
    let calls = bed.until_idle().await;
    let messages: Vec<_> = calls
        .iter()
        .filter_map(|call| match call {
            Call::Change(changes) => Some(changes.as_slice()),
            _ => None,
        })
        .collect();
    assert!(matches!(
        messages.as_slice(),
        [[PeerChange::Remove(_)], [PeerChange::Set(_)]]
    ));
    assert!(bed.has(50) && !bed.has(3));
}

/// Sizes of the messages of one sort, in order.
#[derive(Debug)]
struct Sent {
    sort: &'static str,
    sizes: Vec<usize>,
}

/// A bulk of everything that a gateway does, on a node whose kernel takes so long for a peer.
async fn bulks(count: u32, cost: Duration) -> Vec<Sent> {
    let mut bed = Bed::of_many(count);
    bed.cost = cost;
    let mut all = Vec::new();
    let mut take = |sort, calls: Vec<Call>, is: fn(&PeerChange) -> bool, wanted: u32| {
        let sizes: Vec<usize> = messages(&calls).map(<[_]>::len).collect();
        assert!(messages(&calls).flatten().all(is), "{sort}");
        assert_eq!(sizes.iter().sum::<usize>(), wanted as usize, "{sort}");
        all.push(Sent { sort, sizes });
    };
    bed.begin(5).await;
    let is_set = |change: &PeerChange| matches!(change, PeerChange::Set(_));
    take("added", bed.until_rest().await, is_set, count);
    // Ages are beyond doubt by then.
    bed.tick_to_rest(600).await;
    bed.shake_hands_of(0..count);
    bed.tick_to_rest(5).await;
    let is_forget = |change: &PeerChange| matches!(change, PeerChange::Forget(_));
    take("forgotten", bed.tick_to_rest(180).await, is_forget, count);
    bed.tick_to_rest(5).await;
    let is_reinstate = |change: &PeerChange| matches!(change, PeerChange::Reinstate(_));
    take("made anew", bed.tick_to_rest(5).await, is_reinstate, count);
    let is_remove = |change: &PeerChange| matches!(change, PeerChange::Remove(_));
    for n in 0..300 {
        give(&bed, nth_key(1_000_000 + n), []);
    }
    take("strangers", bed.tick_to_rest(5).await, is_remove, 300);
    (0..300).for_each(|n| bed.remove(n));
    bed.hear();
    take("released", bed.until_rest().await, is_remove, 300);
    bed.assignment.ranges.clear();
    take("not asked for", bed.tick_to_rest(5).await, is_remove, count - 300);
    all
}

impl Bed {
    /// A tick, and what follows from it at once.
    async fn tick_to_rest(&mut self, seconds: u64) -> Vec<Call> {
        self.begin(seconds).await;
        self.until_rest().await
    }
}

#[tokio::test]
async fn no_message_is_larger_than_its_sort_may_be() {
    for Sent { sort, sizes } in bulks(2_000, Duration::ZERO).await {
        let (first, most) = match sort {
            "forgotten" => (100, 400),
            "made anew" => (4, 8),
            "added" => (8, 64),
            // The first of them follow other messages of their sort.
            _ => (64, 64),
        };
        assert_eq!((sizes[0], sizes.iter().max()), (first, Some(&most)), "{sort}");
    }
}

#[tokio::test]
async fn messages_are_as_small_as_the_node_is_slow() {
    // A message is to take three milliseconds.
    for Sent { sort, sizes } in bulks(700, Duration::from_millis(1)).await {
        let learned = sizes.iter().skip(6).max();
        assert!(learned.is_some_and(|most| *most <= 4), "{sort}: {sizes:?}");
    }
}

/// How many addresses changes take from a peer that has them: as a message says to whom one goes, and not from whom.
fn taken(peers: &[culvert_wireguard::ObservedPeer], calls: &[Call]) -> usize {
    let held = peers
        .iter()
        .flat_map(|peer| peer.allowed_ips.iter().map(|net| (*net, peer.public_key)));
    let mut holders: HashMap<IpNet, PublicKey> = held.collect();
    let mut taken = 0;
    for change in messages(calls).flatten() {
        match change {
            PeerChange::Remove(gone) => holders.retain(|_, holder| holder != gone),
            PeerChange::Set(peer) | PeerChange::Reinstate(peer) => {
                holders.retain(|net, holder| *holder != peer.public_key || peer.allowed_ips.contains(net));
                for net in &peer.allowed_ips {
                    let before = holders.insert(*net, peer.public_key);
                    taken += usize::from(before.is_some_and(|before| before != peer.public_key));
                }
            }
            PeerChange::Forget(_) => {}
        }
    }
    taken
}

impl Bed {
    /// The address of each of these peers goes to one that is new, or to one that has another already.
    fn move_addresses(&self, count: u32) {
        let mut table = self.desired.lock();
        let version = table.version() + 1;
        // Who comes is heard of before who goes.
        for n in 0..count {
            let peer = Peer {
                version,
                ..nth(5_000 + n)
            };
            table.apply(nth_uid(5_000 + n), Some(peer));
        }
        for n in 0..count {
            table.delete(version, nth_uid(n));
            let heir = Peer {
                version,
                key_uid: nth(5_000 + n).key_uid,
                public_key: nth_key(5_000 + n),
                ..nth(n)
            };
            table.apply(nth_uid(10_000 + n), Some(heir));
        }
        table.note(version);
    }

    /// What is sent until nothing is left to do; the addresses that it takes from somebody.
    async fn taken_to_rest(&mut self) -> usize {
        let peers = self.kernel.device(NAME).peers;
        let calls = self.until_rest().await;
        taken(&peers, &calls)
    }

    fn has_heirs(&self, count: u32) -> bool {
        let peers = self.kernel.device(NAME).peers;
        let is_heir = |n| {
            let wanted = [n, 5_000 + n].map(|n| IpNet::from(nth(n).addresses[0]));
            let mut found = peers.iter().filter(|peer| peer.public_key == nth_key(5_000 + n));
            found.any(|peer| wanted.iter().all(|net| peer.allowed_ips.contains(net)))
        };
        peers.len() == count as usize && (0..count).all(is_heir)
    }
}

#[tokio::test]
async fn addresses_that_the_watch_moves_are_free_before_they_are_given() {
    // Some, and a bulk.
    for count in [50, 400] {
        let mut bed = Bed::of_many(count);
        bed.tick(5).await;
        bed.move_addresses(count);
        bed.hear();
        assert_eq!(bed.taken_to_rest().await, 0, "{count}");
        assert!(bed.has_heirs(count), "{count}");
    }
}

#[tokio::test]
async fn addresses_that_a_look_finds_moved_are_free_before_they_are_given() {
    for are_known in [true, false] {
        let mut bed = Bed::of_many(400);
        bed.tick(5).await;
        bed.move_addresses(400);
        // An agent that starts hears of all this, and has not done it.
        bed.gateway = Gateway::new(bed.assignment.mark.clone());
        bed.desired.lock().news();
        if !are_known {
            bed.desired.lock().recycle();
        }
        bed.begin(5).await;
        assert_eq!(bed.taken_to_rest().await, 0);
        assert!(bed.has_heirs(400));
    }
}
