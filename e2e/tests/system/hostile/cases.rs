//! What a hostile client sends. Every case says what would become of it without the gateway's table, so that each is
//! known to prove something: either the table refuses it, or the kernel does already.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, bail};
use culvert_e2e::{
    packet::{V4, V6, carrying, datagram, icmp, icmpv6, protocol, tcp, udp},
    probe::token,
    surroundings::{FAR, OTHER_NODE, POD},
};

/// What becomes of a case where there is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// It gets through, or is answered.
    Passes,

    /// The kernel refuses it as well, or WireGuard does.
    Nothing,
}

use Bare::{Nothing, Passes};

/// Something that a client sends, packet by packet.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is, for people.
    pub name: String,

    /// In the order in which they are sent.
    pub packets: Vec<Vec<u8>>,

    /// What it proves.
    pub bare: Bare,
}

/// The parties: the client's own tunnel addresses, another client's, and the gateway's.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// The hostile client.
    pub own: (Ipv4Addr, Ipv6Addr),

    /// Another one.
    pub other: (Ipv4Addr, Ipv6Addr),

    /// The gateway, inside.
    pub gateway: (Ipv4Addr, Ipv6Addr),
}

/// Addresses of both families as a client has them.
pub fn pair(addresses: &[IpAddr]) -> Result<(Ipv4Addr, Ipv6Addr)> {
    match addresses {
        [IpAddr::V4(v4), IpAddr::V6(v6)] => Ok((*v4, *v6)),
        _ => bail!("wanted an address of each family"),
    }
}

fn far() -> Result<(Ipv4Addr, Ipv6Addr)> {
    Ok((FAR[0].parse()?, FAR[1].parse()?))
}

fn pod() -> Result<(Ipv4Addr, Ipv6Addr)> {
    Ok((POD[0].parse()?, POD[1].parse()?))
}

fn case(name: impl Into<String>, bare: Bare, packets: Vec<Vec<u8>>) -> Case {
    Case {
        name: name.into(),
        packets,
        bare,
    }
}

