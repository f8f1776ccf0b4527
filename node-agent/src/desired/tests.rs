//! The table of peers: which claims are served, and what may take one away.

use std::collections::HashMap;
use std::net::IpAddr;

use culvert_wireguard::DesiredPeer;

use super::*;

/// What a gateway wants, asked one public key at a time.
#[derive(Debug, Default)]
struct Wanted {
    peers: HashMap<PublicKey, DesiredPeer>,
    refused: Vec<Uid>,
}

fn uid(number: u128) -> Uid {
    Uid::from_u128(number)
}

fn peer(version: u64, key: u128, n: u8, address: &str) -> Peer {
    Peer {
        version,
        created: i64::from(n),
        key_uid: uid(1_000 + key),
        public_key: PublicKey::from_bytes([n; 32]),
        addresses: vec![address.parse::<IpAddr>().unwrap()],
        pool: "default".to_owned(),
        released: false,
    }
}

/// Peer `n` of a bed that was filled.
fn nth(n: u8) -> Peer {
    peer(n.into(), n.into(), n, &format!("10.64.0.{}", n + 1))
}

/// A whole list that names these peers of a bed.
fn list(desired: &mut Desired, version: u64, named: impl IntoIterator<Item = u8>) -> Verdict {
    desired.list_begins(version);
    for n in named {
        desired.apply(uid(n.into()), Some(nth(n)));
    }
    desired.finish_list(version)
}

fn filled(count: u8) -> Desired {
    let mut desired = Desired::default();
    list(&mut desired, u64::from(count), 1..=count);
    desired
}

fn view(desired: &mut Desired) -> View {
    let ranges = vec!["10.64.0.0/24".parse().unwrap(), "fd64::/64".parse().unwrap()];
    View {
        own: Some(PublicKey::from_bytes([99; 32])),
        ..desired.view(&HashMap::from([("default".to_owned(), ranges)]), &[])
    }
}

fn ask(desired: &Desired, view: &View) -> Wanted {
    let mut wanted = Wanted::default();
    for slot in (0..desired.end().0).map(Slot) {
        let found = desired.wanted(view, slot);
        let standing = desired.standing(view, slot);
        assert_eq!(standing.is_wanted, found.is_some());
        let prefixes = found.as_ref().map_or(&[][..], |peer| peer.allowed_ips.as_slice());
        assert_eq!(
            desired.should_hold(view, slot, prefixes),
            found.as_ref().map(|_| true)
        );
        let before = wanted.refused.len();
        desired.refused(view, slot, false, &mut |uid| wanted.refused.push(uid));
        assert_eq!(standing.refused as usize, wanted.refused.len() - before);
        wanted.peers.extend(found.map(|peer| (peer.public_key, peer)));
    }
    wanted.refused.extend(desired.doubtful().copied());
    wanted.refused.sort_unstable();
    wanted
}

fn wanted(desired: &mut Desired) -> Wanted {
    let view = view(desired);
    ask(desired, &view)
}

#[test]
fn a_page_of_a_list_does_not_move_the_watermark() {
    let mut desired = filled(3);
    desired.apply(uid(9), Some(peer(900, 9, 9, "10.64.0.77")));
    assert_eq!(desired.version(), 3);
    desired.note(900);
    assert_eq!(desired.version(), 900);
}

#[test]
fn a_peer_that_cannot_be_read_is_refused_and_holds_nothing_up() {
    let mut desired = filled(2);
    desired.apply(uid(9), None);
    desired.note(9);
    assert_eq!(desired.version(), 9);
    assert_eq!(wanted(&mut desired).peers.len(), 2);
    assert_eq!(wanted(&mut desired).refused, [uid(9)]);
    desired.delete(10, uid(9));
    assert!(wanted(&mut desired).refused.is_empty());
}

