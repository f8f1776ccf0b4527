//! Which peers there should be: the watch folded into a compact map.
//!
//! Guarantees: the newest version of a peer wins; a peer leaves by a Deleted event, by its release, or
//! by its absence from a whole list that is not older than what was seen before and that, should it
//! take away a large part, a second list agrees with. Of several keys that carry one public key the
//! first claim by (creation, uid) wins, as it does for the operator; peers of one key with one public
//! key are one kernel peer with all their addresses. What is doubtful is refused by uid.

pub mod parse;

use std::collections::{BTreeSet, HashMap, HashSet};

use culvert_wireguard::{AllowedIps, DesiredPeer, PublicKey};
use ipnet::IpNet;

use parse::{Peer, Uid};

/// A list that takes away more than this many peers …
const MANY: usize = 10;
/// … and more than this share of them, one in five, needs a second opinion.
const SHARE: usize = 5;

/// The peers as the API has them, and how far it has been followed.
#[derive(Debug, Default)]
pub struct Desired {
    peers: HashMap<Uid, Peer>,
    by_public_key: HashMap<PublicKey, BTreeSet<(i64, Uid)>>,
    /// Peers that exist and cannot be understood.
    unreadable: HashSet<Uid>,
    seen: u64,
    /// The last version that concerned a pool, so that a report is urgent only where something happened.
    last_change: HashMap<String, u64>,
    complete: bool,
    /// Released peers: an older list may still show them as they were.
    released: HashSet<Uid>,
    /// What a list would have removed that was not believed alone.
    doubted: HashSet<Uid>,
}

/// What a finished list was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken in.
    Believed,
    /// It would remove so much that a second list must agree: nothing was removed.
    ListAgain,
    /// It is older than what was seen before: nothing was removed.
    TooOld,
}

/// What an interface should hold.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The peers, each public key once.
    pub peers: HashMap<PublicKey, DesiredPeer>,
    /// Uids of those that must not be programmed.
    pub refused: Vec<Uid>,
    /// For each public key the uids behind it, to name what the kernel ignores.
    pub uids: HashMap<PublicKey, Vec<Uid>>,
}

impl Desired {
    /// Takes in a peer as it is now. How far that gets the watermark is another question: see [`Desired::note`].
    pub fn apply(&mut self, uid: Uid, peer: Option<Peer>) {
        let Some(peer) = peer else {
            // It exists and says nothing we understand: what was known of it stays.
            self.unreadable.insert(uid);
            return;
        };
        self.unreadable.remove(&uid);
        let older = |known: &Peer| known.version >= peer.version;
        if self.released.contains(&uid) || self.peers.get(&uid).is_some_and(older) {
            return;
        }
        self.changed(&peer.pool, peer.version);
        self.remove(&uid);
        if peer.released {
            self.released.insert(uid);
        } else {
            self.by_public_key
                .entry(peer.public_key)
                .or_default()
                .insert((peer.created, uid.clone()));
            self.peers.insert(uid, peer);
        }
    }

    /// Takes in the end of a peer.
    pub fn delete(&mut self, version: u64, uid: &str) {
        self.note(version);
        self.unreadable.remove(uid);
        self.released.remove(uid);
        if let Some(pool) = self.remove(uid) {
            self.changed(&pool, version);
        }
    }

    /// Takes in how far the watch has got: everything up to `version` has been told. A page of a list tells no such
    /// thing, as older peers may stand on the next one.
    pub fn note(&mut self, version: u64) {
        self.seen = self.seen.max(version);
    }

