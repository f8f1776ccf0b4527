//! What the kernel has told us in confidence is gone from memory afterwards.

use culvert_wireguard::{DeviceChange, Progress};

use crate::harness::{Interface, key, output, set};
use crate::memory;

/// Peers that fill more than one datagram, so that a look has a middle.
const PEERS: u32 = 300;

#[test]
fn secrets_are_wiped() {
    let mut interface = Interface::create();
    interface.change(&DeviceChange::of_peers((0..PEERS).map(set)));
    // The secret, as text, is all that this process knows of it, but for what the kernel says. It is in the first peer.
    let script = format!(
        "f=$(mktemp) && for i in 0 1 2 3 4 5 6 7; do printf '\\245\\132\\303\\074'; done | base64 -w0 > $f && \
         wg set {} peer {} preshared-key $f && rm $f",
        interface.name,
        key(0).to_base64()
    );
    output("sh", &["-c", &script]);
    let secret = |index: usize| [0xa6, 0x5b, 0xc4, 0x3d][index % 4] - 1;
    let held = || memory::count(32, secret);
    assert_eq!(held(), 0, "before any look");
    interface.socket.begin(interface.ifindex).unwrap();
    let more = interface.socket.next(&mut |_| {}).unwrap();
    assert_eq!(more, Progress::More);
    assert!(held() > 0, "in the middle of a look");
    interface.socket.give_up().unwrap();
    assert_eq!(held(), 0, "after a look that is given up");
    assert!(interface.dump().peers[0].has_preshared_key);
    assert_eq!(held(), 0, "after a whole look");
}