/// A datagram to port 53 that nobody else sends.
fn question(from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Vec<u8> {
    datagram(
        SocketAddr::new(from.into(), 4053),
        SocketAddr::new(to.into(), 53),
        &token(),
    )
}

/// The same without its IP header.
fn body(from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Vec<u8> {
    udp(
        SocketAddr::new(from.into(), 4053),
        SocketAddr::new(to.into(), 53),
        &token(),
    )
}

/// From addresses that are not the client's.
pub fn sources(who: &Who) -> Result<Vec<Case>> {
    // Those of other clients are for WireGuard to tell apart, all others for the table as well.
    let (v4, v6) = far()?;
    let mut cases = Vec::new();
    for from in [
        who.other.0.to_string().as_str(),
        who.gateway.0.to_string().as_str(),
        "10.64.77.77",
        "10.128.0.2",
        "192.0.2.2",
        "192.0.2.3",
        "203.0.113.2",
        "203.0.113.80",
        "10.244.1.5",
        "192.168.7.9",
        "169.254.169.254",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
    ] {
        let from: Ipv4Addr = from.parse()?;
        cases.push(case(format!("source {from}"), Nothing, vec![question(from, v4)]));
    }
    for from in [
        who.other.1.to_string().as_str(),
        who.gateway.1.to_string().as_str(),
        "fd64:cafe:1::77",
        "fd64:cafe:2::2",
        "2001:db8:17::2",
        "2001:db8:17::3",
        "2001:db8:f00d:80::80",
        "fd00:10:244:1::5",
        "fe80::1",
        "::1",
        "::",
        "::ffff:10.244.1.5",
        "ff02::1",
    ] {
        let from: Ipv6Addr = from.parse()?;
        cases.push(case(format!("source {from}"), Nothing, vec![question(from, v6)]));
    }
    Ok(cases)
}

/// To addresses that no client has any business with, from the client's own.
pub fn destinations(who: &Who) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (to, bare) in [
        ("127.0.0.1", Nothing),
        ("127.0.0.53", Nothing),
        ("0.0.0.0", Nothing),
        ("0.0.0.9", Passes),
        ("255.255.255.255", Passes),
        ("224.0.0.1", Passes),
        ("239.1.2.3", Nothing),
        ("240.0.0.9", Passes),
        ("10.95.255.255", Passes),
        ("10.64.0.0", Passes),
        ("203.0.113.15", Passes),
        ("198.51.255.255", Passes),
        ("169.254.1.1", Passes),
        ("192.0.0.9", Passes),
        ("198.18.0.9", Passes),
    ] {
        let address: Ipv4Addr = to.parse()?;
        cases.push(case(
            format!("destination {to}"),
            bare,
            vec![question(who.own.0, address)],
        ));
    }
    for (to, bare) in [
        ("::1", Nothing),
        ("::", Passes),
        ("fe80::1", Passes),
        ("febf::9", Passes),
        ("ff02::1", Passes),
        ("ff02::2", Nothing),
        ("ff05::2", Nothing),
        ("ff0e::1:2", Nothing),
        ("::ffff:10.244.1.5", Passes),
        ("::10.244.1.5", Passes),
        ("64:ff9b::10.244.1.5", Passes),
        ("64:ff9b::169.254.169.254", Passes),
        ("64:ff9b:1::10.244.1.5", Passes),
        ("2002:af4:105::1", Passes),
        ("100::9", Passes),
        ("fd64:cafe:1::", Passes),
        ("2001:db8:17::", Passes),
    ] {
        let address: Ipv6Addr = to.parse()?;
        cases.push(case(
            format!("destination {to}"),
            bare,
            vec![question(who.own.1, address)],
        ));
    }
    Ok(cases)
}

/// Datagrams in pieces, to a pod and to the gateway's own address.
pub fn fragments(who: &Who) -> Result<Vec<Case>> {
    let (pod4, pod6) = pod()?;
    let mut cases = Vec::new();
    for (target, to) in [("a pod", pod4), ("the gateway", who.gateway.0)] {
        let whole = body(who.own.0, to);
        let piece = |id: u16, offset: usize, length: usize, more: bool| {
            let end = (offset + length).min(whole.len());
            let mut packet = V4::new(who.own.0, to, protocol::UDP, whole[offset..end].to_vec());
            packet.id = id;
            packet.offset = u16::try_from(offset / 8).unwrap_or_default();
            packet.more = more;
            packet.bytes()
        };
        let rest = whole.len();
        cases.push(case(
            format!("two fragments to {target}"),
            Passes,
            vec![piece(1, 0, 16, true), piece(1, 16, rest, false)],
        ));
        cases.push(case(
            format!("the last fragment first to {target}"),
            Passes,
            vec![piece(2, 8, rest, false), piece(2, 0, 8, true)],
        ));
        cases.push(case(
            format!("tiny fragments to {target}"),
            Passes,
            vec![
                piece(3, 0, 8, true),
                piece(3, 8, 8, true),
                piece(3, 16, rest, false),
            ],
        ));
        cases.push(case(
            format!("overlapping fragments to {target}"),
            Nothing,
            vec![piece(4, 0, 16, true), piece(4, 8, rest, false)],
        ));
        cases.push(case(
            format!("a lone first fragment to {target}"),
            Nothing,
            vec![piece(5, 0, 16, true)],
        ));
        cases.push(case(
            format!("a lone last fragment to {target}"),
            Nothing,
            vec![piece(6, 16, rest, false)],
        ));
    }
    for (target, to) in [("a pod", pod6), ("the gateway", who.gateway.1)] {
        let whole = body(who.own.1, to);
        let piece = |id: u8, offset: usize, length: usize, more: bool| {
            let end = (offset + length).min(whole.len());
            let place = u16::try_from(offset).unwrap_or_default() | u16::from(more);
            let [high, low] = place.to_be_bytes();
            V6::new(who.own.1, to, protocol::UDP, whole[offset..end].to_vec())
                .behind(protocol::FRAGMENT, &[0, high, low, 0, 0, 0, id])
        };
        let rest = whole.len();
        let two = |id| vec![piece(id, 0, 16, true), piece(id, 16, rest, false)];
        let bytes = |packets: Vec<V6>| packets.iter().map(V6::bytes).collect::<Vec<_>>();
        cases.push(case(
            format!("two IPv6 fragments to {target}"),
            Passes,
            bytes(two(1)),
        ));
        cases.push(case(
            format!("tiny IPv6 fragments to {target}"),
            Passes,
            bytes(vec![
                piece(2, 0, 8, true),
                piece(2, 8, 8, true),
                piece(2, 16, rest, false),
            ]),
        ));
        cases.push(case(
            format!("an atomic IPv6 fragment to {target}"),
            Passes,
            bytes(vec![piece(3, 0, rest, false)]),
        ));
        cases.push(case(
            format!("overlapping IPv6 fragments to {target}"),
            Nothing,
            bytes(vec![piece(4, 0, 16, true), piece(4, 8, rest, false)]),
        ));
        cases.push(case(
            format!("a lone IPv6 fragment to {target}"),
            Nothing,
            bytes(vec![piece(5, 16, rest, false)]),
        ));
        let hidden = two(6)
            .into_iter()
            .map(|packet| packet.behind(protocol::DESTINATION, &[0, 1, 4, 0, 0, 0, 0]));
        cases.push(case(
            format!("IPv6 fragments behind options to {target}"),
            Passes,
            bytes(hidden.collect()),
        ));
    }
    Ok(cases)
}

/// Headers that nobody on the internet needs, to a host there and to the gateway.
#[expect(clippy::too_many_lines, reason = "a table of packets")]
pub fn headers(who: &Who) -> Result<Vec<Case>> {
    let (far4, far6) = far()?;
    let (pod4, pod6) = pod()?;
    let mut cases = Vec::new();
    let padding = [0, 1, 4, 0, 0, 0, 0];
    let plain = |to| V6::new(who.own.1, to, protocol::UDP, body(who.own.1, to));
    for (name, kind, extra) in [
        ("hop-by-hop options", protocol::HOP_BY_HOP, padding.to_vec()),
        ("a router alert", protocol::HOP_BY_HOP, vec![0, 5, 2, 0, 0, 1, 0]),
        ("destination options", protocol::DESTINATION, padding.to_vec()),
        (
            "an authentication header",
            51,
            vec![
                4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        ),
        ("a mobility header", 135, vec![0, 0, 0, 0, 0, 0, 0]),
        ("a host identity", 139, vec![0, 0, 0, 0, 0, 0, 0]),
        ("a shim", 140, vec![0, 0x80, 0, 0, 0, 0, 0]),
        ("an experiment", 253, vec![0, 0, 0, 0, 0, 0, 0]),
    ] {
        cases.push(case(
            format!("IPv6 with {name}"),
            Passes,
            vec![plain(far6).behind(kind, &extra).bytes()],
        ));
    }
    let twice = plain(far6)
        .behind(protocol::DESTINATION, &padding)
        .behind(protocol::DESTINATION, &padding);
    cases.push(case("IPv6 with options twice", Passes, vec![twice.bytes()]));
    // A way by the gateway to somewhere else: of type 0, which is abolished, and of segments.
    let mut way0 = vec![2, 0, 1, 0, 0, 0, 0];
    way0.extend(pod6.octets());
    let mut segments = vec![2, 4, 1, 0, 0, 0, 0];
    segments.extend(pod6.octets());
    for (name, way) in [("type 0", &way0), ("segments", &segments)] {
        let by = plain(who.gateway.1).behind(protocol::ROUTING, way);
        // Both are answered with an error, from the address that was asked.
        cases.push(case(
            format!("a routing header of {name} at the gateway"),
            Passes,
            vec![by.bytes()],
        ));
        let through = plain(far6).behind(protocol::ROUTING, way);
        cases.push(case(
            format!("a routing header of {name} on its way"),
            Passes,
            vec![through.bytes()],
        ));
    }
    for (name, next, payload) in [
        ("IPv4 in IPv6", protocol::IPV4, question(who.own.0, pod4)),
        ("IPv6 in IPv6", protocol::IPV6, question(who.own.1, pod6)),
        ("GRE in IPv6", protocol::GRE, gre(&question(who.own.0, pod4))),
        ("ESP in IPv6", 50, vec![0; 40]),
        ("SCTP in IPv6", 132, vec![0; 16]),
        ("nothing in IPv6", protocol::NONE, vec![]),
        ("an unknown protocol in IPv6", 254, vec![0; 16]),
    ] {
        cases.push(case(
            name,
            Passes,
            vec![V6::new(who.own.1, far6, next, payload).bytes()],
        ));
    }
    for (name, number, payload) in [
        ("IPv4 in IPv4", protocol::IPV4, question(who.own.0, pod4)),
        ("IPv6 in IPv4", protocol::IPV6, question(who.own.1, pod6)),
        ("GRE in IPv4", protocol::GRE, gre(&question(who.own.0, pod4))),
        ("ESP in IPv4", 50, vec![0; 40]),
        ("an authentication header in IPv4", 51, vec![0; 40]),
        ("SCTP in IPv4", 132, vec![0; 16]),
        ("IGMP in IPv4", 2, vec![0x16, 0, 0xe9, 0xff, 0, 0, 0, 0]),
        ("OSPF in IPv4", 89, vec![0; 24]),
        ("L2TP in IPv4", 115, vec![0; 16]),
        ("an unknown protocol in IPv4", 254, vec![0; 16]),
    ] {
        cases.push(case(
            name,
            Passes,
            vec![V4::new(who.own.0, far4, number, payload).bytes()],
        ));
    }
    for (name, next, payload) in [
        (
            "IPv4 in IPv6 at the gateway",
            protocol::IPV4,
            question(who.own.0, pod4),
        ),
        (
            "IPv6 in IPv6 at the gateway",
            protocol::IPV6,
            question(who.own.1, pod6),
        ),
    ] {
        cases.push(case(
            name,
            Passes,
            vec![V6::new(who.own.1, who.gateway.1, next, payload).bytes()],
        ));
    }
    cases.extend(options(who, far4, pod4));
    Ok(cases)
}

/// IPv4 options.
fn options(who: &Who, far: Ipv4Addr, pod: Ipv4Addr) -> Vec<Case> {
    let way = |kind: u8, pointer: u8| [&[kind, 7, pointer][..], &pod.octets(), &[0]].concat();
    let mut cases = Vec::new();
    for (name, to, options, bare) in [
        (
            "loose source routing at the gateway",
            who.gateway.0,
            way(131, 4),
            Nothing,
        ),
        (
            "strict source routing at the gateway",
            who.gateway.0,
            way(137, 4),
            Nothing,
        ),
        ("loose source routing on its way", far, way(131, 4), Nothing),
        ("source routing that is done", far, way(131, 8), Nothing),
        ("record route", far, vec![7, 7, 4, 0, 0, 0, 0, 0], Passes),
        (
            "timestamps of routers",
            far,
            vec![68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            Passes,
        ),
        ("a router alert of IPv4", far, vec![148, 4, 0, 0], Passes),
        ("a security label", far, vec![134, 6, 0, 0, 0, 1, 0, 0], Passes),
        ("options that do nothing", far, vec![1, 1, 1, 0], Passes),
    ] {
        let mut packet = V4::new(who.own.0, to, protocol::UDP, body(who.own.0, to));
        packet.options = options;
        cases.push(case(name, bare, vec![packet.bytes()]));
    }
    cases
}

fn gre(packet: &[u8]) -> Vec<u8> {
    [&[0, 0, 8, 0], packet].concat()
}

/// What routers and hosts tell each other, and no client: redirects, advertisements, DHCP, questions about the node.
#[expect(clippy::too_many_lines, reason = "a table of packets")]
pub fn control(who: &Who) -> Result<Vec<Case>> {
    let (far4, far6) = far()?;
    let (pod4, pod6) = pod()?;
    let mut cases = Vec::new();
    let told4 = |to: Ipv4Addr, kind: u8, code: u8, body: &[u8]| {
        V4::new(who.own.0, to, protocol::ICMP, icmp(kind, code, body)).bytes()
    };
    let told6 = |to: Ipv6Addr, kind: u8, body: &[u8]| {
        let mut packet = V6::new(
            who.own.1,
            to,
            protocol::ICMPV6,
            icmpv6(who.own.1, to, kind, 0, body),
        );
        packet.hops = 255;
        packet.bytes()
    };
    let gateway = who.gateway.0;
    let quoted = |from: Ipv4Addr, to: Ipv4Addr| [&[0; 4][..], &question(from, to)[..28]].concat();
    let redirect = [&who.own.0.octets()[..], &question(gateway, far4)[..28]].concat();
    for (name, to, kind, body, bare) in [
        ("a redirect", gateway, 5, redirect.clone(), Passes),
        ("a redirect on its way", far4, 5, redirect, Passes),
        ("source quench", gateway, 4, quoted(gateway, far4), Passes),
        (
            "a router's advertisement",
            gateway,
            9,
            vec![1, 2, 0, 60, 10, 64, 0, 9, 0, 0, 0, 0],
            Passes,
        ),
        ("a router's solicitation", gateway, 10, vec![0; 4], Passes),
        ("the question for the time", gateway, 13, vec![0; 16], Passes),
        (
            "the question for the time on its way",
            far4,
            13,
            vec![0; 16],
            Passes,
        ),
        ("the question for the net mask", gateway, 17, vec![0; 8], Passes),
        ("an old question for information", gateway, 15, vec![0; 4], Passes),
        ("an error to a pod", pod4, 3, quoted(pod4, who.own.0), Passes),
        ("an answer to a pod", pod4, 0, vec![0; 4], Passes),
        (
            "an extended echo",
            gateway,
            42,
            vec![0, 1, 0, 1, 0, 12, 3, 1, 0x65, 0x74, 0x68, 0x30, 0, 0, 0, 0],
            Passes,
        ),
    ] {
        cases.push(case(name, bare, vec![told4(to, kind, 0, &body)]));
    }
    let here = who.gateway.1;
    let quoted6 = [&[0; 4][..], &question(pod6, who.own.1)].concat();
    let advertisement = vec![64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let redirect6 = [&[0; 4][..], &who.own.1.octets(), &far6.octets()].concat();
    let neighbour = [&[0x20, 0, 0, 0][..], &here.octets()].concat();
    let solicited = [&[0; 4][..], &here.octets()].concat();
    let routers: Ipv6Addr = "ff02::2".parse()?;
    for (name, to, kind, body) in [
        ("an IPv6 redirect", here, 137, redirect6),
        ("an IPv6 router's advertisement", here, 134, advertisement.clone()),
        (
            "an IPv6 router's advertisement to all",
            "ff02::1".parse()?,
            134,
            advertisement,
        ),
        ("an IPv6 router's solicitation", routers, 133, vec![0; 4]),
        ("a neighbour's solicitation", here, 135, solicited),
        ("a neighbour's advertisement", here, 136, neighbour),
        ("a question for groups", "ff02::1".parse()?, 130, vec![0; 20]),
        (
            "a question for the node's name",
            here,
            139,
            vec![0, 2, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        ),
        ("an IPv6 error to a pod", pod6, 1, quoted6),
        ("an IPv6 answer to a pod", pod6, 129, vec![0; 4]),
        ("an echo to all nodes", "ff02::1".parse()?, 128, vec![0, 1, 0, 1]),
        ("an unknown IPv6 message on its way", far6, 200, vec![0; 4]),
    ] {
        // The node has joined no group of routers there.
        let bare = if to == routers { Nothing } else { Passes };
        cases.push(case(name, bare, vec![told6(to, kind, &body)]));
    }
    let all: SocketAddr = "255.255.255.255:67".parse()?;
    let servers: SocketAddr = "[ff02::1:2]:547".parse()?;
    for (name, from, to, bare) in [
        ("DHCP", SocketAddr::new(who.own.0.into(), 68), all, Passes),
        (
            "DHCP at the gateway",
            SocketAddr::new(who.own.0.into(), 68),
            SocketAddr::new(gateway.into(), 67),
            Passes,
        ),
        ("DHCPv6", SocketAddr::new(who.own.1.into(), 546), servers, Nothing),
    ] {
        cases.push(case(name, bare, vec![datagram(from, to, &token())]));
    }
    Ok(cases)
}

/// Connections that are none, packets that are broken, and what is about to die.
pub fn broken(who: &Who) -> Result<Vec<Case>> {
    let (pod4, pod6) = pod()?;
    let node: Ipv4Addr = OTHER_NODE[0].parse()?;
    let mut cases = Vec::new();
    let port = |address: IpAddr, port: u16| SocketAddr::new(address, port);
    for (name, flags) in [
        ("ACK", 0x10),
        ("FIN", 0x01),
        ("RST", 0x04),
        ("SYN and FIN", 0x03),
        ("no flag", 0),
        ("all flags", 0x3f),
    ] {
        for (from, to) in [
            (IpAddr::from(who.own.0), IpAddr::from(pod4)),
            (who.own.1.into(), pod6.into()),
        ] {
            let segment = tcp(port(from, 4080), port(to, 80), flags, &token());
            let packet = carrying(from, to, protocol::TCP, segment);
            // Without a connection, masquerading knows nothing of some of them, and they pass as they are.
            cases.push(case(format!("TCP with {name} to {to}"), Passes, vec![packet]));
        }
    }
    let mut dying = V4::new(who.own.0, pod4, protocol::UDP, body(who.own.0, pod4));
    dying.ttl = 1;
    cases.push(case(
        "a pod at the end of a packet's life",
        Passes,
        vec![dying.bytes()],
    ));
    let mut dying = V6::new(who.own.1, pod6, protocol::UDP, body(who.own.1, pod6));
    dying.hops = 1;
    cases.push(case(
        "an IPv6 pod at the end of a packet's life",
        Passes,
        vec![dying.bytes()],
    ));
    let mut sum = question(who.own.0, node);
    sum[10] ^= 1;
    cases.push(case("a header with a wrong sum", Nothing, vec![sum]));
    let mut short = question(who.own.0, node);
    short.truncate(24);
    short[2..4].copy_from_slice(&24_u16.to_be_bytes());
    let mut sum = V4::new(who.own.0, node, protocol::UDP, short[20..].to_vec()).bytes();
    cases.push(case("half a UDP header", Passes, vec![sum.clone()]));
    sum[0] = 0x44;
    cases.push(case("a header that is too short", Nothing, vec![sum]));
    let own = SocketAddr::new(who.own.0.into(), 53);
    cases.push(case(
        "to the client's own address",
        Passes,
        vec![datagram(own, own, &token())],
    ));
    Ok(cases)
}
