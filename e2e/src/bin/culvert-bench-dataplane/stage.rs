//! Where it is measured: a client and a server in namespaces of their own, and the gateway in this one, where the agent's
//! code writes its tables.

use std::{collections::HashMap, fs, process::Command, time::Duration};

use anyhow::{Context, Result};
use culvert_crds::gateway::KeyStorage;
use culvert_e2e::{
    Namespace, Scratch,
    figure::{Figures, median, quantile},
    netns,
};
use culvert_node_agent::{
    assignment::Assignment,
    egress::Egress,
    firewall::{Firewall as _, NFT, Nft, Source, Table, rules},
    interface::Mark,
};

/// The gateway's uid.
const GATEWAY: &str = "2f0a54a2-9d0b-4b6f-8a9e-3d1f5f0c7a11";

/// Its interface, with the ranges of the example.
pub const INTERFACE: &str = "cv0";
const RANGES: [&str; 2] = ["10.64.0.0/11", "fd64:cafe:1::/64"];

/// Where the client is in the tunnel. It has all of this range.
pub const CLIENT_RANGE: &str = "10.65.0.0/16";

/// Where the server is.
pub const SERVER: &str = "203.0.113.80";

/// How often each is measured, with the table and without.
pub const TURNS: usize = 21;

/// Where clients go in most clusters: pods, services, and a few nodes.
const CLUSTER: [&str; 6] = [
    "10.244.0.0/16",
    "10.96.0.0/12",
    "192.0.2.0/28",
    "fd00:10:244::/56",
    "fd00:10:96::/112",
    "2001:db8:17::/64",
];

/// A client, the gateway, a server.
pub struct Stage {
    pub client: Namespace,
    pub server: Namespace,
    pub folder: Scratch,
    nft: Nft,
}

impl Stage {
    /// Lays the wires, and the tunnel over one of them.
    pub fn new() -> Result<Self> {
        let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
        let folder = Scratch::new("culvert-bench-")?;
        for (namespace, link, here, there) in [
            (&client, "c0", "198.51.100.1/24", "198.51.100.77/24"),
            (&server, "s0", "203.0.113.1/24", "203.0.113.80/24"),
        ] {
            namespace.ip(&[
                "link", "add", "eth0", "type", "veth", "peer", "name", link, "netns", "1",
            ])?;
            namespace.address("eth0", there)?;
            ip(&["addr", "add", here, "dev", link])?;
            ip(&["link", "set", link, "up"])?;
        }
        // So that answers find their way where nothing is translated.
        server.ip(&["route", "add", RANGES[0], "via", "203.0.113.1"])?;
        for setting in [
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/net/ipv6/conf/all/forwarding",
        ] {
            fs::write(setting, "1").with_context(|| format!("failed to write {setting}"))?;
        }
        let stage = Self {
            client,
            server,
            folder,
            nft: Nft::new(NFT),
        };
        stage.lay_tunnel()?;
        Ok(stage)
    }

    fn lay_tunnel(&self) -> Result<()> {
        let key = |name: &str| -> Result<(String, String)> {
            let file = self.folder.path().join(name).display().to_string();
            netns::run(Command::new("sh").args(["-c", &format!("umask 077; wg genkey >{file}")]))?;
            let public = netns::run(Command::new("sh").args(["-c", &format!("wg pubkey <{file}")]))?;
            Ok((file, public.trim().to_owned()))
        };
        let (gateway, client) = (key("gateway")?, key("client")?);
        ip(&["link", "add", INTERFACE, "type", "wireguard"])?;
        let mine = [
            "set",
            INTERFACE,
            "private-key",
            &gateway.0,
            "listen-port",
            "51820",
        ];
        let peer = ["peer", &client.1, "allowed-ips", CLIENT_RANGE];
        netns::run(Command::new("wg").args(mine).args(peer))?;
        ip(&["addr", "add", "10.64.0.1/11", "dev", INTERFACE])?;
        ip(&["addr", "add", "fd64:cafe:1::1/64", "dev", INTERFACE, "nodad"])?;
        ip(&["link", "set", INTERFACE, "up"])?;

        let here = &self.client;
        here.ip(&["link", "add", "wg0", "type", "wireguard"])?;
        let mine = ["wg", "set", "wg0", "private-key", &client.0];
        let peer = [
            "peer",
            &gateway.1,
            "endpoint",
            "198.51.100.1:51820",
            "allowed-ips",
            "0.0.0.0/0",
        ];
        here.run(&[&mine[..], &peer].concat())?;
        here.address("wg0", "10.65.0.1/32")?;
        // Any address of its range may be bound to.
        here.ip(&["route", "add", "local", CLIENT_RANGE, "dev", "lo"])?;
        here.ip(&["route", "add", "203.0.113.0/24", "dev", "wg0", "src", "10.65.0.1"])?;
        here.run(&["ping", "-c1", "-W5", SERVER]).map(drop)
    }

