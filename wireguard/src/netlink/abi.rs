//! Numbers of the kernel's headers: `linux/netlink.h`, `linux/genetlink.h`, `linux/wireguard.h`.
//!
//! They are part of the kernel's promise to user space and never change; one wrong number here is caught by the
//! golden bytes and by the tests that read our messages with another crate.

/// A netlink message's header: length, type, flags, sequence, port.
pub const NLMSG_HEADER: usize = 16;
/// A generic netlink message's own header, after that: command, version, reserved.
pub const GENL_HEADER: usize = 4;
/// An attribute's header: length, type.
pub const NLA_HEADER: usize = 4;
/// Messages and attributes start at multiples of this.
pub const ALIGN: usize = 4;

/// Message type: nothing.
pub const NLMSG_NOOP: u16 = 1;
/// Message type: an error number; 0 acknowledges.
pub const NLMSG_ERROR: u16 = 2;
/// Message type: the dump is over, with an error number.
pub const NLMSG_DONE: u16 = 3;
/// Message type: data was lost.
pub const NLMSG_OVERRUN: u16 = 4;

/// Flag: a request.
pub const NLM_F_REQUEST: u16 = 0x1;
/// Flag: acknowledge.
pub const NLM_F_ACK: u16 = 0x4;
/// Flag: what was dumped changed meanwhile.
pub const NLM_F_DUMP_INTR: u16 = 0x10;
/// Flag: everything, not one object.
pub const NLM_F_DUMP: u16 = 0x300;

/// Bits of an attribute's type that are its number; the others say nested and byte order.
pub const NLA_TYPE_MASK: u16 = 0x3fff;
/// The attribute holds attributes. The kernel refuses nests without it.
pub const NLA_F_NESTED: u16 = 0x8000;

/// The family that knows the other families.
pub const GENL_ID_CTRL: u16 = 0x10;
/// Its command to resolve a name.
pub const CTRL_CMD_GETFAMILY: u8 = 3;
/// Attribute: a family's number.
pub const CTRL_ATTR_FAMILY_ID: u16 = 1;
/// Attribute: a family's name.
pub const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Message type: read a table of nftables (its subsystem is 10, the message 1; `linux/netfilter/nf_tables.h`).
pub const NFT_MSG_GETTABLE: u16 = 10 << 8 | 1;
/// Attribute: a table's name.
pub const NFTA_TABLE_NAME: u16 = 1;
/// nftables' family of IPv4 and IPv6 together.
pub const NFPROTO_INET: u8 = 1;

/// WireGuard's family.
pub const WG_GENL_NAME: &str = "wireguard";
/// Its version.
pub const WG_GENL_VERSION: u8 = 1;
/// Command: read an interface.
pub const WG_CMD_GET_DEVICE: u8 = 0;
/// Command: change an interface.
pub const WG_CMD_SET_DEVICE: u8 = 1;

/// Interface attribute: its number, u32.
pub const WGDEVICE_A_IFINDEX: u16 = 1;
/// Interface attribute: its name, text with a final zero.
pub const WGDEVICE_A_IFNAME: u16 = 2;
/// Interface attribute: secret, 32 bytes.
pub const WGDEVICE_A_PRIVATE_KEY: u16 = 3;
/// Interface attribute: public key, 32 bytes.
pub const WGDEVICE_A_PUBLIC_KEY: u16 = 4;
/// Interface attribute: u32 of `WGDEVICE_F_*`.
pub const WGDEVICE_A_FLAGS: u16 = 5;
/// Interface attribute: UDP port, u16.
pub const WGDEVICE_A_LISTEN_PORT: u16 = 6;
/// Interface attribute: mark, u32.
pub const WGDEVICE_A_FWMARK: u16 = 7;
/// Interface attribute: nest of peers.
pub const WGDEVICE_A_PEERS: u16 = 8;
/// Interface flag: remove all peers first.
pub const WGDEVICE_F_REPLACE_PEERS: u32 = 1;

/// Peer attribute: public key, 32 bytes.
pub const WGPEER_A_PUBLIC_KEY: u16 = 1;
/// Peer attribute: preshared key, 32 bytes; all zero is none.
pub const WGPEER_A_PRESHARED_KEY: u16 = 2;
/// Peer attribute: u32 of `WGPEER_F_*`.
pub const WGPEER_A_FLAGS: u16 = 3;
/// Peer attribute: `sockaddr_in` or `sockaddr_in6`.
pub const WGPEER_A_ENDPOINT: u16 = 4;
/// Peer attribute: seconds, u16.
pub const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
/// Peer attribute: seconds and nanoseconds, two i64.
pub const WGPEER_A_LAST_HANDSHAKE_TIME: u16 = 6;
/// Peer attribute: u64.
pub const WGPEER_A_RX_BYTES: u16 = 7;
/// Peer attribute: u64.
pub const WGPEER_A_TX_BYTES: u16 = 8;
/// Peer attribute: nest of allowed IPs.
pub const WGPEER_A_ALLOWEDIPS: u16 = 9;
/// Peer flag: remove it.
pub const WGPEER_F_REMOVE_ME: u32 = 1;
/// Peer flag: drop its allowed IPs first.
pub const WGPEER_F_REPLACE_ALLOWEDIPS: u32 = 2;
/// Peer flag: do not create it.
pub const WGPEER_F_UPDATE_ONLY: u32 = 4;

/// Allowed IP attribute: `AF_INET` or `AF_INET6`, u16.
pub const WGALLOWEDIP_A_FAMILY: u16 = 1;
/// Allowed IP attribute: 4 or 16 bytes.
pub const WGALLOWEDIP_A_IPADDR: u16 = 2;
/// Allowed IP attribute: prefix length, u8.
pub const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;

/// Address family of IPv4.
pub const AF_INET: u16 = 2;
/// Address family of IPv6.
pub const AF_INET6: u16 = 10;
/// Bytes of a `sockaddr_in`.
pub const SOCKADDR_IN: usize = 16;
/// Bytes of a `sockaddr_in6`.
pub const SOCKADDR_IN6: usize = 28;

/// `length` rounded up to where the next message or attribute starts.
pub const fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}
