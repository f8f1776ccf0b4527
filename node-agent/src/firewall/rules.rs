//! One gateway's tables, as a script for nft: the whole of it is one transaction.
//!
//! Guarantees: what is forbidden is dropped before anybody else's rules can lead it elsewhere (priority -300 is before
//! kube-proxy's destination NAT at -100); no chain drops what it does not know, as that would cut the host off; nothing
//! in it logs, counts by an outer address, or names one. Packets are known by the number of the gateway's interface, so
//! that whoever renames it opens nothing.
//!
//! ```text
//!  others ─▶ prerouting -300: WireGuard's port is not tracked, nor the way to a client learnt; nobody else reaches the
//!            gateway's own address
//!  tunnel ─▶ prerouting -300 ▶ from_tunnel ▶ one chain a family: source, kind of packet, destination
//!            prerouting -150: connections end sooner when idle · -110: DNS ▶ resolver
//!            forward ▶ to_internet, from_internet: no client to a client, no service's address to a pod, connections
//!            only from clients, so many each, MSS
//!            postrouting 90: the node's address for the tunnel's, and no error to a client that comes from it
//! ```
//!
//! A rule costs every packet that comes to it, so chains part early, and known connections leave before what is for new
//! ones. What it comes to: `cargo xtask bench dataplane`.

use std::fmt::{self, Write};
use std::net::IpAddr;

use ipnet::IpNet;

use super::ranges::{Judged, Ranges, joined};
use crate::assignment::{Assignment, gateway_address};

/// After how many idle seconds an established TCP connection is not tracked any more: 2 hours and 4 minutes (RFC 5382),
/// where the kernel's own 5 days would remember who spoke to whom.
const IDLE: u32 = 7_440;

/// How all our tables' names begin; the gateway's uid follows.
pub const PREFIX: &str = "culvert-";

/// As much as the way allows: nobody tells the other end of a tunnel in between.
const SEGMENT_SIZE: &str = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu";

/// How many clients' connections are counted at most, in each family.
const CLIENTS: u32 = 1 << 20;

/// The name of a gateway's tables.
pub fn name(gateway: &str) -> String {
    format!("{PREFIX}{gateway}")
}

/// Whether a uid may stand in a name: the apiserver's are such, a text that others wrote into an alias need not be.
pub fn is_nameable(gateway: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !gateway.is_empty() && gateway.len() <= 64 && gateway.bytes().all(is_plain)
}

/// The script that deletes a gateway's tables, whether they are there or not.
pub fn deletion(gateway: &str) -> String {
    let name = name(gateway);
    format!(
        "add table inet {name}\ndelete table inet {name}\nadd table arp {name}\ndelete table arp {name}\n"
    )
}

/// The script that makes tables which let nothing of a gateway's clients pass, in place of those that are there. Their
/// sessions live, untracked, on this UDP port; nobody outside finds the gateway's own addresses.
pub fn closed(gateway: &str, ifindex: u32, port: u16, own: &[IpAddr]) -> String {
    let mut script = deletion(gateway);
    // Writing to a string does not fail.
    let _ = write_closed(&mut script, &name(gateway), ifindex, port, own);
    script
}

fn write_closed(to: &mut String, name: &str, number: u32, port: u16, own: &[IpAddr]) -> fmt::Result {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = own.iter().copied().partition(IpAddr::is_ipv4);
    writeln!(to, "table inet {name} {{")?;
    writeln!(
        to,
        "chain prerouting {{ type filter hook prerouting priority -300; policy accept;"
    )?;
    writeln!(to, "iif {number} drop")?;
    writeln!(to, "udp dport {port} fib daddr type local notrack")?;
    sizes(to, &[port])?;
    for (ip, own) in [("ip", &v4), ("ip6", &v6)] {
        if !own.is_empty() {
            writeln!(to, "iif != lo {ip} daddr {} drop", set(own))?;
        }
    }
    writeln!(to, "}}")?;
    writeln!(
        to,
        "chain output {{ type filter hook output priority -300; policy accept;"
    )?;
    writeln!(to, "oif {number} drop")?;
    writeln!(to, "udp sport {port} fib saddr type local notrack")?;
    writeln!(to, "}}")?;
    writeln!(
        to,
        "chain forward {{ type filter hook forward priority 0; policy accept;"
    )?;
    writeln!(to, "oif {number} drop")?;
    writeln!(to, "}}")?;
    writeln!(to, "}}")?;
    arp(to, name, number, &v4)
}