#[test]
fn a_released_peer_is_gone_at_once() {
    let mut desired = filled(2);
    desired.apply(
        uid(1),
        Some(Peer {
            released: true,
            ..peer(9, 1, 1, "10.64.0.2")
        }),
    );
    assert_eq!(wanted(&mut desired).peers.len(), 1);
}

#[test]
fn an_older_version_changes_nothing() {
    let mut desired = filled(1);
    desired.apply(uid(1), Some(peer(5, 1, 1, "10.64.0.9")));
    desired.apply(uid(1), Some(peer(3, 1, 1, "10.64.0.2")));
    let wanted = wanted(&mut desired);
    let prefixes = wanted.peers[&PublicKey::from_bytes([1; 32])]
        .allowed_ips
        .as_slice();
    assert_eq!(prefixes, ["10.64.0.9/32".parse().unwrap()]);
}

#[test]
fn a_list_that_removes_much_is_believed_when_a_second_agrees() {
    let mut desired = filled(50);
    let few = 1..=30;
    assert_eq!(list(&mut desired, 60, few.clone()), Verdict::ListAgain);
    assert_eq!(wanted(&mut desired).peers.len(), 50);
    assert_eq!(list(&mut desired, 61, few.clone()), Verdict::Believed);
    assert_eq!(wanted(&mut desired).peers.len(), 30);
}

#[test]
fn a_first_list_that_names_far_fewer_than_stand_in_the_kernel_needs_a_second() {
    let mut desired = Desired::default();
    desired.expect(40);
    assert_eq!(list(&mut desired, 50, 1..=20), Verdict::ListAgain);
    assert!(!desired.is_complete());
    assert_eq!(wanted(&mut desired).peers.len(), 20);
    assert_eq!(list(&mut desired, 51, 1..=20), Verdict::Believed);
    assert!(desired.is_complete());
    // A few that have gone meanwhile are no reason for doubt.
    let mut desired = Desired::default();
    desired.expect(40);
    assert_eq!(list(&mut desired, 50, 1..=33), Verdict::Believed);
}

#[test]
fn a_second_list_that_removes_more_than_the_first_needs_a_third() {
    let mut desired = filled(50);
    let few = 1..=30;
    assert_eq!(list(&mut desired, 60, few.clone()), Verdict::ListAgain);
    assert_eq!(list(&mut desired, 61, []), Verdict::ListAgain);
    assert_eq!(wanted(&mut desired).peers.len(), 50);
    assert_eq!(list(&mut desired, 62, few.clone()), Verdict::Believed);
}

#[test]
fn an_older_list_does_not_bring_a_released_peer_back() {
    let mut desired = filled(2);
    desired.apply(
        uid(1),
        Some(Peer {
            released: true,
            ..peer(9, 1, 1, "10.64.0.2")
        }),
    );
    desired.apply(uid(1), Some(peer(1, 1, 1, "10.64.0.2")));
    assert_eq!(wanted(&mut desired).peers.len(), 1);
}

#[test]
fn a_list_that_removes_little_is_believed_at_once() {
    let mut desired = filled(50);
    let most = 1..=45;
    assert_eq!(list(&mut desired, 60, most.clone()), Verdict::Believed);
    assert_eq!(wanted(&mut desired).peers.len(), 45);
}

#[test]
fn a_list_is_doubted_that_removes_more_than_ten_peers_and_more_than_a_fifth() {
    for (all, gone, verdict) in [
        (12, 10, Verdict::Believed),
        (12, 11, Verdict::ListAgain),
        (54, 11, Verdict::ListAgain),
        (55, 11, Verdict::Believed),
        (56, 12, Verdict::ListAgain),
        (60, 12, Verdict::Believed),
    ] {
        let named = 1..=all - gone;
        let mut desired = filled(all);
        assert_eq!(list(&mut desired, 100, named.clone()), verdict, "{gone} of {all}");
        let mut desired = Desired::default();
        desired.expect(all.into());
        assert_eq!(
            list(&mut desired, 100, named),
            verdict,
            "{gone} of {all} that stand"
        );
    }
}

