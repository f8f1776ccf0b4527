//! Which peers there should be: the watch folded into a compact table.
//!
//! Guarantees: the newest version of a peer wins; a peer leaves by a Deleted event, by its release, by the coming of
//! another object with its name, or by its absence from a whole list that is believed ([`lists`]). Of several keys that
//! carry one public key the first claim by (creation, uid) wins, as it does for the operator; peers of one key with one
//! public key are one kernel peer with all their addresses ([`view`]). What is doubtful is refused by uid.
//!
//! Nothing is rebuilt: an event costs the same however many peers there are, and marks the public keys that are to be
//! asked about again ([`News`]).

mod claims;
pub mod lists;
pub mod parse;
mod pools;
mod shared;
mod slots;
mod table;
mod tombs;
mod view;

use std::collections::HashMap;
use std::time::Duration;

use culvert_wireguard::PublicKey;

use claims::{Claim, Claims};
use lists::Lists;
pub use lists::Verdict;
use parse::{Peer, Uid};
use pools::Pools;
pub use shared::Shared;
pub use slots::Slots;
use tombs::Tombs;
pub use view::{Standing, View};

/// The number of a public key; it stays while the key has claims, and until [`Desired::recycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Where a claim stands among all: by its creation in seconds since the epoch, then by its uid.
pub type Place = (u32, Uid);

/// The peers as the API has them, and how far it has been followed.
#[derive(Debug, Default)]
pub struct Desired {
    claims: Claims,
    pools: Pools,
    /// Peers that exist and cannot be understood, with the last list that named each.
    unreadable: HashMap<Uid, u32>,
    /// Released peers, with the last list that named each: an older list may still show them as they were.
    released: HashMap<Uid, u32>,
    tombs: Tombs,
    lists: Lists,
    seen: u64,
    complete: bool,
    history: u64,
    now: Duration,
}

/// What has changed since it was asked last.
#[derive(Debug, Default)]
pub struct News {
    /// Public keys to be asked about again, each once.
    pub slots: Vec<Slot>,
    /// Those of them that nobody claims any more.
    pub off: Vec<Slot>,
    /// Everything up to this version has been taken in.
    pub version: u64,
    /// A list has been taken in whole, so that absence means something.
    pub complete: bool,
    /// Grows when the API's history goes back: versions from before mean nothing.
    pub history: u64,
}

impl Desired {
    /// Takes in a peer as it is now; `None` when it exists and cannot be understood. How far that gets the watermark is
    /// another question: see [`Desired::note`].
    pub fn apply(&mut self, uid: Uid, peer: Option<Peer>) {
        let listed = self.lists.number;
        let known = self.claims.find(&uid);
        if let Some(known) = known {
            self.claims.at_mut(known).listed = listed;
        }
        let number = |peer: Peer| Some((self.pools.number(&peer.pool)?, peer));
        let Some((pool, peer)) = peer.and_then(number) else {
            // What was known of it stays.
            self.refuse(uid);
            return;
        };
        self.unreadable.remove(&uid);
        if let Some(mark) = self.released.get_mut(&uid) {
            *mark = listed;
            return;
        }
        if known.is_some_and(|known| self.claims.at(known).version >= peer.version) {
            return;
        }
        if peer.released {
            self.pools.changed(pool, peer.version);
            self.take(&uid, peer.version);
            self.tombs.remove(&uid);
            self.released.insert(uid, listed);
            return;
        }
        if self.tombs.withhold(uid, &peer, listed) {
            return;
        }
        self.take(&uid, peer.version);
        if self.claims.put(uid, &peer, pool, listed) {
            self.pools.changed(pool, peer.version);
        } else {
            self.refuse(uid);
        }
    }

    /// Takes in the end of a peer.
    pub fn delete(&mut self, version: u64, uid: Uid) {
        self.note(version);
        self.unreadable.remove(&uid);
        self.released.remove(&uid);
        self.take(&uid, version);
        self.tombs.show_no_more(&uid);
        self.tombs.add(uid, self.now);
    }

    /// Takes in how far the watch has got: everything up to `version` has been told. A page of a list tells no such
    /// thing, as older peers may stand on the next one.
    pub fn note(&mut self, version: u64) {
        self.seen = self.seen.max(version);
    }

