//! What a client can make the node say of itself: errors about packets that cannot go on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use culvert_e2e::{
    packet::{V4, V6, protocol, udp},
    surroundings::{FAR, ROUTER},
};

use super::cases::Who;

/// The port that traceroute asks, which nobody has open.
const CLOSED: u16 = 33_434;

/// The flag that forbids fragments, beside an offset of none.
const WHOLE: u16 = 0x4000;

/// More than the narrow link takes, and less than the tunnel does.
const LARGE: usize = 1_350;

/// A packet that ends on its way.
pub struct Trace {
    /// What it is, for people.
    pub name: String,

    /// The packet.
    pub packet: Vec<u8>,

    /// Who says so.
    pub from: Option<IpAddr>,
}

/// Packets that live for one router, two, and long enough; that are too large; to a host that is not there.
pub fn all(who: &Who) -> Result<Vec<Trace>> {
    let (far4, far6): (Ipv4Addr, Ipv6Addr) = (FAR[0].parse()?, FAR[1].parse()?);
    let (gateway4, gateway6) = who.gateway;
    let v4 = |to: Ipv4Addr, ttl: u8, length: usize| {
        let payload = udp(
            SocketAddr::new(who.own.0.into(), 4053),
            SocketAddr::new(to.into(), CLOSED),
            &vec![7; length],
        );
        let mut packet = V4::new(who.own.0, to, protocol::UDP, payload);
        (packet.ttl, packet.offset) = (ttl, WHOLE);
        packet.bytes()
    };
    let v6 = |to: Ipv6Addr, hops: u8, length: usize| {
        let payload = udp(
            SocketAddr::new(who.own.1.into(), 4053),
            SocketAddr::new(to.into(), CLOSED),
            &vec![7; length],
        );
        let mut packet = V6::new(who.own.1, to, protocol::UDP, payload);
        packet.hops = hops;
        packet.bytes()
    };
    let mut traces = Vec::new();
    let mut trace = |name: &str, packet, from: Option<IpAddr>| {
        traces.push(Trace {
            name: name.to_owned(),
            packet,
            from,
        });
    };
    trace("one router", v4(far4, 1, 16), Some(gateway4.into()));
    trace("two routers", v4(far4, 2, 16), Some(ROUTER[0].parse()?));
    trace("the host", v4(far4, 3, 16), Some(far4.into()));
    trace("too large", v4(far4, 64, LARGE), Some(gateway4.into()));
    trace("one IPv6 router", v6(far6, 1, 16), Some(gateway6.into()));
    trace("two IPv6 routers", v6(far6, 2, 16), Some(ROUTER[1].parse()?));
    trace("the IPv6 host", v6(far6, 3, 16), Some(far6.into()));
    trace("too large for IPv6", v6(far6, 64, LARGE), Some(gateway6.into()));
    // The gateway says so, or nobody does.
    trace(
        "a host that is not there",
        v4("203.0.113.5".parse()?, 64, 16),
        None,
    );
    trace(
        "an IPv6 host that is not there",
        v6("2001:db8:f00d::5".parse()?, 64, 16),
        None,
    );
    trace("where no way leads", v4("203.0.114.9".parse()?, 64, 16), None);
    trace(
        "where no IPv6 way leads",
        v6("2001:db8:f00e::9".parse()?, 64, 16),
        None,
    );
    Ok(traces)
}