    /// Takes in that a whole list, as of `version`, named exactly these peers (already applied).
    pub fn finish_list(&mut self, version: u64, named: &HashSet<Uid>) -> Verdict {
        if version < self.seen && self.complete {
            self.doubted.clear();
            return Verdict::TooOld;
        }
        let gone: Vec<Uid> = self
            .peers
            .keys()
            .filter(|uid| !named.contains(*uid))
            .cloned()
            .collect();
        let large = gone.len() > MANY && gone.len() * SHARE > self.peers.len();
        if large && !gone.iter().all(|uid| self.doubted.contains(uid)) {
            self.doubted = gone.into_iter().collect();
            return Verdict::ListAgain;
        }
        self.doubted.clear();
        for uid in gone {
            if let Some(pool) = self.remove(&uid) {
                self.changed(&pool, version);
            }
        }
        self.unreadable.retain(|uid| named.contains(uid));
        self.released.retain(|uid| named.contains(uid));
        self.note(version);
        self.complete = true;
        Verdict::Believed
    }

    fn changed(&mut self, pool: &str, version: u64) {
        let last = self.last_change.entry(pool.to_owned()).or_default();
        *last = version.max(*last);
    }

    fn remove(&mut self, uid: &str) -> Option<String> {
        let peer = self.peers.remove(uid)?;
        if let Some(set) = self.by_public_key.get_mut(&peer.public_key) {
            set.remove(&(peer.created, uid.to_owned()));
            if set.is_empty() {
                self.by_public_key.remove(&peer.public_key);
            }
        }
        Some(peer.pool)
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
        pools
            .filter_map(|pool| self.last_change.get(pool))
            .copied()
            .max()
            .unwrap_or(0)
    }

    /// What an interface with these ranges (by pool name) and this key of its own should hold.
    pub fn wanted(&self, ranges: &HashMap<String, Vec<IpNet>>, own: &PublicKey) -> Wanted {
        let mut wanted = Wanted::default();
        for (public_key, entries) in &self.by_public_key {
            let Some(first) = entries.first().and_then(|(_, uid)| self.peers.get(uid)) else {
                continue;
            };
            let mut addresses = Vec::new();
            let mut uids = Vec::new();
            for (_, uid) in entries {
                let Some(peer) = self.peers.get(uid) else { continue };
                let Some(nets) = ranges.get(&peer.pool) else {
                    continue;
                };
                let inside = peer
                    .addresses
                    .iter()
                    .all(|a| nets.iter().any(|net| net.contains(a) && !is_gateway(net, a)));
                if public_key == own || peer.key_uid != first.key_uid || !inside {
                    wanted.refused.push(uid.clone());
                    continue;
                }
                addresses.extend(peer.addresses.iter().copied());
                uids.push(uid.clone());
            }
            if !addresses.is_empty() {
                let peer = DesiredPeer {
                    public_key: *public_key,
                    allowed_ips: AllowedIps::hosts(addresses),
                };
                wanted.peers.insert(*public_key, peer);
                wanted.uids.insert(*public_key, uids);
            }
        }
        wanted.refused.extend(self.unreadable.iter().cloned());
        self.settle_shared_addresses(&mut wanted);
        wanted.refused.sort_unstable();
        wanted
    }

    /// The kernel gives an address to the last peer that names it, silently. So a shared one (possible only for the
    /// second family of a claim, with a chance of 2^-64) goes to the oldest claim, and the others are refused.
    fn settle_shared_addresses(&self, wanted: &mut Wanted) {
        let mut holders: HashMap<IpNet, (i64, &Uid, PublicKey)> = HashMap::new();
        let mut losers = HashSet::new();
        for (public_key, peer) in &wanted.peers {
            let Some(uid) = wanted.uids.get(public_key).and_then(|uids| uids.first()) else {
                continue;
            };
            let Some((uid, claim)) = self.peers.get_key_value(uid) else {
                continue;
            };
            let mine = (claim.created, uid, *public_key);
            for prefix in &peer.allowed_ips {
                match holders.get(prefix) {
                    Some(theirs) if (theirs.0, theirs.1) < (mine.0, mine.1) => losers.insert(*public_key),
                    Some(theirs) => {
                        losers.insert(theirs.2);
                        holders.insert(*prefix, mine);
                        true
                    }
                    None => holders.insert(*prefix, mine).is_none(),
                };
            }
        }
        for public_key in losers {
            wanted.peers.remove(&public_key);
            wanted
                .refused
                .extend(wanted.uids.remove(&public_key).unwrap_or_default());
        }
    }
}

