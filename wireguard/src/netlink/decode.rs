//! Answers of WireGuard's netlink family, from bytes to parts. Pure.
//!
//! Any bytes give a value or a [`DecodeError`]; nothing panics, and no error repeats what was in the bytes. A
//! value that is missing, short or out of range is an error, never a default: a peer decoded wrongly would be
//! forgotten or removed wrongly. Attributes that we do not know are skipped, as netlink asks.
//!
//! A dump comes as several messages, and a peer may go on in the next one: [`device`] reads one message, and `look`
//! keeps what belongs together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use ipnet::IpNet;
use subtle::ConstantTimeEq as _;

use super::abi::{
    AF_INET, AF_INET6, CTRL_ATTR_FAMILY_ID, GENL_HEADER, NLA_HEADER, NLA_TYPE_MASK, SOCKADDR_IN,
    SOCKADDR_IN6, WG_CMD_GET_DEVICE, WGALLOWEDIP_A_CIDR_MASK, WGALLOWEDIP_A_FAMILY, WGALLOWEDIP_A_IPADDR,
    WGDEVICE_A_FWMARK, WGDEVICE_A_IFINDEX, WGDEVICE_A_LISTEN_PORT, WGDEVICE_A_PEERS, WGDEVICE_A_PRIVATE_KEY,
    WGDEVICE_A_PUBLIC_KEY, WGPEER_A_ALLOWEDIPS, WGPEER_A_ENDPOINT, WGPEER_A_LAST_HANDSHAKE_TIME,
    WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, WGPEER_A_PRESHARED_KEY, WGPEER_A_PUBLIC_KEY, WGPEER_A_RX_BYTES,
    WGPEER_A_TX_BYTES, aligned,
};
use crate::key::KEY_BYTES;
use crate::{Endpoint, PeerPart, PrivateKey, PublicKey, WallTime};

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A message is shorter than it states, or than its header.
    #[error("a message is cut short")]
    Message,

    /// An attribute is longer than what holds it, or shorter than its header.
    #[error("an attribute does not fit into its message")]
    Attribute,

    /// An attribute's value has the wrong length or is out of range.
    #[error("the value of attribute {kind} is not valid")]
    Value {
        /// The attribute's number, inside what holds it.
        kind: u16,
    },

    /// An attribute that must be there is not.
    #[error("attribute {kind} is missing")]
    Missing {
        /// The attribute's number, inside what should hold it.
        kind: u16,
    },

    /// The message answers another command.
    #[error("the answer is to another command")]
    Command,

    /// A peer goes on that was not begun.
    #[error("a peer continues that did not begin")]
    Orphan,

    /// The answer is about another interface, or about two.
    #[error("the answer is about another interface")]
    Interface,
}

/// One attribute: its number and its bytes.
#[derive(Clone, Copy)]
pub struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
}

/// The attributes in a run of bytes, in order; one error and then the end where they do not add up.
#[derive(Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes in these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self) -> Option<Attribute<'a>> {
        let [l0, l1, k0, k1] = *self.0.first_chunk::<NLA_HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(NLA_HEADER..length)?;
        // The last attribute's padding may be missing.
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(Attribute {
            kind: u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK,
            value,
        })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let attribute = self.take().ok_or(DecodeError::Attribute);
        if attribute.is_err() {
            self.0 = &[];
        }
        Some(attribute)
    }
}

impl<'a> Attribute<'a> {
    /// The attribute's number, without the bits for nesting and byte order.
    pub const fn kind(&self) -> u16 {
        self.kind
    }

