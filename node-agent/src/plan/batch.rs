//! Changes of peers into messages.

use culvert_wireguard::PeerChange;

/// Peers in a message that reinstates: each pair waits for RCU, with the lock of all links held.
pub const PAIRS: usize = 8;

/// The messages that carry changes out: in one what is quick, then those that reinstate, a few in each.
pub fn messages(changes: Vec<PeerChange>) -> Vec<Vec<PeerChange>> {
    let (reinstate, others): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| matches!(change, PeerChange::Reinstate(_)));
    let mut messages: Vec<_> = reinstate.chunks(PAIRS).map(<[_]>::to_vec).collect();
    if !others.is_empty() {
        messages.insert(0, others);
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wireguard::{AllowedIps, DesiredPeer, PublicKey};

    #[test]
    fn peers_are_reinstated_a_few_at_a_time_and_last() {
        let key = |n: u8| PublicKey::from_bytes([n; 32]);
        let reinstate = |n| {
            PeerChange::Reinstate(DesiredPeer {
                public_key: key(n),
                allowed_ips: AllowedIps::new(),
            })
        };
        let mut changes: Vec<_> = (0..10).map(reinstate).collect();
        changes.insert(3, PeerChange::Forget(key(77)));
        changes.push(PeerChange::Remove(key(78)));
        let messages = messages(changes);
        assert_eq!(
            messages[0],
            [PeerChange::Forget(key(77)), PeerChange::Remove(key(78))]
        );
        let sizes: Vec<_> = messages.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 8, 2]);
        assert_eq!(messages[1..].concat(), (0..10).map(reinstate).collect::<Vec<_>>());
    }

    #[test]
    fn no_change_is_no_message() {
        assert_eq!(messages(Vec::new()), Vec::<Vec<_>>::new());
    }
}
