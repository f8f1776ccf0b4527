//! How many peers an interface takes. Not among the contract's tests in `kernel.rs`: it wants five gigabytes of memory,
//! and minutes.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[allow(dead_code, reason = "shared with the contract's tests, which use all of it")]
#[path = "kernel/harness.rs"]
mod harness;

use culvert_wireguard::netlink::Limits;
use culvert_wireguard::{AllowedIps, DesiredPeer, PeerChange, Progress, Refusal};

use harness::{Interface, desired, key};

/// `MAX_PEERS_PER_DEVICE` in drivers/net/wireguard/messages.h.
const MOST: u32 = 1 << 20;
/// Peers that are made at a time.
const PIECE: u32 = 1 << 14;

/// A peer without prefixes, which cost memory of their own.
fn set(number: u32) -> PeerChange {
    PeerChange::Set(DesiredPeer {
        allowed_ips: AllowedIps::new(),
        ..desired(number)
    })
}

#[test]
fn the_most_peers_a_device_takes_is_2_to_the_20() {
    let mut interface = Interface::create();
    let change = |interface: &mut Interface, changes: &[PeerChange]| {
        let ifindex = interface.ifindex;
        interface
            .socket
            .set_peers(ifindex, changes, Limits::default())
            .map(drop)
    };
    for start in (0..MOST).step_by(PIECE as usize) {
        let changes: Vec<_> = (start..start + PIECE).map(set).collect();
        change(&mut interface, &changes).unwrap();
    }
    let refused = change(&mut interface, &[set(MOST)]).unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::OutOfMemory));
    // One that is there is none too many, and one that goes makes room for one.
    change(&mut interface, &[set(7)]).unwrap();
    change(&mut interface, &[PeerChange::Remove(key(7)), set(MOST)]).unwrap();
    let refused = change(&mut interface, &[set(7)]).unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::OutOfMemory));
    let mut shown = 0;
    interface.socket.begin(interface.ifindex).unwrap();
    while interface.socket.next(&mut |_| shown += 1).unwrap() == Progress::More {}
    assert_eq!(shown, MOST);
}