    /// The attributes inside this one.
    pub const fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }

    /// The bytes inside this one.
    pub const fn value(&self) -> &'a [u8] {
        self.value
    }

    /// What an attribute is whose value is not valid.
    pub const fn invalid(&self) -> DecodeError {
        DecodeError::Value { kind: self.kind }
    }

    /// The value, if it has this length.
    pub fn bytes<const N: usize>(&self) -> Result<&'a [u8; N], DecodeError> {
        self.value.try_into().map_err(|_| self.invalid())
    }

    fn u8(&self) -> Result<u8, DecodeError> {
        self.bytes().map(|[byte]| *byte)
    }

    fn u16(&self) -> Result<u16, DecodeError> {
        self.bytes().map(|bytes| u16::from_ne_bytes(*bytes))
    }

    fn u32(&self) -> Result<u32, DecodeError> {
        self.bytes().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    fn u64(&self) -> Result<u64, DecodeError> {
        self.bytes().map(|bytes| u64::from_ne_bytes(*bytes))
    }

    fn public_key(&self) -> Result<PublicKey, DecodeError> {
        self.bytes().map(|bytes| PublicKey::from_bytes(*bytes))
    }

    fn handshake(&self) -> Result<Option<WallTime>, DecodeError> {
        let [seconds @ .., _, _, _, _, _, _, _, _] = self.bytes::<16>()?;
        let [_, _, _, _, _, _, _, _, nanoseconds @ ..] = self.bytes::<16>()?;
        let seconds = i64::from_ne_bytes(*seconds);
        let nanoseconds = u32::try_from(i64::from_ne_bytes(*nanoseconds))
            .ok()
            .filter(|nanoseconds| *nanoseconds < 1_000_000_000)
            .ok_or_else(|| self.invalid())?;
        Ok((seconds != 0 || nanoseconds != 0).then_some(WallTime { seconds, nanoseconds }))
    }

    fn endpoint(&self) -> Result<Endpoint, DecodeError> {
        let address: SocketAddr = match self.value.len() {
            SOCKADDR_IN => {
                let [f0, f1, p0, p1, a, b, c, d, ..] = *self.bytes::<SOCKADDR_IN>()?;
                if u16::from_ne_bytes([f0, f1]) != AF_INET {
                    return Err(self.invalid());
                }
                SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p0, p1])).into()
            }
            SOCKADDR_IN6 => {
                let [f0, f1, p0, p1, l0, l1, l2, l3, rest @ ..] = *self.bytes::<SOCKADDR_IN6>()?;
                let [address @ .., s0, s1, s2, s3] = rest;
                if u16::from_ne_bytes([f0, f1]) != AF_INET6 {
                    return Err(self.invalid());
                }
                let port = u16::from_be_bytes([p0, p1]);
                let (flow, scope) = (
                    u32::from_be_bytes([l0, l1, l2, l3]),
                    u32::from_ne_bytes([s0, s1, s2, s3]),
                );
                SocketAddrV6::new(Ipv6Addr::from(address), port, flow, scope).into()
            }
            _ => return Err(self.invalid()),
        };
        Ok(Endpoint::new(address))
    }
}

/// What one message of a dump says of the interface itself; attributes that it does not carry are none.
#[derive(Default)]
pub struct Part {
    /// The interface's number.
    pub ifindex: Option<u32>,
    /// The interface's secret.
    pub private_key: Option<PrivateKey>,
    /// The interface's public key.
    pub public_key: Option<PublicKey>,
    /// The interface's UDP port.
    pub listen_port: Option<u16>,
    /// The interface's mark.
    pub fwmark: Option<u32>,
}

/// What takes in the peers of a message, one part after the other, until it finds one wrong.
pub type Each<'a> = dyn FnMut(PeerPart<'_>) -> Result<(), DecodeError> + 'a;

/// Decodes the payload of one message of a dump: generic header and attributes. Peers that begin or go on in it are
/// handed to `each`; `prefixes` is room for theirs, of which nothing is kept.
pub fn device(payload: &[u8], prefixes: &mut Vec<IpNet>, each: &mut Each<'_>) -> Result<Part, DecodeError> {
    let ([command, ..], attributes) = payload
        .split_first_chunk::<GENL_HEADER>()
        .ok_or(DecodeError::Message)?;
    if *command != WG_CMD_GET_DEVICE {
        return Err(DecodeError::Command);
    }
    let mut part = Part::default();
    for attribute in Attributes::new(attributes) {
        let attribute = attribute?;
        match attribute.kind {
            WGDEVICE_A_IFINDEX => part.ifindex = Some(attribute.u32()?),
            WGDEVICE_A_PRIVATE_KEY => {
                part.private_key = Some(PrivateKey::from_bytes(attribute.bytes()?));
            }
            WGDEVICE_A_PUBLIC_KEY => part.public_key = Some(attribute.public_key()?),
            WGDEVICE_A_LISTEN_PORT => part.listen_port = Some(attribute.u16()?),
            WGDEVICE_A_FWMARK => part.fwmark = Some(attribute.u32()?),
            WGDEVICE_A_PEERS => {
                for nested in attribute.nested() {
                    peer(nested?.nested(), prefixes, each)?;
                }
            }
            _ => {}
        }
    }
    Ok(part)
}

