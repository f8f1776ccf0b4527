//! What must not be found: canaries, in every shape in which somebody could have written one down.
//!
//! A search that looks for too little finds nothing, so a shape is one byte string as it would stand in a file, with the
//! least around it that tells it from chance ([`shapes`]). What is written where it may be is no leak: a canary has a
//! [`Class`], and whoever searches a place brings those that must not be there.

mod find;
mod shapes;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;

pub use find::Search;
use shapes::Shape;

/// What a canary tells, and so where it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Where a client is, or when it was there: an outer address, a port, the time of a handshake.
    Whereabouts,

    /// A client's private key.
    ClientKey,

    /// A gateway's private key.
    GatewayKey,

    /// A client's public key or tunnel address.
    Claim,

    /// What an apiserver said to a program whose request it refused. Its text may repeat names.
    Answer,
}

/// Something that must not be found.
#[derive(Clone, Debug)]
pub struct Canary {
    name: String,
    class: Class,
    shapes: Vec<Shape>,
}

impl Canary {
    /// Where a client is.
    pub fn outer(name: &str, address: SocketAddr) -> Self {
        let mut shapes = shapes::address(address.ip());
        shapes.extend(shapes::socket_address(address));
        Self::new(name, Class::Whereabouts, shapes)
    }

    /// The port that clients send from, wherever it stands beside an address.
    pub fn port(name: &str, port: u16) -> Self {
        Self::new(name, Class::Whereabouts, shapes::port(port))
    }

    /// The time of a handshake, in seconds since the epoch.
    pub fn handshake(name: &str, seconds: u64) -> Result<Self> {
        Ok(Self::new(name, Class::Whereabouts, shapes::moment(seconds)?))
    }

    /// The same without its date, for places where each line has one.
    #[must_use]
    pub fn dateless(&self) -> Self {
        let mut other = self.clone();
        other.shapes.retain(|shape| shape.name != shapes::DATE);
        other
    }

    /// A client's address in the tunnel.
    pub fn tunnel(name: &str, address: IpAddr) -> Self {
        Self::new(name, Class::Claim, shapes::address(address))
    }

    /// A client's public key, base64.
    pub fn public_key(name: &str, base64: &str) -> Result<Self> {
        Ok(Self::new(name, Class::Claim, shapes::key(base64)?))
    }

    /// A client's private key, base64.
    pub fn private_key(name: &str, base64: &str) -> Result<Self> {
        Ok(Self::new(name, Class::ClientKey, shapes::key(base64)?))
    }

    /// A gateway's private key, base64.
    pub fn gateway_key(name: &str, base64: &str) -> Result<Self> {
        Ok(Self::new(name, Class::GatewayKey, shapes::key(base64)?))
    }

    /// A text of the apiserver's.
    pub fn answer(name: &str, text: &str) -> Self {
        Self::new(name, Class::Answer, vec![shapes::text(text)])
    }

    fn new(name: &str, class: Class, shapes: Vec<Shape>) -> Self {
        Self {
            name: name.to_owned(),
            class,
            shapes,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it tells.
    pub fn class(&self) -> Class {
        self.class
    }

    /// In how many shapes it is looked for.
    pub fn shapes(&self) -> usize {
        self.shapes.len()
    }
}

/// What was found, as `name (shape)`.
pub fn search(bytes: &[u8], canaries: &[Canary]) -> Vec<String> {
    Search::of(canaries).all(bytes)
}

/// The names of the canaries in what was found.
pub fn names(found: &[String]) -> BTreeSet<&str> {
    found
        .iter()
        .filter_map(|found| Some(found.rsplit_once(" (")?.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_named() {
        let canaries = [
            Canary::answer("an answer", "echo"),
            Canary::port("the port", 47077),
        ];
        let found = search(b"Echo, and [2001:db8::1]:47077", &canaries);
        assert_eq!(found, ["an answer (text)", "the port (after an address)"]);
        assert_eq!(names(&found), BTreeSet::from(["an answer", "the port"]));
    }
}
