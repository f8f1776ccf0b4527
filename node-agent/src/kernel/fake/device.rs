//! What WireGuard keeps of one interface, and how a change acts on it, as drivers/net/wireguard/netlink.c has it.

use std::collections::{BTreeMap, HashMap};

use culvert_wireguard::{
    AllowedIps, DesiredPeer, DeviceChange, Endpoint, ObservedPeer, PeerChange, PrivateKey, PublicKey,
    Refusal, Settings,
};
use ipnet::IpNet;

/// A peer as the interface has it.
pub(super) struct Peer {
    pub(super) seen: ObservedPeer,
    /// Session keys are there: its client may go on without a handshake.
    pub(super) session: bool,
}

/// An interface's WireGuard part.
#[derive(Default)]
pub(super) struct Device {
    private_key: Option<PrivateKey>,
    /// Computed once, as the kernel does.
    public_key: Option<PublicKey>,
    pub(super) listen_port: u16,
    pub(super) fwmark: u32,
    /// By number; numbers grow, so this is the order in which they were made.
    peers: BTreeMap<u64, Peer>,
    made: u64,
    by_key: HashMap<PublicKey, u64>,
    holders: HashMap<IpNet, u64>,
    /// Grows with every request to change the interface, whatever it changes.
    pub(super) generation: u64,
    /// Grows with every change of any peer's prefixes.
    pub(super) prefixes: u64,
}

impl Device {
    pub(super) fn peers(&self) -> &BTreeMap<u64, Peer> {
        &self.peers
    }

    pub(super) fn peer_mut(&mut self, key: &PublicKey) -> Option<&mut Peer> {
        self.peers.get_mut(self.by_key.get(key)?)
    }

    pub(super) fn settings(&self) -> Settings {
        let private_key = self.private_key.as_ref();
        Settings {
            private_key: private_key.map(|key| PrivateKey::from_bytes(key.as_bytes())),
            public_key: self.public_key,
            listen_port: self.listen_port,
            fwmark: self.fwmark,
        }
    }

    /// Settings in the kernel's order, after mark and port.
    pub(super) fn set(&mut self, change: &DeviceChange) {
        if change.replace_peers {
            self.peers.clear();
            self.by_key.clear();
            self.holders.clear();
            self.prefixes += 1;
        }
        if let Some(key) = &change.private_key
            && self.private_key.as_ref() != Some(key)
        {
            let own = key.public_key();
            self.remove(&own);
            self.private_key = Some(PrivateKey::from_bytes(key.as_bytes()));
            self.public_key = Some(own);
            self.end_sessions();
        }
    }

    /// Carries changes of peers out, up to the first that is refused.
    pub(super) fn change(&mut self, changes: &[PeerChange], most: usize) -> Result<(), Refusal> {
        changes.iter().try_for_each(|change| match change {
            PeerChange::Set(desired) => self.put(desired, most),
            PeerChange::Remove(key) => {
                self.remove(key);
                Ok(())
            }
            PeerChange::Forget(key) => {
                if let Some(peer) = self.peer_mut(key) {
                    peer.seen.endpoint = Some(Endpoint::FORGOTTEN);
                }
                Ok(())
            }
            PeerChange::Reinstate(desired) => {
                self.remove(&desired.public_key);
                self.put(desired, most)
            }
        })
    }

    pub(super) fn end_sessions(&mut self) {
        for peer in self.peers.values_mut() {
            peer.session = false;
        }
    }

    fn put(&mut self, desired: &DesiredPeer, most: usize) -> Result<(), Refusal> {
        let id = match self.by_key.get(&desired.public_key) {
            Some(id) => *id,
            None if self.public_key == Some(desired.public_key) => return Ok(()),
            None if self.peers.len() >= most => return Err(Refusal::OutOfMemory),
            None => self.make(desired.public_key),
        };
        self.release(id);
        for prefix in &desired.allowed_ips {
            if let Some(other) = self.holders.insert(*prefix, id)
                && let Some(other) = self.peers.get_mut(&other)
            {
                let kept = other.seen.allowed_ips.iter().filter(|held| *held != prefix);
                other.seen.allowed_ips = kept.copied().collect();
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.seen.allowed_ips = desired.allowed_ips.clone();
            peer.seen.persistent_keepalive = 0;
        }
        self.prefixes += 1;
        Ok(())
    }

    fn make(&mut self, public_key: PublicKey) -> u64 {
        self.made += 1;
        let seen = ObservedPeer {
            public_key,
            endpoint: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: AllowedIps::new(),
            persistent_keepalive: 0,
            has_preshared_key: false,
        };
        self.peers.insert(self.made, Peer { seen, session: false });
        self.by_key.insert(public_key, self.made);
        self.made
    }

    fn remove(&mut self, key: &PublicKey) {
        let Some(id) = self.by_key.remove(key) else {
            return;
        };
        self.release(id);
        self.peers.remove(&id);
        self.prefixes += 1;
    }

    /// Takes a peer's prefixes away.
    fn release(&mut self, id: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            for prefix in &std::mem::take(&mut peer.seen.allowed_ips) {
                self.holders.remove(prefix);
            }
        }
    }
}