/// Decodes the payload of the answer to a request for a family's number.
pub fn family(payload: &[u8]) -> Result<u16, DecodeError> {
    let (_, attributes) = payload
        .split_first_chunk::<GENL_HEADER>()
        .ok_or(DecodeError::Message)?;
    for attribute in Attributes::new(attributes) {
        let attribute = attribute?;
        if attribute.kind == CTRL_ATTR_FAMILY_ID {
            return attribute.u16();
        }
    }
    Err(DecodeError::Missing {
        kind: CTRL_ATTR_FAMILY_ID,
    })
}

fn peer(
    attributes: Attributes<'_>,
    prefixes: &mut Vec<IpNet>,
    each: &mut Each<'_>,
) -> Result<(), DecodeError> {
    let mut public_key = None;
    // The kernel writes the handshake of every peer that begins, and of none that goes on.
    let mut handshake = None;
    prefixes.clear();
    let nobody = PublicKey::from_bytes([0; KEY_BYTES]);
    let mut peer = PeerPart::more(&nobody, &[]);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            WGPEER_A_PUBLIC_KEY => public_key = Some(attribute.public_key()?),
            WGPEER_A_PRESHARED_KEY => {
                let key: &[u8; KEY_BYTES] = attribute.bytes()?;
                peer.has_preshared_key = !bool::from(key.ct_eq(&[0; KEY_BYTES]));
            }
            WGPEER_A_ENDPOINT => peer.endpoint = Some(attribute.endpoint()?),
            WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL => peer.persistent_keepalive = attribute.u16()?,
            WGPEER_A_LAST_HANDSHAKE_TIME => handshake = Some(attribute.handshake()?),
            WGPEER_A_RX_BYTES => peer.rx_bytes = attribute.u64()?,
            WGPEER_A_TX_BYTES => peer.tx_bytes = attribute.u64()?,
            WGPEER_A_ALLOWEDIPS => {
                for nested in attribute.nested() {
                    prefixes.push(allowed_ip(nested?.nested())?);
                }
            }
            _ => {}
        }
    }
    let public_key = public_key.ok_or(DecodeError::Missing {
        kind: WGPEER_A_PUBLIC_KEY,
    })?;
    each(PeerPart {
        public_key: &public_key,
        begins: handshake.is_some(),
        last_handshake: handshake.flatten(),
        allowed_ips: prefixes,
        ..peer
    })
}

fn allowed_ip(attributes: Attributes<'_>) -> Result<IpNet, DecodeError> {
    let (mut family, mut address, mut length) = (None, None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            WGALLOWEDIP_A_FAMILY => family = Some(attribute.u16()?),
            WGALLOWEDIP_A_IPADDR => address = Some(attribute),
            WGALLOWEDIP_A_CIDR_MASK => length = Some(attribute.u8()?),
            _ => {}
        }
    }
    let family = family.ok_or(DecodeError::Missing {
        kind: WGALLOWEDIP_A_FAMILY,
    })?;
    let address = address.ok_or(DecodeError::Missing {
        kind: WGALLOWEDIP_A_IPADDR,
    })?;
    let length = length.ok_or(DecodeError::Missing {
        kind: WGALLOWEDIP_A_CIDR_MASK,
    })?;
    let ip = match family {
        AF_INET => IpAddr::from(*address.bytes::<4>()?),
        AF_INET6 => IpAddr::from(*address.bytes::<16>()?),
        _ => {
            return Err(DecodeError::Value {
                kind: WGALLOWEDIP_A_FAMILY,
            });
        }
    };
    IpNet::new(ip, length).map_err(|_| DecodeError::Value {
        kind: WGALLOWEDIP_A_CIDR_MASK,
    })
}

#[cfg(test)]
mod tests;