    /// Puts the agent's table in place.
    pub async fn with_table(&mut self) -> Result<()> {
        let script = script(&CLUSTER.map(str::to_owned))?;
        self.apply(&script).await
    }

    /// Takes it away.
    pub async fn without_table(&mut self) -> Result<()> {
        self.apply(&rules::deletion(GATEWAY)).await
    }

    /// Carries a script out as the agent does.
    pub async fn apply(&mut self, script: &str) -> Result<()> {
        self.nft.apply(script).await.context("failed to write the table")
    }

    /// Measures with the table and without, in turns. The two of a turn follow each other at once, so that what else the
    /// machine does meets both; the ratio is the middle one of the turns'.
    pub async fn in_turns(&mut self, what: &str, measure: impl Fn(&Self) -> Result<f64>) -> Result<Compared> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for turn in 1..=TURNS {
            // Who goes first changes: what a turn leaves behind is no part of the difference.
            for is_with in [turn % 2 == 0, turn % 2 != 0] {
                if is_with {
                    self.with_table().await?;
                } else {
                    self.without_table().await?;
                }
                // Nor are the connections of the turns before, which would fill the kernel's table of them.
                netns::run(Command::new("conntrack").arg("--flush"))?;
                let figure = measure(self)?;
                if is_with { &mut with } else { &mut without }.push(figure);
            }
            eprintln!(
                "{what}: turn {turn} of {TURNS}: with {:?}, without {:?}",
                with.last(),
                without.last()
            );
        }
        self.without_table().await?;
        let ratios: Vec<f64> = with
            .iter()
            .zip(&without)
            .map(|(with, without)| with / without)
            .collect();
        Ok(Compared {
            lowest: quantile(ratios.clone(), 0.25),
            highest: quantile(ratios.clone(), 0.75),
            ratio: median(ratios),
            with: median(with),
            without: median(without),
        })
    }
}

/// What was measured in turns: the middle ones.
pub struct Compared {
    pub with: f64,
    pub without: f64,
    /// With the table / without.
    pub ratio: f64,
    /// Between which half of the turns' ratios lie.
    pub lowest: f64,
    pub highest: f64,
}

impl Compared {
    /// Adds the figures of one thing.
    pub fn tell(&self, figures: &mut Figures, name: &str, rest: &str, unit: &str, goal: &str) {
        figures.add(&format!("{name}, without a table{rest}"), self.without, unit, "");
        figures.add(&format!("{name}, with the table{rest}"), self.with, unit, "");
        figures.add(
            &format!("{name}, with / without{rest}"),
            self.ratio,
            "ratio",
            goal,
        );
        figures.add(
            &format!("{name}, with / without, first quarter{rest}"),
            self.lowest,
            "ratio",
            "",
        );
        figures.add(
            &format!("{name}, with / without, last quarter{rest}"),
            self.highest,
            "ratio",
            "",
        );
    }
}

/// The agent's script for the gateway, in a cluster with these ranges.
pub fn script(cluster: &[String]) -> Result<String> {
    let nets = |texts: &[String]| {
        texts
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<_>, _>>()
    };
    let assignment = Assignment {
        name: "default.bench".to_owned(),
        generation: 1,
        mark: Mark {
            gateway: GATEWAY.to_owned(),
            window: Duration::from_secs(180),
        },
        interface: INTERFACE.to_owned(),
        listen_port: 51_820,
        mtu: 1_420,
        key_storage: KeyStorage::Memory,
        ranges: HashMap::from([("default".to_owned(), nets(&RANGES.map(str::to_owned))?)]),
        absent: Vec::new(),
        excluded: Vec::new(),
        egress: Egress {
            cluster: nets(cluster)?,
            ..Egress::default()
        },
        endpoint_host: None,
        purge_generation: 0,
        purged_generation: 0,
        nodes: 1,
    };
    let index = fs::read_to_string(format!("/sys/class/net/{INTERFACE}/ifindex")).context("no interface")?;
    let table = Table {
        assignment: &assignment,
        ifindex: index.trim().parse().context("an interface has a number")?,
        port: Some(assignment.listen_port),
        sources: [Source::Any, Source::Any],
    };
    Ok(table.script())
}

/// `ip` on the gateway.
fn ip(words: &[&str]) -> Result<String> {
    netns::run(Command::new("ip").args(words))
}
