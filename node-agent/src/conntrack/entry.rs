//! One entry of the table, from bytes. Pure.
//!
//! Any bytes give an entry, none, or a [`DecodeError`]; nothing panics, and no error repeats what was in the bytes. An
//! entry says who talked to whom: none of these types prints, and addresses stay where they were read, so that whoever
//! wipes that leaves no copy of them.

use std::collections::HashSet;
use std::net::IpAddr;

use culvert_wireguard::netlink::abi::{AF_INET, AF_INET6};
use culvert_wireguard::netlink::decode::{Attribute, Attributes, DecodeError};

use super::abi::{
    CT_NEW, CTA_ID, CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY,
    CTA_ZONE, IPPROTO_UDP, NFGENMSG,
};

/// The longest tuple that is believed, in bytes; the kernel's have 88 at most.
pub const LONGEST_TUPLE: usize = 256;

/// Addresses to look for.
#[derive(Default)]
pub struct Addresses {
    v4: HashSet<[u8; 4], foldhash::fast::RandomState>,
    v6: HashSet<[u8; 16], foldhash::fast::RandomState>,
}

/// An entry, as far as it is needed to know whose it is and to name it again.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,

    /// Packets in the direction of the first.
    pub original: Tuple<'a>,

    /// Answers to them.
    pub reply: Tuple<'a>,

    /// The bytes of the original tuple: what the kernel finds an entry by.
    pub tuple: &'a [u8],

    /// Those of its zone, where it is in one.
    pub zone: Option<&'a [u8; 2]>,

    /// Those of its number.
    pub id: &'a [u8; 4],
}

/// What the packets of one direction have in common.
#[derive(Clone, Copy)]
pub struct Tuple<'a> {
    /// Where they come from: 4 or 16 bytes.
    pub source: &'a [u8],

    /// Where they go to.
    pub destination: &'a [u8],

    /// The protocol's number.
    pub protocol: u8,

    /// Source and destination port; 0 where the protocol has none.
    pub ports: [u16; 2],
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut all = Self::default();
        for address in addresses {
            match address {
                IpAddr::V4(address) => all.v4.insert(address.octets()),
                IpAddr::V6(address) => all.v6.insert(address.octets()),
            };
        }
        all
    }
}

impl Addresses {
    fn contains(&self, address: &[u8]) -> bool {
        match address.len() {
            4 => self.v4.contains(address),
            _ => self.v6.contains(address),
        }
    }
}

impl Entry<'_> {
    /// Whether one of these addresses is in it.
    pub fn is_of(&self, addresses: &Addresses) -> bool {
        let has =
            |tuple: &Tuple<'_>| addresses.contains(tuple.source) || addresses.contains(tuple.destination);
        has(&self.original) || has(&self.reply)
    }

    /// Whether its packets go to one of these UDP ports of the node, or come from there.
    ///
    /// What others send there is told by where answers come from: a balancer in between has changed where it went to.
    pub fn is_outer(&self, ports: &HashSet<u16>, local: &Addresses) -> bool {
        let is_from_there = |tuple: &Tuple<'_>| {
            tuple.protocol == IPPROTO_UDP && ports.contains(&tuple.ports[0]) && local.contains(tuple.source)
        };
        is_from_there(&self.original) || is_from_there(&self.reply)
    }
}

/// Reads an answer of a dump; `None` for an entry that is neither IPv4's nor IPv6's.
pub fn read(kind: u16, payload: &[u8]) -> Result<Option<Entry<'_>>, DecodeError> {
    if kind != CT_NEW {
        return Err(DecodeError::Command);
    }
    let ([family, ..], attributes) = payload
        .split_first_chunk::<NFGENMSG>()
        .ok_or(DecodeError::Message)?;
    if ![AF_INET, AF_INET6].contains(&u16::from(*family)) {
        return Ok(None);
    }
    let (mut original, mut reply, mut zone, mut id) = (None, None, None, None);
    for attribute in Attributes::new(attributes) {
        let attribute = attribute?;
        match attribute.kind() {
            CTA_TUPLE_ORIG => original = Some((tuple(&attribute)?, attribute.value())),
            CTA_TUPLE_REPLY => reply = Some(tuple(&attribute)?),
            CTA_ZONE => zone = Some(attribute.bytes()?),
            CTA_ID => id = Some(attribute.bytes()?),
            _ => {}
        }
    }
    let (original, tuple) = original.ok_or(DecodeError::Missing { kind: CTA_TUPLE_ORIG })?;
    Ok(Some(Entry {
        family: *family,
        original,
        reply: reply.ok_or(DecodeError::Missing {
            kind: CTA_TUPLE_REPLY,
        })?,
        tuple,
        zone,
        id: id.ok_or(DecodeError::Missing { kind: CTA_ID })?,
    }))
}

fn tuple<'a>(nest: &Attribute<'a>) -> Result<Tuple<'a>, DecodeError> {
    if nest.value().len() > LONGEST_TUPLE {
        return Err(nest.invalid());
    }
    let (mut source, mut destination, mut protocol, mut ports) = (None, None, None, [0; 2]);
    for attribute in nest.nested() {
        let attribute = attribute?;
        match attribute.kind() {
            CTA_TUPLE_IP => {
                for address in attribute.nested() {
                    let address = address?;
                    match address.kind() {
                        CTA_IP_V4_SRC => source = Some(address.bytes::<4>()?.as_slice()),
                        CTA_IP_V4_DST => destination = Some(address.bytes::<4>()?.as_slice()),
                        CTA_IP_V6_SRC => source = Some(address.bytes::<16>()?.as_slice()),
                        CTA_IP_V6_DST => destination = Some(address.bytes::<16>()?.as_slice()),
                        _ => {}
                    }
                }
            }
            CTA_TUPLE_PROTO => {
                for part in attribute.nested() {
                    let part = part?;
                    match part.kind() {
                        CTA_PROTO_NUM => protocol = Some(part.bytes::<1>()?[0]),
                        CTA_PROTO_SRC_PORT => ports[0] = u16::from_be_bytes(*part.bytes()?),
                        CTA_PROTO_DST_PORT => ports[1] = u16::from_be_bytes(*part.bytes()?),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let missing = |kind| DecodeError::Missing { kind };
    Ok(Tuple {
        source: source.ok_or_else(|| missing(CTA_TUPLE_IP))?,
        destination: destination.ok_or_else(|| missing(CTA_TUPLE_IP))?,
        protocol: protocol.ok_or_else(|| missing(CTA_TUPLE_PROTO))?,
        ports,
    })
}
