//! Peers and interfaces: what is wanted, and what the kernel answered.
//!
//! Desired and observed are different types on purpose: an observed peer carries where a client is and when it
//! spoke, and nothing of that may travel into a plan, a log or the API. Observed types therefore print nothing
//! of their content. An [`ObservedDevice`] exists only for a whole dump, so a peer that is not in it is not on the
//! interface.

use std::fmt;

use crate::{AllowedIps, Endpoint, PublicKey, Settings};

/// A peer as it should be on an interface. Keepalive is always 0 and there is no preshared key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DesiredPeer {
    /// The peer's identity.
    pub public_key: PublicKey,

    /// Exactly the prefixes it may use.
    pub allowed_ips: AllowedIps,
}

/// A point of wall-clock time as the kernel recorded it; the clock may have been stepped since.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime {
    /// Whole seconds since 1970-01-01 00:00 UTC.
    pub seconds: i64,

    /// Nanoseconds after that, below 10^9.
    pub nanoseconds: u32,
}

impl fmt::Debug for WallTime {
    // Handshake times are the only ones here, and those say when somebody was active.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallTime(…)")
    }
}

/// A peer as a dump showed it.
#[derive(Clone, PartialEq, Eq)]
pub struct ObservedPeer {
    /// The peer's identity.
    pub public_key: PublicKey,

    /// Where it was last heard from, or what that was overwritten with; none when it was never known.
    pub endpoint: Option<Endpoint>,

    /// The last completed handshake; none when there was none since the peer was made.
    pub last_handshake: Option<WallTime>,

    /// Bytes received from the peer since it was made.
    pub rx_bytes: u64,

    /// Bytes sent to the peer since it was made.
    pub tx_bytes: u64,

    /// All its prefixes.
    pub allowed_ips: AllowedIps,

    /// Seconds between keepalives that we send; 0 is off.
    pub persistent_keepalive: u16,

    /// Whether a preshared key is set; its value is not kept.
    pub has_preshared_key: bool,
}

impl ObservedPeer {
    /// Whether the kernel's configuration of this peer is the desired one: key, prefixes, keepalive off, no
    /// preshared key.
    pub fn matches(&self, desired: &DesiredPeer) -> bool {
        self.public_key == desired.public_key
            && self.allowed_ips == desired.allowed_ips
            && self.persistent_keepalive == 0
            && !self.has_preshared_key
    }
}

impl fmt::Debug for ObservedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObservedPeer(…)")
    }
}

/// An interface with all its peers, from one whole dump.
#[derive(PartialEq, Eq)]
pub struct ObservedDevice {
    /// The interface's own settings.
    pub settings: Settings,

    /// Every peer, each once, in the kernel's order.
    pub peers: Vec<ObservedPeer>,
}

impl fmt::Debug for ObservedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedDevice")
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;

    fn desired() -> DesiredPeer {
        DesiredPeer {
            public_key: PublicKey::from_bytes([7; 32]),
            allowed_ips: AllowedIps::hosts(["10.64.0.9".parse().unwrap()]),
        }
    }

    fn observed() -> ObservedPeer {
        ObservedPeer {
            public_key: desired().public_key,
            endpoint: Some(Endpoint::new("192.0.2.1:51820".parse().unwrap())),
            last_handshake: Some(WallTime {
                seconds: 1_700_000_000,
                nanoseconds: 5,
            }),
            rx_bytes: 4_711,
            tx_bytes: 4_712,
            allowed_ips: desired().allowed_ips,
            persistent_keepalive: 0,
            has_preshared_key: false,
        }
    }

    #[test]
    fn activity_does_not_make_a_peer_differ_from_the_desired_one() {
        assert!(observed().matches(&desired()));
    }

    #[test]
    fn configuration_does() {
        assert!(
            !ObservedPeer {
                persistent_keepalive: 25,
                ..observed()
            }
            .matches(&desired())
        );
        assert!(
            !ObservedPeer {
                has_preshared_key: true,
                ..observed()
            }
            .matches(&desired())
        );
        assert!(
            !ObservedPeer {
                allowed_ips: AllowedIps::new(),
                ..observed()
            }
            .matches(&desired())
        );
    }

    #[test]
    fn an_observed_peer_is_small() {
        // A dump of 100,000 peers is 15 MB.
        assert!(size_of::<ObservedPeer>() <= 152);
    }

    #[test]
    fn what_was_observed_does_not_print() {
        let device = ObservedDevice {
            settings: Settings {
                private_key: Some(PrivateKey::from_bytes(&[9; 32])),
                ..Settings::default()
            },
            peers: vec![observed()],
        };
        assert_eq!(format!("{device:?}"), "ObservedDevice { peers: 1, .. }");
        assert_eq!(format!("{:?}", observed()), "ObservedPeer(…)");
        assert_eq!(format!("{:?}", observed().last_handshake), "Some(WallTime(…))");
    }
}
