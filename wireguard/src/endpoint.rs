//! Endpoints: the outer address a peer was last heard from, the thing Culvert exists to forget.
//!
//! The type has no `Display`, and its `Debug` says nothing, so an endpoint reaches a log or an error only through
//! an explicit [`Endpoint::socket_addr`].

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

/// The outer address and UDP port of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint(SocketAddr);

impl Endpoint {
    /// What an endpoint is overwritten with: `[::]:0`. The kernel cannot unset one.
    pub const FORGOTTEN: Self = Self(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0)));

    /// The endpoint with this address and port.
    pub const fn new(address: SocketAddr) -> Self {
        Self(address)
    }

    /// The address and port. Where this goes, the client's location goes.
    pub const fn socket_addr(&self) -> SocketAddr {
        self.0
    }

    /// Whether this locates nobody: an unspecified address of either family with port 0.
    pub const fn is_forgotten(&self) -> bool {
        self.0.ip().is_unspecified() && self.0.port() == 0
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::new(text.parse().unwrap())
    }

    #[test]
    fn only_an_unspecified_address_with_port_zero_is_forgotten() {
        assert!(Endpoint::FORGOTTEN.is_forgotten());
        assert!(endpoint("[::]:0").is_forgotten());
        assert!(endpoint("0.0.0.0:0").is_forgotten());
        assert!(!endpoint("[::]:1").is_forgotten());
        assert!(!endpoint("192.0.2.1:0").is_forgotten());
        assert!(!endpoint("[2001:db8::1]:51820").is_forgotten());
    }

    #[test]
    fn an_endpoint_does_not_print() {
        assert_eq!(
            format!("{:?}", Some(endpoint("192.0.2.1:51820"))),
            "Some(Endpoint(…))"
        );
    }
}
