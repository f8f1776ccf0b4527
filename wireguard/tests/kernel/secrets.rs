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
    // As text they are all that this process knows of them, but for what the kernel says. One is in the first peer.
    let tell = |word: &str, secret: &str| {
        let script = format!(
            "f=$(mktemp) && for i in 0 1 2 3 4 5 6 7; do printf '{secret}'; done | base64 -w0 > $f && \
             wg set {} {word} $f && rm $f",
            interface.name,
        );
        output("sh", &["-c", &script]);
    };
    let peer = key(0).to_base64();
    tell(&format!("peer {peer} preshared-key"), r"\245\132\303\074");
    tell("private-key", r"\221\163\057\310");
    // The first and the last byte of a private key are clamped.
    let preshared = |index: usize| [0xa6, 0x5b, 0xc4, 0x3d][index % 4] - 1;
    let private = |index: usize| [0x92, 0x74, 0x30, 0xc9][(index + 1) % 4] - 1;
    let held = || [memory::count(32, preshared), memory::count(30, private)];
    assert_eq!(held(), [0, 0], "before any look");
    interface.socket.begin(interface.ifindex).unwrap();
    let more = interface.socket.next(&mut |_| {}).unwrap();
    assert_eq!(more, Progress::More);
    assert!(held().iter().all(|held| *held > 0), "in the middle of a look");
    interface.socket.give_up().unwrap();
    assert_eq!(held(), [0, 0], "after a look that is given up");
    assert!(interface.dump().peers[0].has_preshared_key);
    assert_eq!(held(), [0, 0], "after a whole look");
}