/// What traffic leaves under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The address that the way out has.
    Any,
    /// This one.
    Of(IpAddr),
    /// Its own.
    Own,
    /// None: it does not leave.
    Nothing,
}

/// What the tables of a gateway are made from.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// What is asked.
    pub assignment: &'a Assignment,
    /// The interface's number.
    pub ifindex: u32,
    /// The UDP port on which the interface has been seen to be reached: while somebody else has the one that is asked, it
    /// keeps its old one.
    pub port: Option<u16>,
    /// What IPv4 leaves under, and IPv6.
    pub sources: [Source; 2],
}

/// The same of one family.
struct Family {
    /// `ip`, or `ip6`.
    ip: &'static str,
    /// `ipv4`, or `ipv6`.
    nfproto: &'static str,
    /// The pools' ranges.
    pools: Vec<IpNet>,
    /// The gateway's own addresses.
    own: Vec<IpAddr>,
    destinations: Ranges,
    resolver: Option<IpAddr>,
    source: Source,
}

impl Table<'_> {
    /// Makes the tables, in place of those that are there.
    pub fn script(&self) -> String {
        let mut script = deletion(&self.assignment.mark.gateway);
        // Writing to a string does not fail.
        let _ = self.write(&mut script);
        script
    }

    fn families(&self) -> [Family; 2] {
        let ranges: Vec<IpNet> = self.assignment.ranges.values().flatten().copied().collect();
        let [v4, v6] = Ranges::of(&self.assignment.egress);
        let family = |is_v4: bool, destinations| {
            let mut own: Vec<IpAddr> = ranges.iter().map(|range| gateway_address(range).addr()).collect();
            own.retain(|address| address.is_ipv4() == is_v4);
            own.sort_unstable();
            let mut resolvers = self.assignment.egress.resolvers.iter();
            Family {
                ip: if is_v4 { "ip" } else { "ip6" },
                nfproto: if is_v4 { "ipv4" } else { "ipv6" },
                pools: joined(&ranges, is_v4),
                own,
                destinations,
                resolver: resolvers.find(|address| address.is_ipv4() == is_v4).copied(),
                source: self.sources[usize::from(!is_v4)],
            }
        };
        [family(true, v4), family(false, v6)]
    }

    fn write(&self, to: &mut String) -> fmt::Result {
        let name = name(&self.assignment.mark.gateway);
        let families = self.families();
        writeln!(to, "table inet {name} {{")?;
        objects(to)?;
        self.prerouting(to, &families)?;
        from_tunnel(to, &families)?;
        self.tracked(to, &families)?;
        self.forward(to, &families)?;
        self.local(to, &families)?;
        self.postrouting(to, &families)?;
        writeln!(to, "}}")?;
        arp(to, &name, self.ifindex, &families[0].own)
    }

    fn prerouting(&self, to: &mut String, families: &[Family; 2]) -> fmt::Result {
        let (number, ports) = (self.ifindex, set(&self.ports()));
        writeln!(
            to,
            "chain prerouting {{ type filter hook prerouting priority -300; policy accept;"
        )?;
        writeln!(to, "iif {number} goto from_tunnel")?;
        writeln!(to, "udp dport {ports} fib daddr type local notrack")?;
        sizes(to, &self.ports())?;
        for family in families.iter().filter(|family| !family.own.is_empty()) {
            // Linux takes a packet for any of its addresses at any of its links.
            let (ip, own) = (family.ip, set(&family.own));
            writeln!(to, "iif != lo {ip} daddr {own} drop")?;
        }
        writeln!(to, "}}")?;
        writeln!(
            to,
            "chain output {{ type filter hook output priority -300; policy accept;"
        )?;
        writeln!(to, "udp sport {ports} fib saddr type local notrack")?;
        writeln!(to, "}}")
    }

    /// The ports on which clients reach the interface.
    fn ports(&self) -> Vec<u16> {
        let mut ports = vec![self.assignment.listen_port];
        ports.extend(self.port.filter(|port| *port != self.assignment.listen_port));
        ports.sort_unstable();
        ports
    }

    /// Connections: how long an idle one is known, and who answers questions for names.
    fn tracked(&self, to: &mut String, families: &[Family; 2]) -> fmt::Result {
        let number = self.ifindex;
        writeln!(
            to,
            "chain connections {{ type filter hook prerouting priority -150; policy accept;"
        )?;
        writeln!(
            to,
            "iif {number} meta nfproto ipv4 meta l4proto tcp ct timeout set \"idle4\""
        )?;
        writeln!(
            to,
            "iif {number} meta nfproto ipv6 meta l4proto tcp ct timeout set \"idle6\""
        )?;
        writeln!(to, "}}")?;
        writeln!(
            to,
            "chain names {{ type nat hook prerouting priority -110; policy accept;"
        )?;
        for family in families.iter().filter(|family| !family.own.is_empty()) {
            if let Some(resolver) = family.resolver {
                let (ip, own) = (family.ip, set(&family.own));
                for protocol in ["udp", "tcp"] {
                    writeln!(
                        to,
                        "iif {number} {ip} daddr {own} {protocol} dport 53 dnat {ip} to {resolver}"
                    )?;
                }
            }
        }
        writeln!(to, "}}")
    }

    fn forward(&self, to: &mut String, families: &[Family; 2]) -> fmt::Result {
        let number = self.ifindex;
        writeln!(
            to,
            "chain forward {{ type filter hook forward priority 0; policy accept;"
        )?;
        writeln!(to, "iif {number} goto to_internet")?;
        writeln!(to, "oif {number} goto from_internet")?;
        writeln!(to, "}}")?;
        self.outgoing(to, families)?;
        writeln!(to, "chain from_internet {{")?;
        writeln!(to, "ct state != {{ established, related }} drop")?;
        writeln!(to, "{SEGMENT_SIZE}")?;
        writeln!(to, "}}")
    }

    fn outgoing(&self, to: &mut String, families: &[Family; 2]) -> fmt::Result {
        let most = self.assignment.egress.connections;
        writeln!(to, "chain to_internet {{")?;
        writeln!(to, "oif {} drop", self.ifindex)?;
        // Of known connections, too: ranges may be closed while they last.
        writeln!(to, "ct status dnat jump led_elsewhere")?;
        for family in families {
            if family.source == Source::Nothing {
                writeln!(to, "meta nfproto {} drop", family.nfproto)?;
            }
        }
        writeln!(
            to,
            "ct state vmap {{ established : accept, related : accept, invalid : drop }}"
        )?;
        for (digit, ip) in [("4", "ip"), ("6", "ip6")] {
            writeln!(
                to,
                "ct state new add @connections{digit} {{ {ip} saddr ct count over {most} }} drop"
            )?;
        }
        writeln!(to, "{SEGMENT_SIZE}")?;
        writeln!(to, "}}")?;
        // A service's address may be one of the internet, and be led to a pod since the first chain.
        writeln!(to, "chain led_elsewhere {{")?;
        for family in families.iter().filter(|family| !family.pools.is_empty()) {
            let (ip, open, closed) = (family.ip, set(&family.opened()), set(&family.closed()));
            writeln!(to, "ct original {ip} daddr != {open} {ip} daddr {closed} drop")?;
        }
        writeln!(to, "}}")
    }

    /// What reaches the node itself. The first chain has let nothing else pass; whoever flushes that leaves this one.
    fn local(&self, to: &mut String, families: &[Family; 2]) -> fmt::Result {
        let number = self.ifindex;
        writeln!(
            to,
            "chain input {{ type filter hook input priority 0; policy accept;"
        )?;
        writeln!(to, "iif != {number} accept")?;
        writeln!(to, "ct state {{ established, related }} accept")?;
        for family in families.iter().filter(|family| !family.own.is_empty()) {
            let (ip, own, echo) = (family.ip, set(&family.own), family.echo());
            writeln!(to, "{ip} daddr {own} {echo} accept")?;
            // It may be one of the node's own addresses, as that of a resolver for the node's pods.
            if let Some(resolver) = family.resolver {
                writeln!(to, "{ip} daddr {resolver} udp dport 53 ct status dnat accept")?;
                writeln!(to, "{ip} daddr {resolver} tcp dport 53 ct status dnat accept")?;
            }
        }
        writeln!(to, "drop")?;
        writeln!(to, "}}")
    }

    fn postrouting(&self, to: &mut String, families: &[Family; 2]) -> fmt::Result {
        let number = self.ifindex;
        writeln!(
            to,
            "chain postrouting {{ type nat hook postrouting priority 90; policy accept;"
        )?;
        for family in families.iter().filter(|family| !family.pools.is_empty()) {
            let (ip, pools) = (family.ip, set(&family.pools));
            let (first, last) = free(&self.ports());
            let (udp, other) = match family.source {
                Source::Any => (format!("masquerade to :{first}-{last}"), "masquerade".to_owned()),
                Source::Of(IpAddr::V6(address)) => (
                    format!("snat ip6 to [{address}]:{first}-{last}"),
                    format!("snat ip6 to {address}"),
                ),
                Source::Of(address) => (
                    format!("snat ip to {address}:{first}-{last}"),
                    format!("snat ip to {address}"),
                ),
                Source::Own | Source::Nothing => continue,
            };
            // Answers to the ports of WireGuard are for the gateway itself, whoever has asked from there.
            writeln!(to, "oif != {number} {ip} saddr {pools} meta l4proto udp {udp}")?;
            writeln!(to, "oif != {number} {ip} saddr {pools} {other}")?;
        }
        writeln!(to, "}}")?;
        self.errors(to, families)
    }

    /// An error about a packet that had the node's address by then, such as that a host is not there, comes from that.
    fn errors(&self, to: &mut String, families: &[Family; 2]) -> fmt::Result {
        let number = self.ifindex;
        writeln!(
            to,
            "chain errors {{ type filter hook postrouting priority 0; policy accept;"
        )?;
        for family in families.iter().filter(|family| !family.own.is_empty()) {
            let (ip, own) = (family.ip, set(&family.own));
            writeln!(
                to,
                "oif {number} meta l4proto {{ icmp, icmpv6 }} {ip} saddr != {own} fib saddr type local drop"
            )?;
        }
        writeln!(to, "}}")
    }
}

