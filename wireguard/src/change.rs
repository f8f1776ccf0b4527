//! Changes to one interface, as plain data: what a plan says and the encoder writes.
//!
//! The order of the list is the order in which the kernel acts. No change carries a preshared key, a keepalive
//! other than 0, or an endpoint other than the forgotten one, so a plan cannot put a client's location back.

use crate::{DesiredPeer, PrivateKey, PublicKey};

/// One change to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// Create the peer, or give an existing one exactly these allowed IPs; keepalive off. A prefix that another
    /// peer holds moves silently. Session, endpoint and preshared key of an existing peer stay.
    Set(DesiredPeer),

    /// Remove the peer; no error when it is absent.
    Remove(PublicKey),

    /// Overwrite the endpoint with the forgotten one; nothing when the peer is absent. Loses no session.
    Forget(PublicKey),

    /// Remove the peer and create it again, in one message: endpoint, handshake time, counters and session keys
    /// go. Cuts a live session.
    Reinstate(DesiredPeer),
}

impl PeerChange {
    /// The peer that is changed.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Set(peer) | Self::Reinstate(peer) => &peer.public_key,
            Self::Remove(key) | Self::Forget(key) => key,
        }
    }
}

/// Changes to one interface: first its own settings, then its peers in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DeviceChange {
    /// A new secret. A peer with the matching public key disappears.
    pub private_key: Option<PrivateKey>,

    /// A new UDP port; 0 lets the kernel choose.
    pub listen_port: Option<u16>,

    /// A new mark on outgoing packets; 0 is none.
    pub fwmark: Option<u32>,

    /// Remove every peer before the changes below: also the cheap way to empty an interface before deleting it.
    pub replace_peers: bool,

    /// What happens to peers, in this order.
    pub peers: Vec<PeerChange>,
}

impl DeviceChange {
    /// Changes to peers only.
    pub fn of_peers(peers: impl IntoIterator<Item = PeerChange>) -> Self {
        Self {
            peers: peers.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Removal of every peer.
    pub fn flush() -> Self {
        Self {
            replace_peers: true,
            ..Self::default()
        }
    }

    /// Whether the interface's own settings are touched.
    pub fn changes_settings(&self) -> bool {
        self.private_key.is_some()
            || self.listen_port.is_some()
            || self.fwmark.is_some()
            || self.replace_peers
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        !self.changes_settings() && self.peers.is_empty()
    }
}