#[test]
fn a_list_older_than_what_was_seen_removes_nothing() {
    let mut desired = filled(5);
    assert_eq!(list(&mut desired, 4, []), Verdict::TooOld);
    assert_eq!(wanted(&mut desired).peers.len(), 5);
}

/// A claim of the first public key, younger than all others, by the key object of this number.
fn later_claim(key: u128) -> Peer {
    Peer {
        created: 9,
        ..peer(9, key, 1, "10.64.0.77")
    }
}

#[test]
fn two_claims_of_one_key_are_one_peer_with_all_addresses() {
    let mut desired = filled(1);
    desired.apply(uid(9), Some(later_claim(1)));
    let wanted = wanted(&mut desired);
    assert_eq!(wanted.peers[&PublicKey::from_bytes([1; 32])].allowed_ips.len(), 2);
    assert!(wanted.refused.is_empty());
}

#[test]
fn of_two_keys_with_one_public_key_the_older_claim_wins() {
    let mut desired = filled(1);
    desired.apply(uid(9), Some(later_claim(9)));
    let wanted = wanted(&mut desired);
    assert_eq!(
        wanted.peers[&PublicKey::from_bytes([1; 32])]
            .allowed_ips
            .as_slice(),
        ["10.64.0.2/32".parse().unwrap()]
    );
    assert_eq!(wanted.refused, [uid(9)]);
}

#[test]
fn of_two_claims_as_old_as_each_other_the_one_with_the_lower_uid_wins() {
    for order in [[8, 9], [9, 8]] {
        let mut desired = filled(0);
        for n in order {
            // The uid of the key has no say.
            let claim = peer(5, 100 - n, 1, &format!("10.64.0.{n}"));
            desired.apply(uid(n), Some(claim));
        }
        let wanted = wanted(&mut desired);
        let prefixes = wanted.peers[&nth(1).public_key].allowed_ips.as_slice();
        assert_eq!(prefixes, ["10.64.0.8/32".parse().unwrap()], "{order:?}");
        assert_eq!(wanted.refused, [uid(9)], "{order:?}");
    }
}

/// How a claim ends.
type End = fn(&mut Desired, Peer, u128);

#[test]
fn all_claims_of_the_key_that_wins_are_served_and_when_they_go_the_next_key_wins() {
    let served = |desired: &mut Desired| {
        let wanted = wanted(desired);
        let prefixes = wanted.peers[&nth(1).public_key].allowed_ips.as_slice();
        let hosts: Vec<String> = prefixes.iter().map(|net| net.addr().to_string()).collect();
        (hosts.join(" "), wanted.refused)
    };
    let ends: [End; 2] = [
        |desired, _, n| desired.delete(20, uid(n)),
        |desired, claim, n| {
            let released = Peer {
                version: 20,
                released: true,
                ..claim
            };
            desired.apply(uid(n), Some(released));
        },
    ];
    for end in ends {
        // The first key's second claim is younger than that of another key.
        let between = Peer {
            created: 5,
            ..peer(8, 8, 1, "10.64.0.66")
        };
        let mut desired = filled(1);
        desired.apply(uid(9), Some(later_claim(1)));
        desired.apply(uid(8), Some(between.clone()));
        assert_eq!(
            served(&mut desired),
            ("10.64.0.2 10.64.0.77".into(), vec![uid(8)])
        );
        desired.news();
        end(&mut desired, nth(1), 1);
        assert_eq!(served(&mut desired), ("10.64.0.66".into(), vec![uid(9)]));
        end(&mut desired, between, 8);
        assert_eq!(served(&mut desired), ("10.64.0.77".into(), Vec::new()));
        // Whoever asks hears that the key is another's, and not that it is nobody's.
        let news = desired.news();
        assert_eq!((news.slots.len(), news.off.len()), (1, 0));
    }
}