impl Family {
    /// Where a client may ask although it is not the internet: whatever that leads to is meant.
    fn opened(&self) -> Vec<IpNet> {
        let ranges = &self.destinations;
        let own: Vec<IpNet> = self.own.iter().copied().map(IpNet::from).collect();
        joined(
            &[&own[..], &ranges.named, &ranges.meant].concat(),
            self.ip == "ip",
        )
    }

    /// What is not the internet.
    fn closed(&self) -> Vec<IpNet> {
        let ranges = &self.destinations;
        let all = [&ranges.never[..], &self.pools, &ranges.cluster, &ranges.private].concat();
        joined(&all, self.ip == "ip")
    }

    /// What a client of this family sends.
    fn judge(&self, to: &mut String, digit: &str) -> fmt::Result {
        let (ip, own) = (self.ip, set(&self.own));
        writeln!(to, "chain from_tunnel{digit} {{")?;
        writeln!(to, "{ip} saddr != {} drop", set(&self.pools))?;
        writeln!(to, "{ip} saddr {own} drop")?;
        // Fragments have been put together by now, by whoever tracks connections.
        if self.ip == "ip" {
            writeln!(to, "ip hdrlength != 5 drop")?;
            writeln!(to, "ip protocol != {{ tcp, udp, icmp }} drop")?;
            writeln!(
                to,
                "icmp type != {{ echo-request, destination-unreachable, time-exceeded, parameter-problem }} drop"
            )?;
        } else {
            writeln!(to, "ip6 nexthdr != {{ tcp, udp, icmpv6 }} drop")?;
            writeln!(
                to,
                "icmpv6 type != {{ echo-request, destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} drop"
            )?;
        }
        writeln!(to, "udp dport {{ 67, 68, 546, 547 }} drop")?;
        writeln!(to, "{ip} daddr {own} goto to_gateway{digit}")?;
        // The node's own addresses, groups, and what it has no way to.
        writeln!(to, "fib daddr type != unicast drop")?;
        writeln!(to, "{ip} daddr vmap {{ {} }}", self.judged().join(", "))?;
        writeln!(to, "}}")?;
        writeln!(to, "chain to_gateway{digit} {{")?;
        writeln!(to, "meta l4proto {{ icmp, icmpv6 }} accept")?;
        if self.resolver.is_some() {
            writeln!(to, "udp dport 53 accept")?;
            writeln!(to, "tcp dport 53 accept")?;
        }
        writeln!(to, "drop")?;
        writeln!(to, "}}")
    }

