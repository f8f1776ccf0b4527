//! From what was seen to what a plan is made from: remembers what a single look cannot show (pure).
//!
//! That is how long a gateway has been silent, since when a tunnel no longer leads, and since when a key has addresses
//! that not every gateway knows yet.

use std::collections::HashMap;
use std::time::Duration;

use culvert_crds::Reason;
use culvert_wireguard::PublicKey;

use super::ear::Ear;
use super::follow::{Gateways, KeySeen, Known};
use super::machine::{Seen, SeenPeer, SeenTunnel};
use super::world::{Gateway, Key, Peer, Tunnel, World};
use crate::keys::{KeyState, state};

/// The operator counts the overlap from a moment before ours.
const SLACK: Duration = Duration::from_secs(10);

/// How long a key with addresses waits for the last gateway. A handshake is the proof that counts; one that comes too early
/// is repeated after five seconds.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// What is remembered between looks.
#[derive(Debug, Default)]
pub struct Memory {
    ears: HashMap<(PublicKey, PublicKey), Ear>,
    retired: HashMap<PublicKey, Duration>,
    addressed: Option<(PublicKey, Duration)>,
}

/// Which gateways are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Any, the first to answer.
    Nearest,
    /// Those of this name.
    Named(String),
}

impl Choice {
    /// Whether a gateway is wanted.
    pub fn fits(&self, known: &Known) -> bool {
        let serving = &known.serving;
        match self {
            Self::Nearest => true,
            Self::Named(name) => [&serving.name, &serving.node, &serving.gateway].contains(&name),
        }
    }
}

impl Memory {
    /// Makes the world. `resolves` is what is known of resolvers.
    pub fn world(
        &mut self,
        now: Duration,
        seen: Seen,
        key: &KeySeen,
        gateways: &Gateways,
        choice: &Choice,
        resolves: Option<u8>,
    ) -> World {
        let leader = seen.leader;
        self.retired.retain(|key, _| {
            let is = |tunnel: &SeenTunnel| tunnel.public_key == Some(*key) && Some(tunnel.slot) != leader;
            seen.tunnels.iter().any(is)
        });
        let tunnels = seen
            .tunnels
            .into_iter()
            .map(|tunnel| self.tunnel(now, tunnel, leader, gateways))
            .collect();
        World {
            tunnels,
            leader,
            leads_partly: seen.leads_partly,
            closed: seen.closed,
            resolves,
            key: self.key(now, key),
            gateways: gateways
                .known
                .iter()
                .filter(|known| choice.fits(known))
                .map(|known| Gateway {
                    key: known.serving.public_key,
                    ready: known.serving.ready && known.address.is_some(),
                })
                .collect(),
        }
    }

    fn tunnel(&mut self, now: Duration, seen: SeenTunnel, leader: Option<u8>, gateways: &Gateways) -> Tunnel {
        let over = gateways.overlap + SLACK;
        let is_over = seen.public_key.is_some_and(|key| {
            leader != Some(seen.slot) && now >= *self.retired.entry(key).or_insert(now) + over
        });
        let own = seen.public_key;
        let peers = seen.peers.iter().map(|peer| {
            let silent = match own {
                Some(own) if peer.carries => {
                    let ear = self.ears.entry((own, peer.key)).or_default();
                    ear.listen(now, peer.received, peer.sent)
                }
                _ => false,
            };
            Peer {
                key: peer.key,
                carries: peer.carries,
                met: peer.handshake.is_some(),
                silent,
                elsewhere: is_elsewhere(peer, gateways),
            }
        });
        let peers: Vec<Peer> = peers.collect();
        self.ears.retain(|(tunnel, gateway), _| {
            Some(*tunnel) != own || peers.iter().any(|peer| peer.carries && peer.key == *gateway)
        });
        Tunnel {
            slot: seen.slot,
            public_key: own,
            addresses: seen.addresses,
            furnished: seen.furnished,
            peers,
            is_over,
        }
    }

    fn key(&mut self, now: Duration, seen: &KeySeen) -> Key {
        let object = match seen {
            KeySeen::Unknown => return Key::Unknown,
            KeySeen::Absent => return Key::Absent,
            KeySeen::Present(object) => object,
        };
        let Ok(public_key) = PublicKey::from_base64(&object.spec.public_key) else {
            // Nobody's private key belongs to it, so it is replaced.
            return Key::Absent;
        };
        let addresses = match state(object, &public_key) {
            KeyState::Served(served) => served.addresses,
            KeyState::Waiting { addresses, .. } if !addresses.is_empty() => {
                let since = match self.addressed {
                    Some((key, since)) if key == public_key => since,
                    _ => now,
                };
                self.addressed = Some((public_key, since));
                if now >= since + STRAGGLERS {
                    addresses
                } else {
                    Vec::new()
                }
            }
            KeyState::Refused { reason, .. } if reason == Reason::Expired.as_str() => return Key::Spent,
            _ => Vec::new(),
        };
        Key::Present {
            public_key,
            addresses,
        }
    }
}

/// Whether the API has a gateway at another place than packets are sent to.
fn is_elsewhere(peer: &SeenPeer, gateways: &Gateways) -> bool {
    let known = gateways
        .known
        .iter()
        .find(|known| known.serving.public_key == peer.key);
    let place = known.and_then(|known| known.address);
    matches!((place, peer.endpoint), (Some(place), Some(at)) if at.socket_addr() != place)
}
