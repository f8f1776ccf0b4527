//! What a look shows, and what it shows when somebody changes the interface meanwhile.

use std::collections::BTreeSet;

use culvert_node_agent::interface::Managed;
use culvert_node_agent::kernel::{Kernel, whole};
use culvert_wireguard::{AllowedIps, DesiredPeer, Error, PeerChange, Progress, PublicKey};

use super::{Bed, MTU, created, desired, ipv4, key, keys, mark, peers, set};

/// Peers whose look takes many datagrams.
const MANY: u32 = 1_000;

/// Begins a look at many peers and reads its first datagram.
fn begin(kernel: &mut impl Kernel, interface: &Managed) {
    kernel.begin(interface).unwrap();
    assert_eq!(kernel.next(interface, &mut |_| {}).unwrap(), Progress::More);
}

/// Reads the open look to its end: how many peers began, and whether it was coherent.
fn finish(kernel: &mut impl Kernel, interface: &Managed) -> (usize, bool) {
    let mut begun = 0;
    loop {
        let progress = kernel.next(interface, &mut |part| begun += usize::from(part.begins));
        if let Progress::Done { coherent, .. } = progress.unwrap() {
            return (begun, coherent);
        }
    }
}

pub async fn a_look_shows_what_was_set(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    assert!(peers(&mut kernel, &interface).is_empty());
    kernel.change(&interface, &[set(1), set(2)]).unwrap();
    let mut found = peers(&mut kernel, &interface);
    found.sort_unstable_by_key(|peer| peer.public_key);
    assert_eq!(found.len(), 2);
    for (peer, number) in found.iter().zip(1..) {
        assert!(peer.matches(&desired(number)));
        assert!(peer.endpoint.is_none() && peer.last_handshake.is_none());
        assert_eq!((peer.rx_bytes, peer.tx_bytes), (0, 0));
    }
}

pub async fn peers_are_shown_in_the_order_in_which_they_were_made(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(3), set(1), set(2)]).unwrap();
    assert!(keys(&mut kernel, &interface) == [key(3), key(1), key(2)]);
    let again = [set(1), PeerChange::Reinstate(desired(3))];
    kernel.change(&interface, &again).unwrap();
    assert!(keys(&mut kernel, &interface) == [key(1), key(2), key(3)]);
}

pub async fn a_peer_of_many_prefixes_comes_in_parts_that_follow_one_another(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let peer = |number: u32| DesiredPeer {
        public_key: key(number),
        allowed_ips: AllowedIps::hosts((0..3_000).map(|host| ipv4(number * 10_000 + host))),
    };
    let changes: Vec<_> = (1..4).map(peer).map(PeerChange::Set).collect();
    kernel.change(&interface, &changes).unwrap();
    kernel.begin(&interface).unwrap();
    let mut parts: Vec<(PublicKey, bool, usize)> = Vec::new();
    loop {
        let progress = kernel.next(&interface, &mut |part| {
            parts.push((*part.public_key, part.begins, part.allowed_ips.len()));
        });
        if progress.unwrap() != Progress::More {
            break;
        }
    }
    // Each key once in a run of its own, of which the first part begins.
    let mut runs: Vec<_> = parts.chunk_by(|one, next| one.0 == next.0).collect();
    runs.sort_unstable_by_key(|run| run[0].0);
    assert!(runs.iter().map(|run| run[0].0).eq((1..4).map(key)));
    for run in runs {
        assert!(run.len() > 1 && run[0].1 && run[1..].iter().all(|part| !part.1));
        assert_eq!(run.iter().map(|part| part.2).sum::<usize>(), 3_000);
    }
    let mut found = peers(&mut kernel, &interface);
    found.sort_unstable_by_key(|peer| peer.public_key);
    assert!(
        found
            .iter()
            .zip(1..)
            .all(|(found, number)| found.matches(&peer(number)))
    );
}

pub async fn a_change_while_a_look_is_open_is_done_and_noticed_unless_it_is_a_snapshot<B: Bed>(bed: &B) {
    let (mut kernel, interface) = created(bed).await;
    let many: Vec<_> = (0..MANY).map(set).collect();
    kernel.change(&interface, &many).unwrap();
    kernel.begin(&interface).unwrap();
    assert_eq!(finish(&mut kernel, &interface), (many.len(), true));
    let own = PeerChange::Remove(key(MANY - 1));
    begin(&mut kernel, &interface);
    kernel.change(&interface, &[own]).unwrap();
    assert_eq!(finish(&mut kernel, &interface).1, B::SNAPSHOT);
    // And if somebody else does it.
    begin(&mut kernel, &interface);
    let nothing = PeerChange::Forget(key(MANY + 1));
    bed.open().change(&interface, &[nothing]).unwrap();
    assert_eq!(finish(&mut kernel, &interface).1, B::SNAPSHOT);
    assert_eq!(peers(&mut kernel, &interface).len(), many.len() - 1);
}

