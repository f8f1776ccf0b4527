//! Missing, changed and surplus peers.

use culvert_wireguard::{ObservedPeer, PeerChange};

use crate::desired::Wanted;

/// The changes of one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To peers that are there, removals first.
    pub known: Vec<PeerChange>,
    /// Peers that are not there yet.
    pub further: Vec<PeerChange>,
}

/// The changes that make the observed peers the wanted ones.
///
/// Removals come first, so that an address which moves is free before another peer takes it. Among the rest any order
/// will do: each peer's prefixes are set as a whole, and no two wanted peers share one.
/// `surplus` says whether what is not wanted may be removed, so whether absence is proved.
pub fn plan(wanted: &Wanted, observed: &[ObservedPeer], surplus: bool) -> Changes {
    let mut known = Vec::new();
    let mut sets = Vec::new();
    let mut present = std::collections::HashSet::with_capacity(observed.len());
    for peer in observed {
        present.insert(peer.public_key);
        match wanted.peers.get(&peer.public_key) {
            None if surplus => known.push(PeerChange::Remove(peer.public_key)),
            Some(desired) if !peer.matches(desired) => {
                // A preshared key that somebody set by hand leaves only with the peer itself.
                sets.push(if peer.has_preshared_key {
                    PeerChange::Reinstate(desired.clone())
                } else {
                    PeerChange::Set(desired.clone())
                });
            }
            None | Some(_) => {}
        }
    }
    let missing = wanted
        .peers
        .values()
        .filter(|peer| !present.contains(&peer.public_key));
    known.extend(sets);
    Changes {
        known,
        further: missing.cloned().map(PeerChange::Set).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wireguard::{AllowedIps, DesiredPeer, PublicKey};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr};

    /// The changes in the order in which they are carried out.
    fn plan(wanted: &Wanted, observed: &[ObservedPeer], surplus: bool) -> Vec<PeerChange> {
        let Changes { known, further } = super::plan(wanted, observed, surplus);
        [known, further].concat()
    }

    fn desired(n: u8, host: u8) -> DesiredPeer {
        let address = IpAddr::V4(Ipv4Addr::new(10, 64, 0, host));
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
        Wanted {
            peers: peers.into_iter().map(|p| (p.public_key, p)).collect(),
            ..Wanted::default()
        }
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
            prop_assert_eq!(kernel.len(), wanted.peers.len());
        }
    }
}