/// Whether the address is the gateway's own: the first host address of the range.
fn is_gateway(net: &IpNet, address: &std::net::IpAddr) -> bool {
    crate::assignment::gateway_address(net).addr() == *address
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn peer(version: u64, key_uid: &str, n: u8, address: &str) -> Peer {
        Peer {
            version,
            created: i64::from(n),
            key_uid: key_uid.to_owned(),
            public_key: PublicKey::from_bytes([n; 32]),
            addresses: vec![address.parse::<IpAddr>().unwrap()],
            pool: "default".to_owned(),
            released: false,
        }
    }

    fn filled(count: u8) -> Desired {
        let mut desired = Desired::default();
        for n in 1..=count {
            desired.apply(
                format!("u{n}"),
                Some(peer(
                    u64::from(n),
                    &format!("k{n}"),
                    n,
                    &format!("10.64.0.{}", n + 1),
                )),
            );
        }
        desired.finish_list(u64::from(count), &(1..=count).map(|n| format!("u{n}")).collect());
        desired
    }

    fn wanted(desired: &Desired) -> Wanted {
        let ranges = HashMap::from([("default".to_owned(), vec!["10.64.0.0/24".parse().unwrap()])]);
        desired.wanted(&ranges, &PublicKey::from_bytes([99; 32]))
    }

    #[test]
    fn a_page_of_a_list_does_not_move_the_watermark() {
        let mut desired = filled(3);
        desired.apply("u9".into(), Some(peer(900, "k9", 9, "10.64.0.77")));
        assert_eq!(desired.version(), 3);
        desired.note(900);
        assert_eq!(desired.version(), 900);
    }

    #[test]
    fn a_peer_that_cannot_be_read_is_refused_and_holds_nothing_up() {
        let mut desired = filled(2);
        desired.apply("u9".into(), None);
        desired.note(9);
        assert_eq!(desired.version(), 9);
        assert_eq!(wanted(&desired).peers.len(), 2);
        assert_eq!(wanted(&desired).refused, ["u9"]);
        desired.delete(10, "u9");
        assert!(wanted(&desired).refused.is_empty());
    }

    #[test]
    fn a_released_peer_is_gone_at_once() {
        let mut desired = filled(2);
        desired.apply(
            "u1".into(),
            Some(Peer {
                released: true,
                ..peer(9, "k1", 1, "10.64.0.2")
            }),
        );
        assert_eq!(wanted(&desired).peers.len(), 1);
    }

    #[test]
    fn an_older_version_changes_nothing() {
        let mut desired = filled(1);
        desired.apply("u1".into(), Some(peer(5, "k1", 1, "10.64.0.9")));
        desired.apply("u1".into(), Some(peer(3, "k1", 1, "10.64.0.2")));
        let wanted = wanted(&desired);
        let prefixes = wanted.peers[&PublicKey::from_bytes([1; 32])]
            .allowed_ips
            .as_slice();
        assert_eq!(prefixes, ["10.64.0.9/32".parse().unwrap()]);
    }

    #[test]
    fn a_list_that_removes_much_is_believed_when_a_second_agrees() {
        let mut desired = filled(50);
        let few: HashSet<Uid> = (1..=30).map(|n| format!("u{n}")).collect();
        assert_eq!(desired.finish_list(60, &few), Verdict::ListAgain);
        assert_eq!(wanted(&desired).peers.len(), 50);
        assert_eq!(desired.finish_list(61, &few), Verdict::Believed);
        assert_eq!(wanted(&desired).peers.len(), 30);
    }

    #[test]
    fn a_second_list_that_removes_more_than_the_first_needs_a_third() {
        let mut desired = filled(50);
        let few: HashSet<Uid> = (1..=30).map(|n| format!("u{n}")).collect();
        assert_eq!(desired.finish_list(60, &few), Verdict::ListAgain);
        assert_eq!(desired.finish_list(61, &HashSet::new()), Verdict::ListAgain);
        assert_eq!(wanted(&desired).peers.len(), 50);
        assert_eq!(desired.finish_list(62, &few), Verdict::Believed);
    }

    #[test]
    fn an_older_list_does_not_bring_a_released_peer_back() {
        let mut desired = filled(2);
        desired.apply(
            "u1".into(),
            Some(Peer {
                released: true,
                ..peer(9, "k1", 1, "10.64.0.2")
            }),
        );
        desired.apply("u1".into(), Some(peer(1, "k1", 1, "10.64.0.2")));
        assert_eq!(wanted(&desired).peers.len(), 1);
    }

    #[test]
    fn a_list_that_removes_little_is_believed_at_once() {
        let mut desired = filled(50);
        let most: HashSet<Uid> = (1..=45).map(|n| format!("u{n}")).collect();
        assert_eq!(desired.finish_list(60, &most), Verdict::Believed);
        assert_eq!(wanted(&desired).peers.len(), 45);
    }

    #[test]
    fn a_list_older_than_what_was_seen_removes_nothing() {
        let mut desired = filled(5);
        assert_eq!(desired.finish_list(4, &HashSet::new()), Verdict::TooOld);
        assert_eq!(wanted(&desired).peers.len(), 5);
    }

    #[test]
    fn two_claims_of_one_key_are_one_peer_with_all_addresses() {
        let mut desired = filled(1);
        desired.apply(
            "u9".into(),
            Some(Peer {
                created: 9,
                ..peer(9, "k1", 1, "10.64.0.77")
            }),
        );
        let wanted = wanted(&desired);
        assert_eq!(wanted.peers[&PublicKey::from_bytes([1; 32])].allowed_ips.len(), 2);
        assert!(wanted.refused.is_empty());
    }

    #[test]
    fn of_two_keys_with_one_public_key_the_older_claim_wins() {
        let mut desired = filled(1);
        desired.apply(
            "u9".into(),
            Some(Peer {
                created: 9,
                ..peer(9, "k9", 1, "10.64.0.77")
            }),
        );
        let wanted = wanted(&desired);
        assert_eq!(
            wanted.peers[&PublicKey::from_bytes([1; 32])]
                .allowed_ips
                .as_slice(),
            ["10.64.0.2/32".parse().unwrap()]
        );
        assert_eq!(wanted.refused, ["u9"]);
    }

    #[test]
    fn of_two_claims_with_one_address_the_older_has_it() {
        let mut desired = filled(3);
        desired.apply(
            "u9".into(),
            Some(Peer {
                created: 0,
                ..peer(9, "k9", 9, "10.64.0.3")
            }),
        );
        let wanted = wanted(&desired);
        assert_eq!(wanted.refused, ["u2"]);
        assert!(wanted.peers.contains_key(&PublicKey::from_bytes([9; 32])));
    }

    #[test]
    fn an_address_outside_the_pool_or_the_gateways_own_is_refused() {
        let mut desired = filled(1);
        desired.apply("u8".into(), Some(peer(8, "k8", 8, "192.168.1.1")));
        desired.apply("u9".into(), Some(peer(9, "k9", 9, "10.64.0.1")));
        let wanted = wanted(&desired);
        assert_eq!(wanted.peers.len(), 1);
        assert_eq!(wanted.refused, ["u8", "u9"]);
    }

    #[test]
    fn the_gateways_own_key_is_refused() {
        let mut desired = filled(1);
        desired.apply("u9".into(), Some(peer(9, "k9", 99, "10.64.0.77")));
        assert_eq!(wanted(&desired).refused, ["u9"]);
    }

    #[test]
    fn an_unreadable_peer_keeps_what_was_known_of_it() {
        let mut desired = filled(1);
        desired.apply("u1".into(), None);
        let wanted = wanted(&desired);
        assert_eq!(wanted.peers.len(), 1);
        assert_eq!(wanted.refused, ["u1"]);
    }
}
