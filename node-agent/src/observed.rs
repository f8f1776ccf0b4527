//! A look at an interface, folded as it arrives: nothing is kept of a peer that is as it should be.
//!
//! Where a client is does not leave the reader's buffer: what is taken from there is whether it is known ([`Trace`]). None
//! of these types prints: they say who was active, when, and how much.

use std::fmt;

use culvert_wireguard::{PeerPart, PublicKey, WallTime};
use ipnet::IpNet;

/// What a peer shows of somebody's activity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Where its client is, is known and not overwritten.
    pub located: bool,
    /// The last completed handshake.
    pub handshake: Option<WallTime>,
    /// Bytes received from it.
    pub rx_bytes: u64,
}

/// One peer of a look, whole.
pub struct Seen<'a> {
    /// The peer's identity.
    pub public_key: &'a PublicKey,
    /// Its prefixes.
    pub prefixes: &'a [IpNet],
    /// It sends keepalives.
    pub keeps_alive: bool,
    /// It has a preshared key.
    pub has_preshared_key: bool,
    /// What it shows of somebody; `None` when there is no trace of anybody.
    pub trace: Option<Trace>,
}

/// Parts of peers into whole ones: a part is the last of its peer when the next one begins.
#[derive(Default)]
pub struct Fold {
    current: Option<Current>,
    /// Room for the prefixes of one.
    prefixes: Vec<IpNet>,
}

struct Current {
    public_key: PublicKey,
    keeps_alive: bool,
    has_preshared_key: bool,
    trace: Option<Trace>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace(…)")
    }
}

impl fmt::Debug for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen(…)")
    }
}

impl fmt::Debug for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fold(…)")
    }
}

impl Trace {
    /// What the first part of a peer shows.
    pub fn of(part: &PeerPart<'_>) -> Option<Self> {
        (part.endpoint.is_some() || part.last_handshake.is_some()).then(|| Self {
            located: part.endpoint.is_some_and(|endpoint| !endpoint.is_forgotten()),
            handshake: part.last_handshake,
            rx_bytes: part.rx_bytes,
        })
    }
}

impl Fold {
    /// Takes in a part, and hands over the peer that is whole with it.
    pub fn part(&mut self, part: &PeerPart<'_>, each: &mut dyn FnMut(&Seen<'_>)) {
        if part.begins {
            self.finish(each);
            self.current = Some(Current {
                public_key: *part.public_key,
                keeps_alive: part.persistent_keepalive != 0,
                has_preshared_key: part.has_preshared_key,
                trace: Trace::of(part),
            });
        }
        self.prefixes.extend_from_slice(part.allowed_ips);
    }

    /// Hands over the last peer.
    pub fn finish(&mut self, each: &mut dyn FnMut(&Seen<'_>)) {
        if let Some(current) = self.current.take() {
            each(&Seen {
                public_key: &current.public_key,
                prefixes: &self.prefixes,
                keeps_alive: current.keeps_alive,
                has_preshared_key: current.has_preshared_key,
                trace: current.trace,
            });
        }
        self.prefixes.clear();
    }
}

#[cfg(test)]
mod tests {
    use culvert_wireguard::Endpoint;

    use super::*;

    fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    #[test]
    fn a_peer_in_several_parts_is_handed_over_once_and_whole() {
        let nets: Vec<IpNet> = ["10.64.0.2/32", "10.64.0.3/32", "10.64.0.4/32"]
            .map(|net| net.parse().unwrap())
            .into();
        let (one, two) = (key(1), key(2));
        let begins = |key, prefixes| PeerPart {
            begins: true,
            ..PeerPart::more(key, prefixes)
        };
        let mut seen = Vec::new();
        let mut each = |peer: &Seen<'_>| seen.push((*peer.public_key, peer.prefixes.to_vec()));
        let mut fold = Fold::default();
        for part in [
            begins(&one, &nets[..1]),
            begins(&two, &nets[1..2]),
            PeerPart::more(&two, &nets[2..]),
        ] {
            fold.part(&part, &mut each);
        }
        fold.finish(&mut each);
        fold.finish(&mut each);
        assert_eq!(seen, [(one, nets[..1].to_vec()), (two, nets[1..].to_vec())]);
    }

    #[test]
    fn what_is_taken_from_a_peer_does_not_say_where_its_client_is() {
        let one = key(1);
        let bare = PeerPart {
            begins: true,
            ..PeerPart::more(&one, &[])
        };
        assert_eq!(Trace::of(&bare), None);
        for (endpoint, located) in [
            (Endpoint::FORGOTTEN, false),
            (Endpoint::new("192.0.2.1:1".parse().unwrap()), true),
        ] {
            let part = PeerPart {
                endpoint: Some(endpoint),
                ..bare
            };
            assert_eq!(Trace::of(&part).unwrap().located, located);
        }
        // A handshake's time prints as little as an endpoint.
        let part = PeerPart {
            last_handshake: Some(WallTime {
                seconds: 1_700_000_000,
                nanoseconds: 0,
            }),
            ..bare
        };
        assert!(!format!("{:?}", Trace::of(&part)).contains("17000"));
    }
}