#[test]
fn of_two_claims_with_one_address_the_older_has_it() {
    let both = |created, mut peer: Peer| {
        peer.created = created;
        peer.addresses.push("fd64::3".parse().unwrap());
        Some(peer)
    };
    let mut desired = filled(3);
    desired.delete(4, uid(2));
    desired.apply(uid(5), both(2, peer(5, 2, 2, "10.64.0.3")));
    desired.apply(uid(9), both(0, peer(9, 9, 9, "10.64.0.77")));
    let wanted = wanted(&mut desired);
    assert_eq!(wanted.refused, [uid(5)]);
    assert!(wanted.peers.contains_key(&PublicKey::from_bytes([9; 32])));
    // Whoever asks hears of both.
    desired.news();
    desired.delete(10, uid(9));
    assert_eq!(desired.news().slots.len(), 2);
    assert!(self::wanted(&mut desired).refused.is_empty());
}

#[test]
fn an_address_outside_the_pool_or_the_gateways_own_is_refused() {
    let mut desired = filled(1);
    desired.apply(uid(8), Some(peer(8, 8, 8, "192.168.1.1")));
    desired.apply(uid(9), Some(peer(9, 9, 9, "10.64.0.1")));
    let wanted = wanted(&mut desired);
    assert_eq!(wanted.peers.len(), 1);
    assert_eq!(wanted.refused, [uid(8), uid(9)]);
}

#[test]
fn the_gateways_own_key_is_refused() {
    let mut desired = filled(1);
    desired.apply(uid(9), Some(peer(9, 9, 99, "10.64.0.77")));
    assert_eq!(wanted(&mut desired).refused, [uid(9)]);
}

#[test]
fn an_unreadable_peer_keeps_what_was_known_of_it() {
    let mut desired = filled(1);
    desired.apply(uid(1), None);
    let wanted = wanted(&mut desired);
    assert_eq!(wanted.peers.len(), 1);
    assert_eq!(wanted.refused, [uid(1)]);
}

#[test]
fn a_new_claim_of_a_name_ends_the_old_one() {
    let mut desired = filled(3);
    desired.news();
    desired.apply(uid(9), Some(peer(9, 9, 9, "10.64.0.3")));
    let news = desired.news();
    assert_eq!((news.slots.len(), news.off.len()), (2, 1));
    assert_eq!(desired.public_key(news.off[0]), nth(2).public_key);
    let found = wanted(&mut desired);
    assert!(found.refused.is_empty() && !found.peers.contains_key(&nth(2).public_key));
    // What is heard of the old one later is old news.
    desired.apply(uid(2), Some(nth(2)));
    desired.delete(10, uid(2));
    assert_eq!(wanted(&mut desired).peers.len(), 3);
}

#[test]
fn each_change_dirties_its_public_key_once() {
    let mut desired = filled(3);
    assert_eq!(desired.news().slots.len(), 3);
    desired.apply(uid(9), Some(peer(7, 2, 2, "10.64.0.77")));
    desired.apply(uid(9), Some(peer(8, 2, 2, "10.64.0.78")));
    desired.delete(9, uid(2));
    let news = desired.news();
    assert_eq!(news.slots, [desired.slot(&nth(2).public_key).unwrap()]);
    assert_eq!((news.off.as_slice(), news.version), (&[][..], 9));
    // What is known already is no news.
    assert_eq!(list(&mut desired, 9, [1, 3]), Verdict::Believed);
    desired.delete(10, uid(9));
    let news = desired.news();
    assert_eq!(news.off, news.slots);
    assert_eq!(news.slots.len(), 1);
}

