//! What is around a gateway node: the internet, and everything else that its clients must not reach.
//!
//! ```text
//!                       gateway                               what is there
//!  clients ─────── br0  cv0  up0 203.0.113.2 ────── internet  a router, and hosts at its own addresses
//!                        │    2001:db8:f00d::2         └───── far  hosts one hop behind it
//!  apiserver ───── eth0  └─ lan0 10.244.1.1 … ───── cluster   pods, other nodes, a LAN, metadata services
//! ```
//!
//! Services are what kube-proxy makes of them: destinations that are rewritten before the node routes. On the node itself
//! daemons listen at every address. Whatever has an address here answers at it, so a probe that is not answered was kept
//! away from it: [`Surroundings::reached`] tells which were not, by answers, by what listeners heard, and by what the
//! links have carried.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    Namespace,
    listen::Listeners,
    netns,
    packet::Read,
    probe::{self, Answer, Kind, Probe, Sent},
    wait,
    wire::Wire,
};

/// How long an answer is waited for that is not to come. All are awaited at once.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How long an answer is waited for that is to come.
const LONG: Duration = Duration::from_secs(10);

/// After the last answer, for what is still on its way.
const SETTLED: Duration = Duration::from_millis(200);

/// The node's addresses on its uplink.
pub const UPLINK: [&str; 2] = ["203.0.113.2", "2001:db8:f00d::2"];

/// The router there.
pub const ROUTER: [&str; 2] = ["203.0.113.1", "2001:db8:f00d::1"];

/// Hosts of the internet: at the router, and one hop behind it.
pub const NEAR: [&str; 2] = ["203.0.113.80", "2001:db8:f00d:80::80"];
/// The others.
pub const FAR: [&str; 2] = ["203.0.113.129", "2001:db8:f00d:129::9"];

/// A pod on this node and another on the other node.
pub const POD: [&str; 2] = ["10.244.1.5", "fd00:10:244:1::5"];
/// The other one.
pub const OTHER_POD: [&str; 2] = ["10.244.2.7", "fd00:10:244:2::7"];

/// The other node.
pub const OTHER_NODE: [&str; 2] = ["192.0.2.3", "2001:db8:17::3"];

/// Services: the API's and the cluster's resolver's.
pub const API_SERVICE: [&str; 2] = ["10.96.0.1", "fd00:10:96::1"];
/// The resolver's.
pub const DNS_SERVICE: [&str; 2] = ["10.96.0.10", "fd00:10:96::a"];

/// A service that has an address of the internet as well, where a load balancer would bring it to this node.
pub const PUBLIC_SERVICE: [&str; 2] = ["203.0.113.14", "2001:db8:f00d::14"];

/// Hosts that are nobody's business: of the LAN, of the provider, of a VPN.
pub const PRIVATE: [(&str, &str); 6] = [
    ("host of the LAN", "192.168.7.9"),
    ("host of a private range", "172.16.7.9"),
    ("host of another private range", "10.20.0.9"),
    ("host of the provider's range", "100.64.7.9"),
    ("host of a private IPv6 range", "fd12:3456:789a::9"),
    ("host of a site's IPv6 range", "fec0:0:0:7::9"),
];

/// Metadata services of clouds.
pub const METADATA: [(&str, &str); 5] = [
    ("metadata service", "169.254.169.254"),
    ("metadata service of containers", "169.254.170.2"),
    ("metadata service's agent", "168.63.129.16"),
    ("metadata service of a further cloud", "100.100.100.200"),
    ("metadata service by IPv6", "fd00:ec2::254"),
];

/// The ranges of all pods, and of all services.
pub const PODS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];
/// Those of services.
pub const SERVICES: [&str; 2] = ["10.96.0.0/12", "fd00:10:96::/108"];

/// The node's own addresses but the tunnel's.
pub const NODE: [&str; 9] = [
    "192.0.2.2",
    "198.51.100.1",
    "203.0.113.2",
    "10.244.1.1",
    "192.168.7.2",
    "169.254.20.10",
    "2001:db8:f00d::2",
    "2001:db8:17::2",
    "fd00:10:244:1::1",
];

/// What daemons of the node listen on: ssh, DNS, a metrics exporter, the kubelet.
pub const DAEMONS: [Kind; 6] = [
    Kind::Tcp(22),
    Kind::Tcp(53),
    Kind::Udp(53),
    Kind::Tcp(9100),
    Kind::Tcp(10250),
    Kind::Udp(10250),
];

/// The port of every node that leads to a pod.
pub const NODE_PORT: u16 = 30080;

