//! Writes attributes, padded and nested as the kernel wants them.
//!
//! An attribute's length is 16 bits: callers stay far below (whoever makes messages bounds them), and a nest that does
//! not fit is a bug that debug builds stop at.

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::abi::{
    AF_INET, AF_INET6, NLA_F_NESTED, NLA_HEADER, WGALLOWEDIP_A_CIDR_MASK, WGALLOWEDIP_A_FAMILY,
    WGALLOWEDIP_A_IPADDR, aligned,
};

/// A growing run of attributes, wiped when dropped.
pub struct Writer(Zeroizing<Vec<u8>>);

/// An open nest: where its header stands.
pub struct Nest(usize);

impl Writer {
    /// Room for `capacity` bytes; a secret is only ever written into room that is there already, because growing
    /// would leave a copy behind.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Bytes so far.
    pub fn written(&self) -> usize {
        self.0.len()
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// An attribute with this value.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let start = self.begin(kind);
        self.raw(value);
        self.end(start);
    }

    /// Opens an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16) -> Nest {
        self.begin(kind | NLA_F_NESTED)
    }

    /// Closes a nest or an attribute: states its length and pads it.
    #[expect(clippy::needless_pass_by_value, reason = "a nest is closed once")]
    pub fn end(&mut self, nest: Nest) {
        let length = self.0.len() - nest.0;
        debug_assert!(u16::try_from(length).is_ok(), "attribute of {length} bytes");
        let stated = u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes();
        self.0[nest.0..nest.0 + 2].copy_from_slice(&stated);
        let padded = aligned(self.0.len());
        self.0.resize(padded, 0);
    }

    fn begin(&mut self, kind: u16) -> Nest {
        let nest = Nest(self.0.len());
        self.raw(&[0, 0]);
        self.raw(&kind.to_ne_bytes());
        nest
    }

    /// One allowed IP, without a type of its own as in the kernel's answers.
    pub(super) fn allowed_ip(&mut self, prefix: &IpNet) {
        let nest = self.nest(0);
        match prefix {
            IpNet::V4(prefix) => {
                self.put(WGALLOWEDIP_A_FAMILY, &AF_INET.to_ne_bytes());
                self.put(WGALLOWEDIP_A_IPADDR, &prefix.addr().octets());
            }
            IpNet::V6(prefix) => {
                self.put(WGALLOWEDIP_A_FAMILY, &AF_INET6.to_ne_bytes());
                self.put(WGALLOWEDIP_A_IPADDR, &prefix.addr().octets());
            }
        }
        self.put(WGALLOWEDIP_A_CIDR_MASK, &[prefix.prefix_len()]);
        self.end(nest);
    }

    /// The bytes.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// Bytes of an attribute with `payload` bytes in it.
pub const fn attribute(payload: usize) -> usize {
    NLA_HEADER + aligned(payload)
}

/// Bytes that [`Writer::allowed_ip`] writes for this prefix.
pub(super) const fn allowed_ip_size(prefix: &IpNet) -> usize {
    let address = match prefix {
        IpNet::V4(_) => 4,
        IpNet::V6(_) => 16,
    };
    attribute(attribute(2) + attribute(address) + attribute(1))
}