#[test]
fn a_slot_is_not_reused_before_it_is_recycled() {
    let mut desired = filled(3);
    let slot = desired.slot(&nth(2).public_key).unwrap();
    desired.delete(4, uid(2));
    desired.apply(uid(4), Some(nth(4)));
    assert_eq!(desired.slot(&nth(2).public_key), Some(slot));
    // Nor before whoever asks for news has heard of its end.
    assert_eq!(desired.recycle(), []);
    desired.news();
    assert_eq!(desired.recycle(), [slot]);
    assert_eq!(desired.slot(&nth(2).public_key), None);
    desired.apply(uid(5), Some(nth(5)));
    assert_eq!(desired.slot(&nth(5).public_key), Some(slot));
    // A public key that comes back keeps its slot.
    desired.delete(6, uid(5));
    desired.apply(uid(6), Some(peer(7, 5, 5, "10.64.0.99")));
    desired.news();
    assert_eq!(desired.recycle(), []);
    desired.delete(8, uid(6));
    desired.news();
    assert_eq!(desired.recycle(), [slot]);
}

#[test]
fn beyond_the_most_the_oldest_claims_are_served_and_the_others_refused() {
    let mut desired = filled(5);
    let mut view = view(&mut desired);
    view.last = desired.place(desired.slot(&nth(3).public_key).unwrap());
    let wanted = ask(&desired, &view);
    assert_eq!(wanted.refused, [uid(4), uid(5)]);
    assert_eq!(wanted.peers.len(), 3);
    let youngest = desired.slot(&nth(5).public_key).unwrap();
    assert!(desired.standing(&view, youngest).is_beyond);
}

#[test]
fn a_history_that_went_back_takes_nobody_away_before_two_lists_agree() {
    let mut desired = filled(3);
    let before = desired.news();
    desired.rewound();
    let news = desired.news();
    assert_eq!((news.version, news.complete, news.slots), (0, false, Vec::new()));
    assert_ne!(news.history, before.history);
    // Versions of the restored history are lower, and count.
    desired.list_begins(2);
    desired.apply(uid(1), Some(nth(1)));
    desired.apply(uid(2), Some(peer(2, 2, 2, "10.64.0.77")));
    assert_eq!(desired.finish_list(2), Verdict::ListAgain);
    assert!(!desired.is_complete());
    assert_eq!(wanted(&mut desired).peers.len(), 3);
    assert_eq!(list(&mut desired, 2, [1, 2]), Verdict::Believed);
    let wanted = wanted(&mut desired);
    let moved = &wanted.peers[&nth(2).public_key];
    assert_eq!(moved.allowed_ips.as_slice(), ["10.64.0.77/32".parse().unwrap()]);
    assert_eq!((wanted.peers.len(), desired.version()), (2, 2));
}

#[test]
fn a_released_or_deleted_peer_stays_off_after_a_restore_until_the_api_agrees() {
    let released = |version| Peer {
        released: true,
        version,
        ..nth(1)
    };
    let mut desired = filled(3);
    desired.apply(uid(1), Some(released(4)));
    desired.delete(5, uid(2));
    desired.rewound();
    assert_eq!(list(&mut desired, 3, 1..=3), Verdict::Believed);
    let found = wanted(&mut desired);
    assert_eq!(found.peers.len(), 1);
    assert_eq!(found.refused, [uid(1), uid(2)]);
    // Released again, and gone again.
    desired.apply(uid(1), Some(released(6)));
    desired.delete(7, uid(2));
    assert!(wanted(&mut desired).refused.is_empty());
    assert_eq!(wanted(&mut desired).peers.len(), 1);
}

#[test]
fn after_an_hour_the_api_is_believed() {
    let mut desired = filled(3);
    desired.pass_time(Duration::from_secs(1_000));
    desired.delete(4, uid(2));
    desired.rewound();
    assert_eq!(list(&mut desired, 3, 1..=3), Verdict::Believed);
    desired.pass_time(Duration::from_secs(4_599));
    assert_eq!(wanted(&mut desired).peers.len(), 2);
    desired.pass_time(Duration::from_secs(4_600));
    let found = wanted(&mut desired);
    assert_eq!((found.peers.len(), found.refused.len()), (3, 0));
}
