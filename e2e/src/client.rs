//! A client: a network namespace with an outer address, a key pair made there, and plain `wg`.

use std::{
    fs,
    io::Write,
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    Bed, Namespace, Program, Scratch,
    bed::{INTERFACE, OUTSIDE, outer},
    leaks::Canary,
    netns,
};

/// The port that clients send from: unmistakable in a log.
pub const PORT: u16 = 47077;

/// Mark and table of a client that sends everything into the tunnel.
const FULL_TUNNEL: &str = "51820";

/// Longer than any series of pings is still under way when its test waits for it.
const PINGS_END: Duration = Duration::from_hours(2);

/// A pool as a client sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name in the API.
    pub name: &'static str,

    /// What a client routes into the tunnel, one range of each family.
    pub ranges: [&'static str; 2],

    /// The gateway's own addresses in those ranges.
    pub inside: [&'static str; 2],
}

/// The pool of `examples/pool.yaml`.
pub const DEFAULT_POOL: Pool = Pool {
    name: "default",
    ranges: ["10.64.0.0/11", "fd64:cafe:1::/64"],
    inside: GATEWAY_INSIDE,
};

/// Another one, for tests with two.
pub const SECOND_POOL: Pool = Pool {
    name: "second",
    ranges: ["10.128.0.0/11", "fd64:cafe:2::/64"],
    inside: ["10.128.0.1", "fd64:cafe:2::1"],
};

/// The gateway's own addresses in the ranges of `examples/pool.yaml`.
pub const GATEWAY_INSIDE: [&str; 2] = ["10.64.0.1", "fd64:cafe:1::1"];

impl Pool {
    /// The object.
    pub fn manifest(&self) -> String {
        json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "IPPool",
            "metadata": { "name": self.name },
            "spec": { "ipv4": { "cidr": self.ranges[0] }, "ipv6": { "cidr": self.ranges[1] } },
        })
        .to_string()
    }
}

/// Pings that run beside the test.
pub struct Pinging {
    program: Program,
    count: u32,
    _folder: Scratch,
}

impl Pinging {
    /// Begins to ping a place from another one.
    pub fn start(from: &Namespace, target: &str, interval: &str, count: u32) -> Result<Self> {
        let mut ping = from.command("ping");
        let words = ["-q", "-i", interval, "-c", &count.to_string(), "-W", "5", target];
        ping.args(words);
        let folder = Scratch::new("culvert-ping-")?;
        let program = Program::start("ping", &ping, folder.path())?;
        Ok(Self {
            program,
            count,
            _folder: folder,
        })
    }

    /// Fails when the last ping has been sent already.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.program.ensure_running()
    }

    /// Waits for the end, and says how many were answered.
    pub async fn answered(mut self) -> Result<u32> {
        self.program.wait(PINGS_END).await?;
        let report = self.program.output()?;
        let count = report
            .split_once(" received")
            .and_then(|(before, _)| before.rsplit(' ').next());
        count
            .and_then(|count| count.parse().ok())
            .with_context(|| format!("ping says: {}", report.trim_end()))
    }

    /// Waits for the end, and fails when a single one was lost.
    pub async fn lost_none(mut self) -> Result<()> {
        let status = self.program.wait(PINGS_END).await?;
        let report = self.program.output()?;
        let all = format!("{} received, 0% packet loss", self.count);
        ensure!(
            status == 0 && report.contains(&all),
            "pings were lost: {}",
            report.trim_end()
        );
        Ok(())
    }
}

/// A client of the gateway.
pub struct Client {
    /// The name of its key in the API.
    pub name: String,

    /// Where it lives.
    pub namespace: Namespace,

    /// Its public key, base64.
    pub public_key: String,

    /// Its tunnel addresses, once it has been told.
    pub addresses: Vec<IpAddr>,

    /// The pool of its key, [`DEFAULT_POOL`] unless somebody says otherwise before it registers.
    pub pool: &'static Pool,

    outer: IpAddr,
    folder: Scratch,
}

impl Client {
    /// A client behind the outer address number `n`, with a key pair of its own.
    pub fn new(bed: &Bed, name: &str, n: u16) -> Result<Self> {
        let namespace = Namespace::new(name)?;
        let far = format!("c{n}");
        netns::wire((&namespace, "eth0"), (&bed.gateway, &far))?;
        bed.gateway.ip(&["link", "set", &far, "master", "br0"])?;
        let outer = outer(n);
        namespace.address("eth0", &format!("{outer}/{OUTSIDE}"))?;
        Self::placed(bed, name, namespace, outer)
    }