/// Where whoever has an address listens.
const OPEN: [Kind; 6] = [
    Kind::Tcp(53),
    Kind::Udp(53),
    Kind::Tcp(80),
    Kind::Udp(80),
    Kind::Tcp(6443),
    Kind::Echo,
];

/// What kube-proxy writes, for one rule each of IPv4 and IPv6.
const KUBE_PROXY: &str = "
table inet kube-proxy
delete table inet kube-proxy
table inet kube-proxy {
    chain services {
        ip daddr 10.96.0.1 tcp dport 443 dnat ip to 192.0.2.3:6443
        ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.244.1.5:53
        ip daddr 10.96.0.10 tcp dport 53 dnat ip to 10.244.1.5:53
        ip6 daddr fd00:10:96::1 tcp dport 443 dnat ip6 to [2001:db8:17::3]:6443
        ip6 daddr fd00:10:96::a udp dport 53 dnat ip6 to [fd00:10:244:1::5]:53
        ip6 daddr fd00:10:96::a tcp dport 53 dnat ip6 to [fd00:10:244:1::5]:53
        ip daddr 203.0.113.14 tcp dport 80 dnat ip to 10.244.1.5:80
        ip6 daddr 2001:db8:f00d::14 tcp dport 80 dnat ip6 to [fd00:10:244:1::5]:80
        meta nfproto ipv4 fib daddr type local tcp dport 30080 dnat ip to 10.244.1.5:80
        meta nfproto ipv6 fib daddr type local tcp dport 30080 dnat ip6 to [fd00:10:244:1::5]:80
    }
    chain prerouting { type nat hook prerouting priority -100; jump services; }
    chain output { type nat hook output priority -100; jump services; }
}";

/// Everything around one gateway node.
#[derive(Debug)]
pub struct Surroundings {
    /// The router and hosts of the internet.
    pub internet: Namespace,

    /// Hosts behind it.
    pub far: Namespace,

    /// Everything that is not the internet.
    pub cluster: Namespace,

    listeners: Vec<Listeners>,
}

impl Surroundings {
    /// Builds them around a gateway node that has neither an uplink nor a table yet.
    pub fn around(gateway: &Namespace) -> Result<Self> {
        let internet = Namespace::new("internet")?;
        let far = Namespace::new("far")?;
        let cluster = Namespace::new("cluster")?;
        netns::wire((gateway, "up0"), (&internet, "eth0"))?;
        netns::wire((&internet, "eth1"), (&far, "eth0"))?;
        netns::wire((gateway, "lan0"), (&cluster, "eth0"))?;
        for namespace in [gateway, &internet] {
            forward(namespace)?;
        }
        Self::lay_internet(gateway, &internet, &far)?;
        Self::lay_cluster(gateway, &cluster)?;
        let mut around = Self {
            internet,
            far,
            cluster,
            listeners: Vec::new(),
        };
        around.serve_services(gateway)?;
        around.listen(gateway)?;
        Ok(around)
    }

    fn lay_internet(gateway: &Namespace, internet: &Namespace, far: &Namespace) -> Result<()> {
        for (address, router) in UPLINK.iter().zip(ROUTER) {
            let length = if address.contains(':') { 64 } else { 28 };
            gateway.address("up0", &format!("{address}/{length}"))?;
            internet.address("eth0", &format!("{router}/{length}"))?;
            gateway.ip(&["route", "add", "default", "via", router])?;
        }
        for address in NEAR {
            internet.address("lo", address)?;
        }
        for (router, host, net) in [
            ("203.0.113.130/25", format!("{}/25", FAR[0]), "0.0.0.0/0"),
            ("2001:db8:f00d:129::1/64", format!("{}/64", FAR[1]), "::/0"),
        ] {
            internet.address("eth1", router)?;
            far.address("eth0", &host)?;
            let (via, _) = router.split_once('/').unwrap_or((router, ""));
            far.ip(&["route", "add", net, "via", via])?;
        }
        Ok(())
    }

    fn lay_cluster(gateway: &Namespace, cluster: &Namespace) -> Result<()> {
        for address in [
            "10.244.1.1/24",
            "192.168.7.2/24",
            "fd00:10:244:1::1/64",
            "2001:db8:17::2/64",
        ] {
            gateway.address("lan0", address)?;
        }
        // A resolver of the node, at an address of its own.
        gateway.ip(&["link", "add", "nodelocaldns", "type", "dummy"])?;
        gateway.address("nodelocaldns", "169.254.20.10/32")?;
        cluster.address("eth0", "10.244.1.5/24")?;
        cluster.address("eth0", "fd00:10:244:1::5/64")?;
        for via in ["10.244.1.1", "fd00:10:244:1::1"] {
            cluster.ip(&["route", "add", "default", "via", via])?;
        }
        for address in Self::elsewhere() {
            if !POD.contains(&address) {
                cluster.address("lo", address)?;
                let via = POD[usize::from(address.contains(':'))];
                gateway.ip(&["route", "add", address, "via", via])?;
            }
        }
        Ok(())
    }

