//! Numbers of `linux/netfilter/nfnetlink.h` and `nfnetlink_conntrack.h`: the kernel's promise to user space.

/// Netlink's protocol number of netfilter.
pub const NETLINK_NETFILTER: isize = 12;

/// Error number: there is no such entry.
pub const ENOENT: i32 = 2;

/// Message types: the subsystem in the upper byte, what it is about in the lower.
const SUBSYSTEM: u16 = 1 << 8;
/// An entry, as a dump shows it.
pub const CT_NEW: u16 = SUBSYSTEM;
/// A request to read.
pub const CT_GET: u16 = SUBSYSTEM | 1;
/// A request to delete. Without a tuple the kernel takes it to mean every entry there is.
pub const CT_DELETE: u16 = SUBSYSTEM | 2;

/// Bytes of a message's own header (`nfgenmsg`): family, version, resource.
pub const NFGENMSG: usize = 4;

/// Entry: the tuple of packets in the direction of the first, a nest.
pub const CTA_TUPLE_ORIG: u16 = 1;
/// Entry: that of the answers.
pub const CTA_TUPLE_REPLY: u16 = 2;
/// Entry: a number that a later entry of the same tuple has not.
pub const CTA_ID: u16 = 12;
/// Entry: the zone, if it is the same in both directions. Otherwise it is in the tuples.
pub const CTA_ZONE: u16 = 18;

/// Tuple: addresses, a nest.
pub const CTA_TUPLE_IP: u16 = 1;
/// Tuple: protocol and what it tells flows apart by, a nest.
pub const CTA_TUPLE_PROTO: u16 = 2;

/// Addresses: IPv4 source.
pub const CTA_IP_V4_SRC: u16 = 1;
/// Addresses: IPv4 destination.
pub const CTA_IP_V4_DST: u16 = 2;
/// Addresses: IPv6 source.
pub const CTA_IP_V6_SRC: u16 = 3;
/// Addresses: IPv6 destination.
pub const CTA_IP_V6_DST: u16 = 4;

/// Protocol: its number, u8.
pub const CTA_PROTO_NUM: u16 = 1;
/// Protocol: source port, in network order.
pub const CTA_PROTO_SRC_PORT: u16 = 2;
/// Protocol: destination port, in network order.
pub const CTA_PROTO_DST_PORT: u16 = 3;

/// The number of UDP.
pub const IPPROTO_UDP: u8 = 17;
