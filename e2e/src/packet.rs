//! Packets by the byte: what a client's kernel would never send, and what came of it read again.
//!
//! Nothing is checked on the way: a length or a sum that is wrong is sent as it is, when a test puts it there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Protocol numbers, as in an IPv4 header and in the chain of an IPv6 one.
pub mod protocol {
    /// ICMP of IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 in something.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in something.
    pub const IPV6: u8 = 41;
    /// A routing header of IPv6.
    pub const ROUTING: u8 = 43;
    /// A fragment header of IPv6.
    pub const FRAGMENT: u8 = 44;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
    /// ICMP of IPv6.
    pub const ICMPV6: u8 = 58;
    /// The end of a chain of IPv6.
    pub const NONE: u8 = 59;
    /// Destination options of IPv6.
    pub const DESTINATION: u8 = 60;
    /// Hop-by-hop options of IPv6.
    pub const HOP_BY_HOP: u8 = 0;
}

/// An IPv4 packet.
#[derive(Clone, Debug)]
pub struct V4 {
    /// Source address.
    pub from: Ipv4Addr,

    /// Destination address.
    pub to: Ipv4Addr,

    /// What the payload is.
    pub protocol: u8,

    /// Time to live.
    pub ttl: u8,

    /// Identification, which fragments of one packet share.
    pub id: u16,

    /// Offset in units of eight bytes.
    pub offset: u16,

    /// Whether another fragment follows.
    pub more: bool,

    /// Options, padded by whoever makes them.
    pub options: Vec<u8>,

    /// What follows the header.
    pub payload: Vec<u8>,
}

impl V4 {
    /// A plain one.
    pub fn new(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: Vec<u8>) -> Self {
        Self {
            from,
            to,
            protocol,
            ttl: 64,
            id: 0x4356,
            offset: 0,
            more: false,
            options: Vec::new(),
            payload,
        }
    }

    /// The bytes, with a right sum.
    pub fn bytes(&self) -> Vec<u8> {
        let words = 5 + self.options.len().div_ceil(4);
        let length = words * 4 + self.payload.len();
        let flags = u16::from(self.more) << 13 | self.offset;
        let mut header = vec![0x40 | low(words), 0];
        header.extend(short(length).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(flags.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.from.octets());
        header.extend(self.to.octets());
        header.extend(&self.options);
        header.resize(words * 4, 0);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(&self.payload);
        header
    }
}

/// An IPv6 packet.
#[derive(Clone, Debug)]
pub struct V6 {
    /// Source address.
    pub from: Ipv6Addr,

    /// Destination address.
    pub to: Ipv6Addr,

    /// What the payload begins with.
    pub next: u8,

    /// Hop limit.
    pub hops: u8,

    /// What follows the header.
    pub payload: Vec<u8>,
}

impl V6 {
    /// A plain one.
    pub fn new(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: Vec<u8>) -> Self {
        Self {
            from,
            to,
            next,
            hops: 64,
            payload,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(short(self.payload.len()).to_be_bytes());
        bytes.extend([self.next, self.hops]);
        bytes.extend(self.from.octets());
        bytes.extend(self.to.octets());
        bytes.extend(&self.payload);
        bytes
    }

    /// The same with a header more before what it carries; `body` is what follows the number of the next header.
    #[must_use]
    pub fn behind(mut self, kind: u8, body: &[u8]) -> Self {
        let mut payload = vec![self.next];
        payload.extend(body);
        payload.extend(&self.payload);
        self.next = kind;
        self.payload = payload;
        self
    }
}

/// A packet of one of the families that carries this; both addresses are of one family.
pub fn carrying(from: IpAddr, to: IpAddr, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => V4::new(from, to, protocol, payload).bytes(),
        (IpAddr::V6(from), IpAddr::V6(to)) => V6::new(from, to, protocol, payload).bytes(),
        _ => Vec::new(),
    }
}

/// A whole packet with a UDP datagram.
pub fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    carrying(from.ip(), to.ip(), protocol::UDP, udp(from, to, payload))
}

/// UDP header and payload.
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = short(8 + payload.len());
    let mut bytes = Vec::new();
    for field in [from.port(), to.port(), length, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(payload);
    summed(from.ip(), to.ip(), protocol::UDP, bytes, 6)
}