    /// Who is in the cluster's namespace.
    fn elsewhere() -> Vec<&'static str> {
        let lists = [POD, OTHER_POD, OTHER_NODE].concat();
        let named = PRIVATE.iter().chain(&METADATA).map(|(_, address)| *address);
        lists.into_iter().chain(named).collect()
    }

    /// Does what kube-proxy does, also after somebody has flushed it.
    pub fn serve_services(&self, gateway: &Namespace) -> Result<()> {
        gateway.run(&["nft", KUBE_PROXY]).map(drop)
    }

    fn listen(&mut self, gateway: &Namespace) -> Result<()> {
        let everywhere = |addresses: &[&str]| -> Result<Vec<(IpAddr, Kind)>> {
            let mut places = Vec::new();
            for address in addresses {
                let address: IpAddr = address.parse()?;
                places.extend(OPEN.map(|kind| (address, kind)));
            }
            Ok(places)
        };
        // At `::`, which takes both families.
        let daemons = DAEMONS.map(|kind| (Ipv6Addr::UNSPECIFIED.into(), kind));
        for (namespace, places) in [
            (&self.internet, everywhere(&NEAR)?),
            (&self.far, everywhere(&FAR)?),
            (&self.cluster, everywhere(&Self::elsewhere())?),
            (gateway, daemons.to_vec()),
        ] {
            self.listeners.push(Listeners::start(namespace, &places)?);
        }
        Ok(())
    }

    /// Sends probes that nobody is to get, and gives those that somebody got: with an answer, heard by a listener, or
    /// on a link behind the node.
    pub async fn reached(&self, from: &Namespace, probes: &[Probe]) -> Result<Vec<String>> {
        let wires = self.wires()?;
        let sent = probe::send(from, probes, PATIENCE)?;
        let mut reached: Vec<String> = sent
            .iter()
            .filter(|sent| sent.answer != Answer::Nothing || self.heard(sent))
            .map(|sent| sent.probe.to_string())
            .collect();
        wait::pass(SETTLED).await;
        reached.extend(seen(&wires)?);
        Ok(reached)
    }

    /// Sends probes that are to be answered, and fails when one is not.
    pub async fn answered(&self, from: &Namespace, probes: &[Probe]) -> Result<()> {
        let sent = probe::send(from, probes, LONG)?;
        let missing: Vec<String> = sent
            .iter()
            // A daemon that listens at every address answers a datagram from another one than it came to.
            .filter(|sent| sent.answer != Answer::Yes && !self.heard(sent))
            .map(|sent| sent.probe.to_string())
            .collect();
        ensure!(
            missing.is_empty(),
            "{} of {} probes from {} are not answered:\n{}",
            missing.len(),
            probes.len(),
            from.name(),
            missing.join("\n")
        );
        wait::pass(SETTLED).await;
        Ok(())
    }

    fn heard(&self, sent: &Sent) -> bool {
        self.listeners
            .iter()
            .any(|listeners| listeners.heard(&sent.token))
    }

    /// A look at all links but the node's own.
    pub fn wires(&self) -> Result<Vec<(&'static str, Wire)>> {
        [
            ("internet", &self.internet),
            ("far", &self.far),
            ("cluster", &self.cluster),
        ]
        .into_iter()
        .map(|(name, namespace)| Ok((name, Wire::tap(namespace)?)))
        .collect()
    }
}

/// What has come to those links since the last time, for people.
pub fn seen(wires: &[(&'static str, Wire)]) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    for (name, wire) in wires {
        for packet in wire.packets()? {
            let read = Read::packet(&packet);
            seen.push(read.map_or_else(
                || format!("on a link of {name}: {} bytes that are no packet", packet.len()),
                |read| {
                    format!(
                        "on a link of {name}: {} to {}, protocol {}",
                        read.from, read.to, read.protocol
                    )
                },
            ));
        }
    }
    seen.sort_unstable();
    seen.dedup();
    Ok(seen)
}

/// Forwards both families, as a gateway node must.
fn forward(namespace: &Namespace) -> Result<()> {
    let script = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding";
    namespace.run(&["sh", "-c", script]).map(drop)
}
