//! A router between clients and the gateway, as between any client and any gateway: so what the gateway's kernel knows of
//! its neighbours is the router's, and who is seen there is no neighbour.
//!
//! ```text
//!  gateway                        router                          places
//!  up0  203.0.113.2 ───────────── down0  203.0.113.1              eth0, one address each
//!       198.51.100.1                     203.0.113.129 ────────── anything
//!       2001:db8:f::2 ─────────── 2001:db8:f::1  fe80::1 ──────── anything
//! ```
//!
//! The gateway's other way to clients, the bridge, loses its address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::{Bed, Namespace, bed::GATEWAY, netns};

/// The gateway's address for clients with IPv6.
pub const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2);

/// The router's own address, for whoever comes through the gateway.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The gateway's link to it.
pub const UPLINK: &str = "up0";

/// Between the two.
const WIRE: [(&str, &str); 2] = [
    ("203.0.113.2/24", "203.0.113.1/24"),
    ("2001:db8:f::2/64", "2001:db8:f::1/64"),
];

/// The router's address at each place.
const NEAR: &str = "203.0.113.129";
const NEAR_IPV6: &str = "fe80::1";

/// The router.
#[derive(Debug)]
pub struct Router {
    /// Where it is.
    pub namespace: Namespace,
}

impl Router {
    /// Puts one in front of a gateway whose agent does not run yet.
    pub fn new(bed: &Bed) -> Result<Self> {
        let (gateway, namespace) = (&bed.gateway, Namespace::new("router")?);
        gateway.ip(&["addr", "flush", "dev", "br0"])?;
        netns::wire((gateway, UPLINK), (&namespace, "down0"))?;
        for (up, down) in WIRE {
            gateway.address(UPLINK, up)?;
            namespace.address("down0", down)?;
        }
        gateway.address(UPLINK, &format!("{GATEWAY}/32"))?;
        gateway.ip(&["route", "add", "default", "via", &ROUTER.to_string()])?;
        gateway.ip(&["-6", "route", "add", "default", "via", "2001:db8:f::1"])?;
        let to_gateway = format!("{GATEWAY}/32");
        namespace.ip(&["route", "add", &to_gateway, "via", "203.0.113.2"])?;
        forward(&namespace)?;
        Ok(Self { namespace })
    }

    /// A place with this address. What is larger than `mtu` on the way there does not pass, and the router says so.
    pub fn place(&self, name: &str, address: IpAddr, mtu: Option<u16>) -> Result<Namespace> {
        let place = Namespace::new(name)?;
        netns::wire((&place, "eth0"), (&self.namespace, name))?;
        self.namespace.ip(&["addr", "add", NEAR, "dev", name])?;
        let near = format!("{NEAR_IPV6}/64");
        self.namespace.ip(&["addr", "add", &near, "dev", name, "nodad"])?;
        self.admit(&place, address, mtu)?;
        if address.is_ipv4() {
            place.ip(&["route", "add", NEAR, "dev", "eth0"])?;
            place.ip(&["route", "add", "default", "via", NEAR])?;
        } else {
            place.ip(&["-6", "route", "add", "default", "via", NEAR_IPV6, "dev", "eth0"])?;
        }
        Ok(place)
    }

    /// Gives a place an address.
    pub fn admit(&self, place: &Namespace, address: IpAddr, mtu: Option<u16>) -> Result<()> {
        place.address("eth0", &address.to_string())?;
        let (to, mtu) = (address.to_string(), mtu.map(|mtu| mtu.to_string()));
        let mut words = vec![family(address), "route", "add", &to, "dev", place.name()];
        if let Some(mtu) = &mtu {
            // Otherwise a router's own link decides.
            words.extend(["mtu", "lock", mtu]);
        }
        self.namespace.ip(&words).map(drop)
    }

    /// How often it has said that something did not get through, in IPv4, and that it was too large, in IPv6.
    pub fn complaints(&self) -> Result<[u64; 2]> {
        let table = self.namespace.run(&["cat", "/proc/net/snmp"])?;
        let mut icmp = table.lines().filter_map(|line| line.strip_prefix("Icmp: "));
        let names = icmp.next().unwrap_or_default().split_ascii_whitespace();
        let mut counted = names.zip(icmp.next().unwrap_or_default().split_ascii_whitespace());
        let ipv4 = counted.find(|(name, _)| *name == "OutDestUnreachs");
        let table = self.namespace.run(&["cat", "/proc/net/snmp6"])?;
        let mut lines = table
            .lines()
            .filter_map(|line| line.split_once(char::is_whitespace));
        let ipv6 = lines.find(|(name, _)| *name == "Icmp6OutPktTooBigs");
        let number = |found: Option<(&str, &str)>| -> Result<u64> {
            let (_, count) = found.context("the kernel counts no such thing")?;
            Ok(count.trim().parse()?)
        };
        Ok([number(ipv4)?, number(ipv6)?])
    }

    /// Takes an address away from a place, without a word to anybody.
    pub fn dismiss(&self, place: &Namespace, address: IpAddr) -> Result<()> {
        let family = family(address);
        let text = address.to_string();
        self.namespace.ip(&[family, "route", "del", &text])?;
        place.ip(&[family, "addr", "del", &text, "dev", "eth0"]).map(drop)
    }
}

/// Has a namespace forward, in both families.
pub fn forward(namespace: &Namespace) -> Result<()> {
    let script = "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding";
    namespace.run(&["sh", "-c", script]).map(drop)
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}