/// TCP header with these flags and an empty window, and payload.
pub fn tcp(from: SocketAddr, to: SocketAddr, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend([0, 0, 0x10, 0, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    summed(from.ip(), to.ip(), protocol::TCP, bytes, 16)
}

/// The largest segment that whoever opens a connection, or takes it, says it can receive, in bytes; `segment` is a TCP
/// header and what follows.
pub fn segment_size(segment: &[u8]) -> Option<u16> {
    const SYN: u8 = 2;
    let header = usize::from(segment.get(12)? >> 4) * 4;
    if segment.get(13)? & SYN == 0 {
        return None;
    }
    let mut options = segment.get(20..header)?;
    loop {
        match *options {
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
            // What only fills up has no length.
            [1, ..] => options = &options[1..],
            [0, ..] | [_] | [] => return None,
            [_, length, ..] => options = options.get(usize::from(length).max(2)..)?,
        }
    }
}

/// An ICMP message of IPv4; `body` begins after the sum.
pub fn icmp(kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(body);
    let sum = checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// An ICMP message of IPv6.
pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(body);
    summed(from.into(), to.into(), protocol::ICMPV6, bytes, 2)
}

/// An echo request that carries this. The sum of an IPv6 one is left to the kernel.
pub fn echo_request(v6: bool, token: &[u8]) -> Vec<u8> {
    // An identifier of its own makes it a flow of its own, also for whoever rewrites addresses.
    let identifier = token.last_chunk::<2>().copied().unwrap_or_default();
    let mut body = [identifier, [0, 1]].concat();
    body.extend(token);
    if v6 {
        let mut bytes = vec![128, 0, 0, 0];
        bytes.extend(body);
        return bytes;
    }
    icmp(8, 0, &body)
}

/// What an echo reply carries, as a raw socket gives one: of IPv4 with its header, of IPv6 without.
pub fn echo_reply(message: &[u8]) -> Option<&[u8]> {
    let message = match message.first()? {
        first if first >> 4 == 4 => message.get(usize::from(first & 15) * 4..)?,
        _ => message,
    };
    match message.first()? {
        0 | 129 => message.get(8..),
        _ => None,
    }
}

/// What a packet is, read as far as a test's message needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Source address.
    pub from: IpAddr,

    /// Destination address.
    pub to: IpAddr,

    /// The protocol, or the first header of a chain.
    pub protocol: u8,

    /// Time to live, or hop limit.
    pub hops: u8,

    /// What follows the first header.
    pub payload: Vec<u8>,
}

impl Read {
    /// Reads the first header.
    pub fn packet(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let header = usize::from(bytes[0] & 15) * 4;
                Some(Self {
                    from: Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(12..16)?).ok()?).into(),
                    to: Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(16..20)?).ok()?).into(),
                    protocol: *bytes.get(9)?,
                    hops: *bytes.get(8)?,
                    payload: bytes.get(header..)?.to_vec(),
                })
            }
            6 => Some(Self {
                from: Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).into(),
                to: Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(24..40)?).ok()?).into(),
                protocol: *bytes.get(6)?,
                hops: *bytes.get(7)?,
                payload: bytes.get(40..)?.to_vec(),
            }),
            _ => None,
        }
    }

    /// Whether it is what every link of a node says by itself: neighbours and routers of IPv6, which no router passes on,
    /// and reports of groups in both families.
    pub fn is_housekeeping(&self) -> bool {
        match self.protocol {
            2 => self.to.is_multicast(),
            protocol::ICMPV6 => self.hops == 255 && matches!(self.payload.first(), Some(133..=136)),
            // Reports of groups come behind a router alert.
            protocol::HOP_BY_HOP => {
                self.to.is_multicast() && matches!(self.payload.get(8), Some(130..=132 | 143))
            }
            _ => false,
        }
    }
}