    /// A client with a key pair of its own, in a place that has this address already.
    pub fn placed(bed: &Bed, name: &str, namespace: Namespace, outer: IpAddr) -> Result<Self> {
        let folder = Scratch::new("culvert-client-")?;
        let private_key = netns::run(Command::new("wg").arg("genkey"))?;
        let file = folder.path().join("private");
        let mut open = fs::OpenOptions::new();
        open.write(true).create_new(true).mode(0o600);
        open.open(&file)?
            .write_all(private_key.as_bytes())
            .context("failed to write a private key")?;
        let public_key = netns::run(
            Command::new("wg")
                .arg("pubkey")
                .stdin(Stdio::from(fs::File::open(&file)?)),
        )?;
        bed.secret(Canary::private_key(
            &format!("the private key of {name}"),
            private_key.trim(),
        )?);
        bed.secret(Canary::public_key(
            &format!("the public key of {name}"),
            public_key.trim(),
        )?);
        let client = Self {
            name: name.to_owned(),
            namespace,
            public_key: public_key.trim().to_owned(),
            addresses: Vec::new(),
            pool: &DEFAULT_POOL,
            outer,
            folder,
        };
        bed.secret(client.place(&format!("the outer address of {name}")));
        Ok(client)
    }

    /// Where it is, as something that nobody may write down.
    fn place(&self, name: &str) -> Canary {
        Canary::outer(name, SocketAddr::new(self.outer, PORT))
    }

    /// The object that the client's user applies: the public key and nothing else.
    pub fn manifest(&self) -> String {
        json!({
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "WireGuardKey",
            "metadata": { "name": self.name },
            "spec": { "publicKey": self.public_key, "poolRef": { "name": self.pool.name } },
        })
        .to_string()
    }

    /// Applies the public key, waits until it is Ready and reads the addresses.
    pub async fn register(&mut self, bed: &Bed) -> Result<()> {
        bed.apply(&self.manifest()).await?;
        bed.key_ready(&self.name).await?;
        self.read_addresses(bed).await
    }

    /// Registers several clients.
    pub async fn register_all(bed: &Bed, clients: &mut [Self]) -> Result<()> {
        let manifests: Vec<_> = clients.iter().map(Self::manifest).collect();
        bed.apply(&manifests.join("\n---\n")).await?;
        for client in clients {
            bed.key_ready(&client.name).await?;
            client.read_addresses(bed).await?;
        }
        Ok(())
    }

    /// Reads the published addresses.
    pub async fn read_addresses(&mut self, bed: &Bed) -> Result<()> {
        let words = bed.key(&self.name).await?.addresses;
        self.addresses = words.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
        ensure!(
            self.addresses.len() == 2,
            "wanted an address of each family, got {:?}",
            self.addresses
        );
        for address in &self.addresses {
            bed.secret(Canary::tunnel(
                &format!("a tunnel address of {}", self.name),
                *address,
            ));
        }
        Ok(())
    }

    /// Sets the tunnel up, with what the API says of the gateway.
    pub async fn connect(&self, bed: &Bed) -> Result<()> {
        let (key, endpoint) = bed.gateway_for_clients().await?;
        self.connect_to(&key, &endpoint)
    }

    /// Sets the tunnel up to a known gateway.
    pub fn connect_to(&self, gateway_key: &str, endpoint: &str) -> Result<()> {
        let here = &self.namespace;
        let private_key = self.folder.path().join("private").display().to_string();
        here.ip(&["link", "add", "wg0", "type", "wireguard"])?;
        let port = PORT.to_string();
        here.run(&[
            "wg",
            "set",
            "wg0",
            "listen-port",
            &port,
            "private-key",
            &private_key,
            "peer",
            gateway_key,
            "endpoint",
            endpoint,
            "allowed-ips",
            &self.pool.ranges.join(","),
        ])?;
        for address in &self.addresses {
            here.address("wg0", &address.to_string())?;
        }
        for range in self.pool.ranges {
            here.ip(&["route", "add", range, "dev", "wg0"])?;
        }
        Ok(())
    }

