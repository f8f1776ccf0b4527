//! A look at an interface: its peers as they arrive, part by part, and the whole that they make.
//!
//! A look that somebody's change interrupts still goes on to its end, and says so there: what it has shown was true when
//! it was shown, but what it has *not* shown proves nothing. Prefixes may be missing from a peer of such a look, and a
//! peer may come twice, when it was removed and made again. Only a coherent look is made into an [`ObservedDevice`].
//!
//! Parts borrow from the reader, so that a look of many peers keeps nothing of those that nobody asks about.

use std::fmt;

use ipnet::IpNet;

use crate::{AllowedIps, Endpoint, ObservedDevice, ObservedPeer, PrivateKey, PublicKey, WallTime};

/// A piece of one peer. The parts of a peer follow one another; those after the first say nothing but which peer it is,
/// and more of its prefixes.
#[derive(Clone, Copy)]
pub struct PeerPart<'a> {
    /// The peer's identity.
    pub public_key: &'a PublicKey,

    /// Whether this is the peer's first part.
    pub begins: bool,

    /// Where it was last heard from, or what that was overwritten with.
    pub endpoint: Option<Endpoint>,

    /// The last completed handshake.
    pub last_handshake: Option<WallTime>,

    /// Bytes received from the peer since it was made.
    pub rx_bytes: u64,

    /// Bytes sent to the peer since it was made.
    pub tx_bytes: u64,

    /// Seconds between keepalives that we send; 0 is off.
    pub persistent_keepalive: u16,

    /// Whether a preshared key is set.
    pub has_preshared_key: bool,

    /// Prefixes, in no order that means anything.
    pub allowed_ips: &'a [IpNet],
}

impl<'a> PeerPart<'a> {
    /// More prefixes of the peer that the part before was about.
    pub const fn more(public_key: &'a PublicKey, allowed_ips: &'a [IpNet]) -> Self {
        Self {
            public_key,
            begins: false,
            endpoint: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            persistent_keepalive: 0,
            has_preshared_key: false,
            allowed_ips,
        }
    }
}

impl fmt::Debug for PeerPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerPart(…)")
    }
}

/// An interface's own settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Its secret, when one is set.
    pub private_key: Option<PrivateKey>,

    /// The public key of that secret, as the kernel computed it.
    pub public_key: Option<PublicKey>,

    /// UDP port it listens on; 0 while it was never up or given one.
    pub listen_port: u16,

    /// Mark on the packets it sends; 0 is none.
    pub fwmark: u32,
}

/// How far a look has got.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to read.
    More,

    /// That was all.
    Done {
        /// The interface's own settings.
        settings: Settings,

        /// Whether nobody changed the interface meanwhile, so that a peer which was not shown is not there.
        coherent: bool,
    },
}

/// Reads a look to its end; `None` when it was interrupted. `next` hands the next parts to its argument.
pub fn whole<E>(
    mut next: impl FnMut(&mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, E>,
) -> Result<Option<ObservedDevice>, E> {
    let mut peers = Vec::new();
    loop {
        let progress = next(&mut |part| add(&mut peers, part))?;
        if let Progress::Done { settings, coherent } = progress {
            return Ok(coherent.then_some(ObservedDevice { settings, peers }));
        }
    }
}

fn add(peers: &mut Vec<ObservedPeer>, part: PeerPart<'_>) {
    let prefixes = part.allowed_ips.iter().copied();
    if part.begins {
        peers.push(ObservedPeer {
            public_key: *part.public_key,
            endpoint: part.endpoint,
            last_handshake: part.last_handshake,
            rx_bytes: part.rx_bytes,
            tx_bytes: part.tx_bytes,
            allowed_ips: prefixes.collect::<AllowedIps>(),
            persistent_keepalive: part.persistent_keepalive,
            has_preshared_key: part.has_preshared_key,
        });
    } else if let Some(begun) = peers.last_mut() {
        debug_assert!(begun.public_key == *part.public_key, "a part of another peer");
        begun.allowed_ips.extend(prefixes);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// A look of two datagrams in which the second peer spans both.
    fn look(coherent: bool) -> Option<ObservedDevice> {
        let mut datagram = 0;
        let (one, two) = (key(1), key(2));
        whole(|each| {
            datagram += 1;
            if datagram == 1 {
                let part = PeerPart {
                    begins: true,
                    rx_bytes: 7,
                    ..PeerPart::more(&one, &[])
                };
                each(part);
                each(PeerPart {
                    public_key: &two,
                    allowed_ips: &[net("10.0.0.2/32")],
                    ..part
                });
                return Ok::<_, Infallible>(Progress::More);
            }
            each(PeerPart::more(&two, &[net("10.0.0.4/32"), net("10.0.0.3/32")]));
            let settings = Settings {
                listen_port: 51_820,
                ..Settings::default()
            };
            Ok(Progress::Done { settings, coherent })
        })
        .unwrap()
    }

    #[test]
    fn a_peer_in_several_parts_is_one_peer() {
        let device = look(true).unwrap();
        assert_eq!(device.settings.listen_port, 51_820);
        assert_eq!(device.peers.len(), 2);
        assert_eq!(device.peers[1].allowed_ips.len(), 3);
        assert_eq!(device.peers[1].rx_bytes, 7);
    }

    #[test]
    fn an_interrupted_look_makes_no_device() {
        assert_eq!(look(false), None);
    }

    #[test]
    fn a_part_does_not_print() {
        assert_eq!(format!("{:?}", PeerPart::more(&key(1), &[])), "PeerPart(…)");
    }
}