pub async fn a_look_that_was_written_before_a_change_is_coherent_and_old(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1), set(2)]).unwrap();
    kernel.begin(&interface).unwrap();
    kernel.change(&interface, &[PeerChange::Remove(key(1))]).unwrap();
    assert_eq!(finish(&mut kernel, &interface), (2, true));
    assert_eq!(peers(&mut kernel, &interface).len(), 1);
}

pub async fn a_look_ends_early_when_the_last_peer_it_has_shown_is_gone(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let many: Vec<_> = (0..MANY).map(set).collect();
    kernel.change(&interface, &many).unwrap();
    begin(&mut kernel, &interface);
    // The second datagram has been written by now; it ends before the middle.
    let head: Vec<_> = (0..MANY / 2).map(key).map(PeerChange::Remove).collect();
    kernel.change(&interface, &head).unwrap();
    let (begun, coherent) = finish(&mut kernel, &interface);
    assert!(!coherent && begun < many.len() / 2);
    assert_eq!(peers(&mut kernel, &interface).len(), many.len() / 2);
}

/// A peer that was to go on and is gone leaves the kernel at the next one, of which it then writes the key alone.
pub async fn a_look_may_miss_the_peer_after_one_that_was_cut_off(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let long = DesiredPeer {
        allowed_ips: AllowedIps::hosts((10_000..15_000).map(ipv4)),
        ..desired(2)
    };
    kernel
        .change(&interface, &[set(1), PeerChange::Set(long), set(3), set(4)])
        .unwrap();
    begin(&mut kernel, &interface);
    kernel.change(&interface, &[PeerChange::Remove(key(2))]).unwrap();
    let mut begun = Vec::new();
    while kernel
        .next(&interface, &mut |part| {
            begun.extend(part.begins.then_some(*part.public_key));
        })
        .unwrap()
        == Progress::More
    {}
    // The first two began in the first datagram.
    assert!(begun == [key(4)]);
    assert!(keys(&mut kernel, &interface) == [key(1), key(3), key(4)]);
}

pub async fn a_look_that_is_begun_gives_up_the_one_that_is_open(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let many: Vec<_> = (0..MANY).map(set).collect();
    kernel.change(&interface, &many).unwrap();
    begin(&mut kernel, &interface);
    let found: BTreeSet<_> = keys(&mut kernel, &interface).into_iter().collect();
    assert!(found == (0..MANY).map(key).collect());
}

pub async fn looks_at_two_interfaces_go_on_side_by_side(bed: &impl Bed) {
    let (mut kernel, one) = created(bed).await;
    let other = kernel.create(&bed.name(), &mark(), MTU).await.unwrap();
    let many: Vec<_> = (0..MANY).map(set).collect();
    kernel.change(&one, &many).unwrap();
    kernel.change(&other, &many[1..]).unwrap();
    kernel.begin(&one).unwrap();
    kernel.begin(&other).unwrap();
    assert_eq!(finish(&mut kernel, &one), (many.len(), true));
    // Nor does the end of one end the other.
    kernel.delete(&one).await.unwrap();
    assert_eq!(finish(&mut kernel, &other), (many.len() - 1, true));
    begin(&mut kernel, &other);
    kernel.give_up(&other);
    assert!(matches!(kernel.next(&other, &mut |_| {}), Err(Error::NoLook)));
    kernel.delete(&other).await.unwrap();
}

pub async fn without_a_look_there_is_nothing_to_read(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let none = |kernel: &mut _| matches!(Kernel::next(kernel, &interface, &mut |_| {}), Err(Error::NoLook));
    assert!(none(&mut kernel));
    whole(&mut kernel, &interface).unwrap();
    assert!(none(&mut kernel));
}

pub async fn an_interface_can_be_deleted_while_it_is_looked_at(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let many: Vec<_> = (0..MANY).map(set).collect();
    kernel.change(&interface, &many).unwrap();
    begin(&mut kernel, &interface);
    // On Linux whoever deletes an interface waits for those who look at it.
    kernel.delete(&interface).await.unwrap();
    assert_eq!(kernel.link(&interface.link.name).await.unwrap(), None);
    assert!(matches!(kernel.next(&interface, &mut |_| {}), Err(Error::NoLook)));
}
