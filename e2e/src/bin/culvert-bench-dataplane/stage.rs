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

/// How often each is measured.
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
        self.apply(&deletions()).await
    }

    /// Carries a script out as the agent does.
    pub async fn apply(&mut self, script: &str) -> Result<()> {
        self.nft.apply(script).await.context("failed to write the table")
    }

    /// Measures under each of the three, in turns. Those of a turn follow each other at once, so that what else the machine
    /// does meets all; a ratio is the middle one of the turns'.
    pub async fn in_turns(&mut self, what: &str, measure: impl Fn(&Self) -> Result<f64>) -> Result<Compared> {
        let mut compared = Compared::default();
        for turn in 0..TURNS {
            // Who goes first changes: what a turn leaves behind is no part of the difference.
            let mut order = [Rules::None, Rules::Translation, Rules::Table];
            let first = turn % order.len();
            order.rotate_left(first);
            for rules in order {
                self.apply(&deletions()).await?;
                match rules {
                    Rules::None => {}
                    Rules::Translation => self.apply(&translation()).await?,
                    Rules::Table => self.with_table().await?,
                }
                // Nor are the connections of the turns before, which would fill the kernel's table of them.
                netns::run(Command::new("conntrack").arg("--flush"))?;
                let figure = measure(self)?;
                compared.of(rules).push(figure);
            }
            eprintln!("{what}: turn {} of {TURNS}: {}", turn + 1, compared.last());
        }
        self.apply(&deletions()).await?;
        Ok(compared)
    }
}

/// What the packets pass.
#[derive(Clone, Copy)]
enum Rules {
    /// Nothing: they are neither tracked nor translated.
    None,
    /// What no gateway to the internet can do without, and nothing else.
    Translation,
    /// The agent's table.
    Table,
}

/// What was measured in turns.
#[derive(Default)]
pub struct Compared {
    none: Vec<f64>,
    translation: Vec<f64>,
    table: Vec<f64>,
}

impl Compared {
    fn of(&mut self, rules: Rules) -> &mut Vec<f64> {
        match rules {
            Rules::None => &mut self.none,
            Rules::Translation => &mut self.translation,
            Rules::Table => &mut self.table,
        }
    }

    fn last(&self) -> String {
        format!(
            "nothing {:?}, translation {:?}, table {:?}",
            self.none.last(),
            self.translation.last(),
            self.table.last()
        )
    }

    /// Adds the figures of one thing.
    pub fn tell(&self, figures: &mut Figures, name: &str, unit: &str) {
        figures.add(&format!("{name}, no table"), median(self.none.clone()), unit, "");
        let one = |figures: &mut Figures, what: &str, over: &[f64], under: &[f64], goal: &str| {
            let ratios: Vec<f64> = over.iter().zip(under).map(|(over, under)| over / under).collect();
            let (low, high) = (quantile(ratios.clone(), 0.25), quantile(ratios.clone(), 0.75));
            let name = format!("{name}, {what} (half of the turns: {low:.2} to {high:.2})");
            figures.add(&name, median(ratios), "ratio", goal);
        };
        one(
            figures,
            "the table / no table",
            &self.table,
            &self.none,
            ">= 0.95",
        );
        one(
            figures,
            "translation alone / no table",
            &self.translation,
            &self.none,
            "",
        );
        one(
            figures,
            "the table / translation alone",
            &self.table,
            &self.translation,
            ">= 0.95",
        );
    }
}

/// Masquerade, as a line.
fn translation() -> String {
    format!(
        "table inet bench {{\nchain postrouting {{ type nat hook postrouting priority 100; policy accept;\nip saddr {} oif != {INTERFACE} masquerade\n}}\n}}\n",
        RANGES[0]
    )
}

/// Takes away whatever there is.
fn deletions() -> String {
    format!(
        "{}add table inet bench\ndelete table inet bench\n",
        rules::deletion(GATEWAY)
    )
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
