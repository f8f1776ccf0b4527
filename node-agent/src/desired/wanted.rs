//! Everything that a gateway wants, at once.

use std::collections::HashMap;

use culvert_wireguard::{DesiredPeer, PublicKey};
use ipnet::IpNet;

use super::parse::Uid;
use super::{Desired, Slot, View};

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
    /// What an interface with these ranges (by pool name) and this key of its own should hold.
    pub fn all_wanted(&mut self, ranges: &HashMap<String, Vec<IpNet>>, own: &PublicKey) -> Wanted {
        let view = View {
            own: Some(*own),
            ..self.view(ranges)
        };
        let mut wanted = Wanted::default();
        for slot in (0..self.end().0).map(Slot) {
            self.refused(&view, slot, false, &mut |uid| wanted.refused.push(uid));
            if let Some(peer) = self.wanted(&view, slot) {
                let uids = wanted.uids.entry(peer.public_key).or_default();
                self.refused(&view, slot, true, &mut |uid| uids.push(uid));
                uids.retain(|uid| !wanted.refused.contains(uid));
                wanted.peers.insert(peer.public_key, peer);
            }
        }
        wanted.refused.extend(self.doubtful());
        wanted.refused.sort_unstable();
        wanted
    }
}