    /// Takes in what time it is, on any clock that does not jump. Without it nothing is ever an hour old.
    pub fn pass_time(&mut self, now: Duration) {
        self.now = now;
        for (uid, peer) in self.tombs.expire(now) {
            self.apply(uid, Some(peer));
        }
    }

    fn refuse(&mut self, uid: Uid) {
        self.unreadable.insert(uid, self.lists.number);
        if let Some(mark) = self.released.get_mut(&uid) {
            *mark = self.lists.number;
        }
    }

    fn take(&mut self, uid: &Uid, version: u64) {
        if let Some(known) = self.claims.find(uid) {
            self.pools.changed(self.claims.at(known).pool, version);
            self.claims.take(known);
        }
    }

    /// Whether a list has been taken in whole, so that absence means something.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The version up to which everything has been taken in.
    pub fn version(&self) -> u64 {
        self.seen
    }

    /// The last version that concerned one of these pools.
    pub fn last_change<'a>(&self, pools: impl Iterator<Item = &'a str>) -> u64 {
        pools.map(|pool| self.pools.last_change(pool)).max().unwrap_or(0)
    }

    /// What has changed since this was asked last.
    pub fn news(&mut self) -> News {
        let slots = self.claims.take_dirty();
        let is_off = |slot: &Slot| self.is_off(*slot);
        News {
            off: slots.iter().copied().filter(is_off).collect(),
            slots,
            version: self.seen,
            complete: self.complete,
            history: self.history,
        }
    }

    /// How far the API has been followed, for whoever comes late: no public key has changed since.
    pub fn known(&self) -> News {
        News {
            version: self.seen,
            complete: self.complete,
            history: self.history,
            ..News::default()
        }
    }

    /// The slot of a public key that was claimed once.
    pub fn slot(&self, public_key: &PublicKey) -> Option<Slot> {
        self.claims.slot(public_key)
    }

    /// The public key in a slot.
    pub fn public_key(&self, slot: Slot) -> PublicKey {
        self.claims.public_key(slot)
    }

    /// Whether a public key was claimed and is no more: released or deleted, which is told and not inferred.
    pub fn is_off(&self, slot: Slot) -> bool {
        self.claims.of(slot).next().is_none()
    }

    /// The first slot that was never used.
    pub fn end(&self) -> Slot {
        self.claims.end()
    }

    /// How many public keys there are.
    pub fn len(&self) -> usize {
        self.claims.keys()
    }

    /// Whether there is no public key.
    pub fn is_empty(&self) -> bool {
        self.claims.keys() == 0
    }

    /// Peers that exist and are refused whatever the gateway: what cannot be understood, and what the API shows though
    /// it was released or deleted.
    pub fn doubtful(&self) -> impl Iterator<Item = &Uid> {
        self.unreadable.keys().chain(self.tombs.withheld())
    }

    /// Lets others have the slots of public keys without claims, and says which: nobody may hold one, in a look that is
    /// open or in work that is to be done. Those that nobody has been told about stay.
    pub fn recycle(&mut self) -> Vec<Slot> {
        self.claims.recycle()
    }
}

#[cfg(test)]
mod tests {
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
            ..desired.view(&HashMap::from([("default".to_owned(), ranges)]))
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
    fn a_list_older_than_what_was_seen_removes_nothing() {
        let mut desired = filled(5);
        assert_eq!(list(&mut desired, 4, []), Verdict::TooOld);
        assert_eq!(wanted(&mut desired).peers.len(), 5);
    }

    #[test]
    fn two_claims_of_one_key_are_one_peer_with_all_addresses() {
        let mut desired = filled(1);
        desired.apply(
            uid(9),
            Some(Peer {
                created: 9,
                ..peer(9, 1, 1, "10.64.0.77")
            }),
        );
        let wanted = wanted(&mut desired);
        assert_eq!(wanted.peers[&PublicKey::from_bytes([1; 32])].allowed_ips.len(), 2);
        assert!(wanted.refused.is_empty());
    }

    #[test]
    fn of_two_keys_with_one_public_key_the_older_claim_wins() {
        let mut desired = filled(1);
        desired.apply(
            uid(9),
            Some(Peer {
                created: 9,
                ..peer(9, 9, 1, "10.64.0.77")
            }),
        );
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
}