    /// Where a client may go and where not, as elements of a map; the rest is the internet.
    fn judged(&self) -> Vec<String> {
        let judged = self.destinations.judged(&self.pools);
        let element = |judged: &Judged| {
            let verdict = if judged.is_open { "accept" } else { "drop" };
            let Judged { first, last, .. } = judged;
            // A range of one address is none to nft.
            if first == last {
                format!("{first} : {verdict}")
            } else {
                format!("{first}-{last} : {verdict}")
            }
        };
        judged.iter().map(element).collect()
    }

    /// A client's ping.
    fn echo(&self) -> &'static str {
        if self.ip == "ip" {
            "icmp type echo-request"
        } else {
            "icmpv6 type echo-request"
        }
    }
}

/// Nobody tells the kernel how large a packet to a client may be: it would remember that with the client's address for
/// ten minutes, IPv4 for longer than that (`net.ipv4.route.mtu_expires`), whatever becomes of the session. The error
/// has the head of our own packet after its own eight bytes: its protocol, and the port it came from.
fn sizes(to: &mut String, ports: &[u16]) -> fmt::Result {
    const UDP: u8 = 17;
    let ports = set(ports);
    for (error, protocol, source) in [
        (
            "icmp type destination-unreachable icmp code frag-needed",
            136,
            224,
        ),
        ("icmpv6 type packet-too-big", 112, 384),
    ] {
        writeln!(
            to,
            "{error} @th,{protocol},8 {UDP} @th,{source},16 {ports} fib daddr type local drop"
        )?;
    }
    Ok(())
}

