//! A gateway as a client's own interface has it: the one peer of ours that has an endpoint and a keepalive.
//!
//! [`PeerChange`](crate::PeerChange) can say neither, so that no plan of a gateway's puts a client's location back. Here it is
//! the other way round: the endpoint is the gateway's, which the API publishes.

use std::fmt;

use crate::{AllowedIps, Endpoint, PublicKey};

/// A gateway as it should be on a client's interface.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewayPeer {
    /// The gateway's identity.
    pub public_key: PublicKey,

    /// Where it listens.
    pub endpoint: Endpoint,

    /// What it may send, and is sent; nothing for one that is only to be met.
    pub allowed_ips: AllowedIps,

    /// Seconds between keepalives; 0 is off. Where it was off before and the interface is up, the first goes out at once, and
    /// with it a handshake where there is no session.
    pub keepalive: u16,
}

impl fmt::Debug for GatewayPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayPeer")
            .field("allowed_ips", &self.allowed_ips)
            .field("keepalive", &self.keepalive)
            .finish_non_exhaustive()
    }
}