    /// Sends everything into the tunnel, the gateway's own outer address too, as a configuration with `0.0.0.0/0` does:
    /// what WireGuard itself sends has a mark, and goes the way it went.
    pub fn route_everything(&self) -> Result<()> {
        let here = &self.namespace;
        let gateway = here.run(&["wg", "show", "wg0", "peers"])?;
        let peer = ["peer", gateway.trim(), "allowed-ips", "0.0.0.0/0,::/0"];
        here.run(&[&["wg", "set", "wg0", "fwmark", FULL_TUNNEL][..], &peer].concat())?;
        for family in ["-4", "-6"] {
            here.ip(&[
                family,
                "route",
                "add",
                "default",
                "dev",
                "wg0",
                "table",
                FULL_TUNNEL,
            ])?;
            here.ip(&[
                family,
                "rule",
                "add",
                "not",
                "fwmark",
                FULL_TUNNEL,
                "table",
                FULL_TUNNEL,
            ])?;
        }
        Ok(())
    }

    /// The private key, base64: for a client that is no kernel's.
    pub fn private_key(&self) -> Result<String> {
        let file = self.folder.path().join("private");
        let key = fs::read_to_string(file).context("failed to read a private key")?;
        Ok(key.trim().to_owned())
    }

    /// Pings the gateway through the tunnel, once in each family, waiting at most `seconds` for each answer.
    pub fn ping(&self, seconds: u32) -> Result<()> {
        for target in self.pool.inside {
            self.namespace
                .run(&["ping", "-c1", &format!("-W{seconds}"), target])?;
        }
        Ok(())
    }

    /// Talks for half a minute where the gateway knows of no session any more, and is heard after that: a client notices
    /// when nothing has answered for 15 s, and makes another session.
    pub fn recover(&self) -> Result<()> {
        self.namespace
            .run(&["ping", "-q", "-i", "1", "-c", "30", self.pool.inside[0]])?;
        self.ping(1)
    }

    /// Pings the gateway once a second, or in the given interval, so many times, while the test does something else.
    pub fn start_pinging(&self, interval: &str, count: u32) -> Result<Pinging> {
        Pinging::start(&self.namespace, self.pool.inside[0], interval, count)
    }

    /// Moves to the outer address number `n`, without a word to anybody.
    pub fn roam(&mut self, bed: &Bed, n: u16) -> Result<()> {
        let (old, new) = (self.outer, outer(n));
        self.namespace
            .ip(&["addr", "del", &format!("{old}/{OUTSIDE}"), "dev", "eth0"])?;
        self.namespace.address("eth0", &format!("{new}/{OUTSIDE}"))?;
        self.has_moved(bed, new);
        Ok(())
    }

    /// Its place has another address now.
    pub fn has_moved(&mut self, bed: &Bed, outer: IpAddr) {
        self.outer = outer;
        bed.secret(self.place(&format!("another outer address of {}", self.name)));
    }

    /// Loses packets on the way out and on the way in, so many in a hundred each way.
    pub fn lose_packets(&self, percent: u8) -> Result<()> {
        let loss = format!("{percent}%");
        self.namespace
            .run(&[
                "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "loss", &loss,
            ])
            .map(drop)
    }

    /// Whether the gateway knows where this client is: its endpoint, as `wg` shows it there.
    pub fn endpoint_at(&self, bed: &Bed) -> Result<Option<String>> {
        let peer = bed.peer(&self.public_key)?;
        let peer = peer.with_context(|| format!("{} is no peer of {INTERFACE}", self.name))?;
        Ok(peer.endpoint)
    }

    /// Where the gateway sees this client.
    pub fn expected_endpoint(&self) -> String {
        SocketAddr::new(self.outer, PORT).to_string()
    }

    /// Drops whatever comes in from the outside: the client sends and never hears an answer.
    pub fn deafen(&self) -> Result<()> {
        for words in [
            &["nft", "add", "table", "ip", "deaf"][..],
            &[
                "nft",
                "add",
                "chain",
                "ip",
                "deaf",
                "in",
                "{ type filter hook input priority 0 ; }",
            ],
            &[
                "nft", "add", "rule", "ip", "deaf", "in", "iifname", "eth0", "udp", "dport", "47077", "drop",
            ],
        ] {
            self.namespace.run(words)?;
        }
        Ok(())
    }
}