/// The kernel answers for any of its addresses at any of its links: the gateway's own would show itself to neighbours.
fn arp(to: &mut String, name: &str, number: u32, own: &[IpAddr]) -> fmt::Result {
    writeln!(to, "table arp {name} {{")?;
    writeln!(
        to,
        "chain input {{ type filter hook input priority 0; policy accept;"
    )?;
    if !own.is_empty() {
        writeln!(to, "iif != {number} arp daddr ip {} drop", set(own))?;
    }
    writeln!(to, "}}")?;
    writeln!(to, "}}")
}

/// The most ports in a row above the well-known ones without any of these.
fn free(taken: &[u16]) -> (u16, u16) {
    let (mut best, mut first) = ((1, 1), 1_024);
    for port in taken.iter().copied().chain([u16::MAX]) {
        // The last port of all is never needed.
        if port > first && port - first > best.1 - best.0 {
            best = (first, port - 1);
        }
        first = first.max(port.saturating_add(1));
    }
    best
}

/// How long an idle connection is known, and where each client's are counted.
fn objects(to: &mut String) -> fmt::Result {
    for (family, l3) in [("4", "ip"), ("6", "ip6")] {
        writeln!(
            to,
            "ct timeout idle{family} {{ protocol tcp; l3proto {l3}; policy = {{ established : {IDLE} }} ; }}"
        )?;
        let kind = if l3 == "ip" { "ipv4_addr" } else { "ipv6_addr" };
        writeln!(
            to,
            "set connections{family} {{ type {kind}; size {CLIENTS}; flags dynamic; }}"
        )?;
    }
    Ok(())
}

/// What a client sends: whose it is, of which kind, and where it goes to.
fn from_tunnel(to: &mut String, families: &[Family; 2]) -> fmt::Result {
    let [v4, v6] = families.each_ref().map(|family| match family.pools[..] {
        [] => "drop",
        [..] if family.ip == "ip" => "goto from_tunnel4",
        [..] => "goto from_tunnel6",
    });
    writeln!(to, "chain from_tunnel {{")?;
    writeln!(to, "meta nfproto vmap {{ ipv4 : {v4}, ipv6 : {v6} }}")?;
    writeln!(to, "drop")?;
    writeln!(to, "}}")?;
    for (family, digit) in families.iter().zip(["4", "6"]) {
        if !family.pools.is_empty() {
            family.judge(to, digit)?;
        }
    }
    Ok(())
}

/// One of these: a set without a name, which one member does not need.
fn set(members: &[impl fmt::Display]) -> String {
    match members {
        [only] => only.to_string(),
        members => {
            let members: Vec<String> = members.iter().map(ToString::to_string).collect();
            format!("{{ {} }}", members.join(", "))
        }
    }
}