/// Puts in the sum over a pseudo-header and these bytes, at this place, where there are zeros.
fn summed(from: IpAddr, to: IpAddr, protocol: u8, mut bytes: Vec<u8>, place: usize) -> Vec<u8> {
    let mut all = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => all.extend([from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => all.extend([from.octets(), to.octets()].concat()),
        _ => {}
    }
    all.extend([0, protocol]);
    all.extend(short(bytes.len()).to_be_bytes());
    all.extend(&bytes);
    let sum = match checksum(&all) {
        // Zero would say that there is none.
        0 if protocol == protocol::UDP => 0xffff,
        sum => sum,
    };
    bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum += u32::from(word);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !short(usize::try_from(sum).unwrap_or_default())
}

/// The low 16 bits of a length; a longer one is the test's own fault.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn low(words: usize) -> u8 {
    u8::try_from(words & 15).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_sum_of_the_standards_example() {
        // The example of many a textbook: 4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7.
        let mut packet = V4::new(
            Ipv4Addr::new(192, 168, 0, 1),
            Ipv4Addr::new(192, 168, 0, 199),
            protocol::UDP,
            vec![0; 0x73 - 20],
        );
        packet.id = 0;
        packet.offset = 0x4000;
        assert_eq!(&packet.bytes()[10..12], [0xb8, 0x61]);
    }

    #[test]
    fn sums_of_what_was_summed_are_zero() {
        let (from, to) = ("10.0.0.1:7".parse().unwrap(), "10.0.0.2:9".parse().unwrap());
        for bytes in [udp(from, to, b"odd"), tcp(from, to, 2, b"even")] {
            let protocol = if bytes.len() == 11 {
                protocol::UDP
            } else {
                protocol::TCP
            };
            let mut all = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, protocol];
            all.extend(short(bytes.len()).to_be_bytes());
            all.extend(&bytes);
            assert_eq!(checksum(&all), 0);
        }
    }

    #[test]
    fn a_segment_size_is_found_among_options() {
        let with = |flags: u8, options: &[u8]| {
            let mut segment = vec![0; 12];
            segment.extend([0x50 + (low(options.len() / 4) << 4), flags]);
            segment.resize(20, 0);
            segment.extend(options);
            segment_size(&segment)
        };
        let size = [2, 4, 5, 0x64];
        let timestamps = [8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        assert_eq!(with(2, &size), Some(1_380));
        assert_eq!(with(0x12, &[&timestamps[..], &size].concat()), Some(1_380));
        assert_eq!(with(0x10, &size), None, "only an opening says one");
        assert_eq!(with(2, &timestamps), None);
        assert_eq!(with(2, &[0, 0, 0, 0]), None);
    }

    #[test]
    fn an_echo_comes_back_with_what_it_carried() {
        let mut v4 = V4::new(
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::LOCALHOST,
            protocol::ICMP,
            echo_request(false, b"token"),
        );
        assert_eq!(echo_reply(&v4.bytes()), None, "a request is no reply");
        v4.payload[0] = 0;
        assert_eq!(echo_reply(&v4.bytes()), Some(&b"token"[..]));
        let mut v6 = echo_request(true, b"token");
        v6[0] = 129;
        assert_eq!(echo_reply(&v6), Some(&b"token"[..]));
    }

    #[test]
    fn a_packet_is_read_as_it_was_made() {
        let (from, to): (SocketAddr, SocketAddr) =
            ("[fd00::1]:7".parse().unwrap(), "[fd00::2]:9".parse().unwrap());
        let read = Read::packet(&datagram(from, to, b"token")).unwrap();
        assert_eq!(
            (read.from, read.to, read.protocol),
            (from.ip(), to.ip(), protocol::UDP)
        );
        assert_eq!(&read.payload[8..], b"token");
        assert!(!read.is_housekeeping());
    }

    #[test]
    fn a_header_is_put_before_what_there_was() {
        let packet = V6::new(
            Ipv6Addr::LOCALHOST,
            Ipv6Addr::LOCALHOST,
            protocol::UDP,
            vec![7; 8],
        );
        let packet = packet.behind(protocol::DESTINATION, &[0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(packet.next, protocol::DESTINATION);
        assert_eq!(&packet.payload[..8], [protocol::UDP, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(&packet.payload[8..], [7; 8]);
    }

    #[test]
    fn what_links_say_by_themselves_is_told_from_what_was_passed_on() {
        let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
        let report = V6::new(Ipv6Addr::LOCALHOST, all, protocol::ICMPV6, vec![143, 0, 0, 0]);
        let report = report.behind(protocol::HOP_BY_HOP, &[0, 5, 2, 0, 0, 1, 0]);
        assert!(Read::packet(&report.bytes()).unwrap().is_housekeeping());
        let mut advertisement = V6::new(Ipv6Addr::LOCALHOST, all, protocol::ICMPV6, vec![134, 0, 0, 0]);
        advertisement.hops = 255;
        assert!(Read::packet(&advertisement.bytes()).unwrap().is_housekeeping());
        advertisement.hops = 254;
        assert!(!Read::packet(&advertisement.bytes()).unwrap().is_housekeeping());
    }
}
