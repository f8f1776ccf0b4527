//! Any bytes as a peer of the API's.

use std::collections::{HashMap, HashSet};

use culvert_crds::peer::peer_name;
use culvert_follow::Raw;
use culvert_node_agent::desired::Desired;
use culvert_node_agent::desired::parse::{self, Uid};

/// Reads bytes as an object, and takes it in as the agent does.
pub fn read(bytes: &[u8]) {
    let Ok(object) = serde_json::from_slice::<Raw>(bytes) else {
        return;
    };
    let Some(peer) = parse::peer(&object) else {
        return;
    };
    assert!(peer.public_key.is_usable(), "a key that protects nothing");
    assert_eq!(
        Some(object.metadata.name.clone()),
        peer.addresses.first().map(|address| peer_name(*address)),
        "a peer that is not named by its address"
    );
    let is_released = peer.released;
    let version = peer.version;
    let public_key = peer.public_key;
    let addresses: HashSet<_> = peer.addresses.iter().copied().collect();
    let ranges = HashMap::from([(
        peer.pool.clone(),
        ["10.64.0.0/16", "fd64::/64"]
            .map(|range| range.parse().unwrap())
            .to_vec(),
    )]);
    let mut desired = Desired::default();
    desired.list_begins(version);
    desired.apply(Uid::from_u128(1), Some(peer));
    desired.finish_list(version);
    let view = desired.view(&ranges, &[]);
    let slot = desired.slot(&public_key);
    let wanted = slot.and_then(|slot| desired.wanted(&view, slot));
    let refused = slot.map_or(0, |slot| desired.standing(&view, slot).refused);
    assert_eq!(
        u32::from(wanted.is_some()) + refused,
        u32::from(!is_released),
        "a peer that is neither served nor refused"
    );
    if let Some(served) = wanted {
        let inside = |prefix: &ipnet::IpNet| ranges.values().flatten().any(|range| range.contains(prefix));
        assert!(served.public_key == public_key && served.allowed_ips.iter().all(inside));
        let served: HashSet<_> = served.allowed_ips.iter().map(ipnet::IpNet::addr).collect();
        assert_eq!(served, addresses, "not the addresses that it is named by");
    }
}
