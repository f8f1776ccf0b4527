//! Missing, changed and surplus peers.
//!
//! Removals come first, so that an address which moves is free before another peer takes it. Among the rest any order
//! will do: each peer's prefixes are set as a whole, and no two wanted peers share one.

use crate::desired::{Desired, Slot, View};
use crate::observed::Seen;

/// What a peer of a look is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Right,
    /// To be there, and otherwise.
    Wrong,
    /// Not to be there.
    Surplus,
    /// Not known to be wanted while not everything is known: it stays.
    Unproved,
}

/// What a peer is that a look shows. Whoever was released or deleted is surplus at once; whoever is only not known to
/// be wanted, not before absence is proved.
pub fn judge(desired: &Desired, view: &View, slot: Option<Slot>, seen: &Seen<'_>) -> Verdict {
    let told = slot.map(|slot| (slot, desired.should_hold(view, slot, seen.prefixes)));
    match told {
        Some((_, Some(true))) if !seen.keeps_alive && !seen.has_preshared_key => Verdict::Right,
        Some((_, Some(_))) => Verdict::Wrong,
        Some((slot, None)) if desired.is_unwanted(view, slot) => Verdict::Surplus,
        None if desired.is_complete() => Verdict::Surplus,
        _ => Verdict::Unproved,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr};

    use culvert_wireguard::{AllowedIps, DesiredPeer, ObservedPeer, PeerChange, PublicKey};
    use proptest::prelude::*;

    use super::*;
    use crate::desired::parse::{Peer, Uid};

    /// The peers that are wanted, as the API would tell of them.
    type Wanted = Vec<DesiredPeer>;

    /// The changes in the order in which they are carried out.
    fn plan(wanted: &Wanted, observed: &[ObservedPeer], surplus: bool) -> Vec<PeerChange> {
        let mut table = Desired::default();
        table.list_begins(9);
        for peer in wanted {
            let n = peer.public_key.as_bytes()[0];
            let peer = Peer {
                version: 9,
                created: n.into(),
                key_uid: Uid::from_u128(1_000 + u128::from(n)),
                public_key: peer.public_key,
                addresses: peer.allowed_ips.iter().map(ipnet::IpNet::addr).collect(),
                pool: "default".into(),
                released: false,
            };
            table.apply(Uid::from_u128(n.into()), Some(peer));
        }
        if surplus {
            table.finish_list(9);
        }
        let ranges = HashMap::from([("default".into(), vec!["10.64.0.0/16".parse().unwrap()])]);
        let view = table.view(&ranges, &[]);
        let mut changes = Vec::new();
        let mut sets = Vec::new();
        for peer in observed {
            let seen = Seen {
                public_key: &peer.public_key,
                prefixes: peer.allowed_ips.as_slice(),
                keeps_alive: peer.persistent_keepalive != 0,
                has_preshared_key: peer.has_preshared_key,
                trace: None,
            };
            let slot = table.slot(&peer.public_key);
            let wanted = || table.wanted(&view, slot.unwrap()).unwrap();
            match judge(&table, &view, slot, &seen) {
                Verdict::Surplus => changes.push(PeerChange::Remove(peer.public_key)),
                Verdict::Wrong if peer.has_preshared_key => sets.push(PeerChange::Reinstate(wanted())),
                Verdict::Wrong => sets.push(PeerChange::Set(wanted())),
                Verdict::Right | Verdict::Unproved => {}
            }
        }
        changes.extend(sets);
        let is_there = |peer: &&DesiredPeer| observed.iter().any(|seen| seen.public_key == peer.public_key);
        let missing = wanted.iter().filter(|peer| !is_there(peer));
        changes.extend(missing.cloned().map(PeerChange::Set));
        changes
    }

    fn desired(n: u8, host: u8) -> DesiredPeer {
        // Some host addresses are the gateway's own, and some keys none.
        let address = IpAddr::V4(Ipv4Addr::new(10, 64, 1, host));
        DesiredPeer {
            public_key: PublicKey::from_bytes([n; 32]),
            allowed_ips: AllowedIps::host(address),
        }
    }

    fn observed(peer: &DesiredPeer) -> ObservedPeer {
        ObservedPeer {
            public_key: peer.public_key,
            endpoint: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: peer.allowed_ips.clone(),
            persistent_keepalive: 0,
            has_preshared_key: false,
        }
    }

    fn wanted(peers: impl IntoIterator<Item = DesiredPeer>) -> Wanted {
        peers.into_iter().collect()
    }

    /// What the kernel makes of changes: the last peer that names an address has it.
    fn carry_out(kernel: &mut HashMap<PublicKey, ObservedPeer>, changes: &[PeerChange]) {
        for change in changes {
            match change {
                PeerChange::Remove(key) => {
                    kernel.remove(key);
                }
                PeerChange::Set(peer) | PeerChange::Reinstate(peer) => {
                    for other in kernel
                        .values_mut()
                        .filter(|other| other.public_key != peer.public_key)
                    {
                        let kept = other.allowed_ips.iter().filter(|p| !peer.allowed_ips.contains(p));
                        other.allowed_ips = kept.copied().collect();
                    }
                    kernel.insert(peer.public_key, observed(peer));
                }
                PeerChange::Forget(_) => {}
            }
        }
    }

    #[test]
    fn an_address_that_moves_is_taken_away_before_it_is_given() {
        let changes = plan(&wanted([desired(2, 7)]), &[observed(&desired(1, 7))], true);
        assert_eq!(
            changes,
            [
                PeerChange::Remove(desired(1, 7).public_key),
                PeerChange::Set(desired(2, 7))
            ]
        );
    }

    #[test]
    fn nothing_is_removed_while_absence_is_not_proved() {
        assert_eq!(plan(&wanted([]), &[observed(&desired(1, 7))], false), []);
    }

    #[test]
    fn a_preshared_key_set_by_hand_is_taken_out() {
        let mut peer = observed(&desired(1, 7));
        peer.has_preshared_key = true;
        assert_eq!(
            plan(&wanted([desired(1, 7)]), &[peer], true),
            [PeerChange::Reinstate(desired(1, 7))]
        );
    }

    proptest! {
        /// From any kernel state, two passes reach what is wanted and the third changes nothing.
        #[test]
        fn any_kernel_comes_to_what_is_wanted(
            before in prop::collection::hash_map(0_u8..20, 0_u8..20, 0..20),
            after in prop::collection::hash_map(0_u8..20, 0_u8..20, 0..20),
        ) {
            let unique = |map: HashMap<u8, u8>| {
                let mut taken = std::collections::HashSet::new();
                map.into_iter().filter(|(_, host)| taken.insert(*host)).map(|(n, host)| desired(n, host)).collect::<Vec<_>>()
            };
            let mut kernel: HashMap<_, _> = unique(before).iter().map(|p| (p.public_key, observed(p))).collect();
            let wanted = wanted(unique(after));
            for _ in 0..2 {
                let dump: Vec<_> = kernel.values().cloned().collect();
                carry_out(&mut kernel, &plan(&wanted, &dump, true));
            }
            let dump: Vec<_> = kernel.values().cloned().collect();
            prop_assert_eq!(plan(&wanted, &dump, true), []);
            prop_assert_eq!(kernel.len(), wanted.len());
        }
    }
}
