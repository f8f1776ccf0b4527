//! Looks beside a writer: in the long mode, with `CULVERT_SOAK=1`, ten thousand of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use culvert_wireguard::netlink::{Limits, Socket};
use culvert_wireguard::{PeerChange, Progress};
use ipnet::IpNet;

use crate::harness::{Interface, desired, key, set};

/// Peers that are left alone while others come and go.
const BASE: Range<u32> = 0..2_000;
/// Peers that come and go.
const CHURN: Range<u32> = 2_000..2_050;
/// Looks in the short mode, and in the long one.
const LOOKS: [usize; 2] = [200, 10_000];

/// Adds and removes peers until it is told to end, and counts its changes.
fn write(ifindex: u32, end: &AtomicBool, changes: &AtomicUsize) {
    let mut socket = Socket::open().unwrap();
    for number in CHURN.cycle() {
        for change in [set(number), PeerChange::Remove(key(number))] {
            let sent = socket.set_peers(ifindex, &[change], Limits::default());
            sent.unwrap();
            changes.fetch_add(1, Ordering::SeqCst);
        }
        if end.load(Ordering::SeqCst) {
            return;
        }
        // One processor has them all: whoever looks gets its turn.
        thread::yield_now();
    }
}

/// Ends the writer, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A look with all that it has shown: each peer's prefixes, and how often it was begun.
fn look(interface: &mut Interface) -> (bool, BTreeMap<u32, (Vec<IpNet>, usize)>) {
    let number = |key: &[u8; 32]| u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
    let mut shown = BTreeMap::new();
    interface.socket.begin(interface.ifindex).unwrap();
    loop {
        let progress = interface.socket.next(&mut |part| {
            let number = number(part.public_key.as_bytes());
            let (prefixes, begun): &mut (Vec<_>, _) = shown.entry(number).or_default();
            prefixes.extend(part.allowed_ips);
            *begun += usize::from(part.begins);
        });
        if let Progress::Done { coherent, .. } = progress.unwrap() {
            return (coherent, shown);
        }
    }
}

#[test]
fn ten_thousand_looks_beside_a_writer_are_whole_or_say_so() {
    let is_long = std::env::var_os("CULVERT_SOAK").is_some_and(|value| value == "1");
    let looks = LOOKS[usize::from(is_long)];
    let mut interface = Interface::create();
    interface.change_peers(BASE.map(set));
    let ifindex = interface.ifindex;
    let (end, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut interrupted, mut short) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| write(ifindex, &end, &changes));
        let _end = End(&end);
        for _ in 0..looks {
            let (coherent, shown) = look(&mut interface);
            // What is shown is true in any case.
            for (number, (prefixes, begun)) in &shown {
                let is_known = BASE.contains(number) || CHURN.contains(number);
                assert!(is_known && *begun == 1, "{number} was shown {begun} times");
                let held = desired(*number).allowed_ips;
                assert!(prefixes.iter().all(|prefix| held.contains(prefix)));
                assert!(!coherent || prefixes.len() == held.len(), "{number} is cut");
            }
            let base = shown.range(BASE).count();
            assert!(!coherent || base == BASE.len(), "{base} peers of a whole look");
            interrupted += usize::from(!coherent);
            short += usize::from(base < BASE.len());
        }
    });
    let changes = changes.into_inner();
    println!("{looks} looks beside {changes} changes: {interrupted} interrupted, {short} of them short");
    assert!(interrupted > 0, "no look met a change");
    let (coherent, shown) = look(&mut interface);
    assert!(coherent && shown.len() == BASE.len());
}
