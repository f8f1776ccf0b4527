//! A laptop on which `kubectl culvert connect` runs, with everything around the gateway.
//!
//! ```text
//!  root namespace                        laptop                          gateway                internet
//!  etcd, kube-apiserver, operator        connect, cvc0, cvc1, …          agent, cv0
//!  192.0.2.1, 203.0.114.1 ────────────── default route: 203.0.114.2
//!                                        198.51.100.77 ───────────────── 198.51.100.1 (br0) ─── 203.0.113.80
//! ```

use std::{
    fs,
    net::{IpAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_crds::{WireGuardKey, key::WireGuardKeyStatus};
use culvert_e2e::{
    Bed, Namespace, Program, Scratch,
    bed::{OUTSIDE, SOON, outer},
    leaks::Canary,
    netns,
    process::{self, Signal},
    wait,
};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

/// The apiserver, as every place of the bed reaches it.
const APISERVER: &str = "192.0.2.1";

/// The name of the key.
pub const NAME: &str = "laptop";

/// The second gateway's node.
pub const SECOND: &str = "gateway-2";

/// How long old addresses go on, in these tests.
pub const OVERLAP: Duration = Duration::from_secs(20);

/// A machine that connects.
pub struct Laptop {
    /// Where it is.
    pub namespace: Namespace,
    pub flags: Vec<String>,
    program: Option<Program>,
    kubeconfig: PathBuf,
    folder: Scratch,
    starts: u32,
}

/// A key as it was at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub public_key: String,
    pub addresses: Vec<String>,
}

impl Laptop {
    /// A laptop that has not connected yet.
    pub fn new(bed: &Bed) -> Result<Self> {
        let namespace = Namespace::new(NAME)?;
        netns::wire((&namespace, "eth0"), (&bed.gateway, "c77"))?;
        bed.gateway.ip(&["link", "set", "c77", "master", "br0"])?;
        namespace.address("eth0", &format!("{}/{OUTSIDE}", outer(77)))?;
        namespace.ip(&[
            "link", "add", "eth1", "type", "veth", "peer", "name", "home0", "netns", "1",
        ])?;
        netns::run(Command::new("ip").args(["addr", "add", "203.0.114.1/24", "dev", "home0"]))?;
        netns::run(Command::new("ip").args(["link", "set", "home0", "up"]))?;
        namespace.address("eth1", "203.0.114.2/24")?;
        namespace.ip(&["route", "add", "default", "via", "203.0.114.1"])?;
        let admin = bed.plane.kubeconfig();
        Ok(Self {
            namespace,
            flags: Vec::new(),
            program: None,
            kubeconfig: bed.plane.kubeconfig_via(&admin, APISERVER.parse()?)?,
            folder: Scratch::new("culvert-laptop-")?,
            starts: 0,
        })
    }

    /// The plugin with these arguments, on the laptop.
    pub fn plugin(&self, words: &[&str]) -> Result<Command> {
        let mut command = process::built("CULVERT_PLUGIN")?;
        command
            .args(words)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.folder.path());
        Ok(self.namespace.wrap(&command))
    }

    /// Begins to connect.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Begins to connect, with further variables.
    pub fn start_with(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        let mut words = vec!["connect", NAME];
        words.extend(self.flags.iter().map(String::as_str));
        let mut command = self.plugin(&words)?;
        command.envs(variables.iter().copied());
        self.starts += 1;
        let name = format!("connect-{}", self.starts);
        self.program = Some(Program::start(&name, &command, self.folder.path())?);
        Ok(())
    }

    /// Connects.
    pub async fn connect(&mut self) -> Result<()> {
        self.start()?;
        self.connected().await
    }

    /// Waits until it says that it is connected.
    pub async fn connected(&mut self) -> Result<()> {
        self.says("connected as").await
    }

    /// Waits until it has said something.
    pub async fn says(&mut self, words: &str) -> Result<()> {
        let program = self.program.as_mut().context("connect does not run")?;
        let deadline = wait::Stopwatch::start();
        // Its log is there a moment after it.
        while !program.output().unwrap_or_default().contains(words) {
            program.ensure_running()?;
            ensure!(
                deadline.elapsed() < SOON,
                "it does not say `{words}`:\n{}\n{}",
                program.tail(20),
                self.state()
            );
            wait::pass(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Links, routes and rules, for a failure's message.
    fn state(&self) -> String {
        let script =
            "wg show; ip addr; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all";
        let shown = self.namespace.run(&["sh", "-c", script]);
        shown.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// What it has said.
    pub fn output(&self) -> String {
        self.program
            .as_ref()
            .map_or_else(String::new, |program| program.tail(20))
    }

    /// Asks it to end, as Ctrl-C and systemd do.
    pub async fn disconnect(&mut self) -> Result<()> {
        let program = self.program.take().context("connect does not run")?;
        let log = program.tail(20);
        let status = program.terminate(SOON).await?;
        ensure!(status == 0, "connect ended with status {status}:\n{log}");
        Ok(())
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().context("connect does not run")?.kill()
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.program
            .as_ref()
            .context("connect does not run")?
            .signal(signal)
    }

    /// Whether it has ended, and how.
    pub fn exited(&mut self) -> Result<Option<i32>> {
        self.program.as_mut().context("connect does not run")?.exited()
    }

    /// `kubectl culvert key rotate`.
    pub fn rotate(&self) -> Result<()> {
        netns::run(&mut self.plugin(&["key", "rotate", NAME])?).map(drop)
    }

    /// Pings the gateway's own address through the tunnel, in both families.
    pub fn ping(&self) -> Result<()> {
        for target in culvert_e2e::client::GATEWAY_INSIDE {
            self.namespace.run(&["ping", "-c1", "-W5", target])?;
        }
        Ok(())
    }

    /// Our interfaces, by name.
    pub fn tunnels(&self) -> Result<Vec<String>> {
        tunnels(&self.namespace)
    }

    /// Fails when something of ours is left.
    pub fn is_clean(&self) -> Result<()> {
        let tunnels = self.tunnels()?;
        ensure!(tunnels.is_empty(), "interfaces are left: {tunnels:?}");
        for family in ["-4", "-6"] {
            let rules = self.namespace.ip(&[family, "rule", "list"])?;
            ensure!(!rules.contains("3000"), "rules are left:\n{rules}");
            let routes = self.namespace.ip(&[family, "route", "list", "table", "all"])?;
            ensure!(!routes.contains("16686"), "routes are left:\n{routes}");
        }
        let tables = self.namespace.run(&["nft", "list", "tables"])?;
        ensure!(!tables.contains("culvert-connect"), "a table is left");
        Ok(())
    }
}

/// Our interfaces in a namespace, by name.
pub fn tunnels(namespace: &Namespace) -> Result<Vec<String>> {
    let links = namespace.ip(&["-o", "link", "show"])?;
    let names = links.lines().filter_map(|line| line.split(": ").nth(1));
    Ok(names
        .filter(|name| name.starts_with("cvc"))
        .map(str::to_owned)
        .collect())
}

/// A second gateway of the same pool, on a node of its own that the laptop reaches over a link of its own.
pub async fn second_gateway(bed: &Bed, laptop: &Laptop) -> Result<(Namespace, Program)> {
    let place = Namespace::new(SECOND)?;
    place.ip(&[
        "link", "add", "eth0", "type", "veth", "peer", "name", "node1", "netns", "1",
    ])?;
    netns::run(Command::new("ip").args(["addr", "add", "192.0.3.1/24", "dev", "node1"]))?;
    netns::run(Command::new("ip").args(["link", "set", "node1", "up"]))?;
    place.address("eth0", "192.0.3.2/24")?;
    place.ip(&["route", "add", APISERVER, "via", "192.0.3.1"])?;
    netns::wire((&laptop.namespace, "eth2"), (&place, "eth1"))?;
    laptop.namespace.address("eth2", "198.52.100.77/24")?;
    place.address("eth1", "198.52.100.1/24")?;

    let client = bed.plane.client().await?;
    let nodes: Api<Node> = Api::all(client);
    let mut node = Node::default();
    node.metadata.name = Some(SECOND.to_owned());
    node.metadata.labels = Some([("culvert.dev/gateway".to_owned(), "true".to_owned())].into());
    nodes
        .create(&PostParams::default(), &node)
        .await
        .context("failed to create a node")?;
    let addresses = json!([{ "type": "ExternalIP", "address": "198.52.100.1" }]);
    let patch = Patch::Merge(json!({ "status": { "addresses": addresses } }));
    nodes
        .patch_status(SECOND, &PatchParams::default(), &patch)
        .await
        .context("failed to give a node addresses")?;

    let user = bed
        .plane
        .kubeconfig_for("culvert-agent-2", Some("system:masters"))?;
    let kubeconfig = bed.plane.kubeconfig_via(&user, APISERVER.parse()?)?;
    let home = laptop.folder.path().join(SECOND);
    fs::create_dir_all(&home)?;
    let mut agent = process::built("CULVERT_NODE_AGENT")?;
    agent
        .env("KUBECONFIG", kubeconfig)
        .env("NODE_NAME", SECOND)
        .env("CULVERT_STATE_DIR", &home)
        .env("RUST_LOG", "info");
    let agent = Program::start("agent-2", &place.wrap(&agent), laptop.folder.path())?;
    bed.node_ready(&format!("default.{SECOND}")).await?;
    Ok((place, agent))
}

/// Answers probes at these addresses of the machine itself, over TCP and UDP at these ports.
pub fn answer_in_root(at: &[(&str, u16, u16)]) -> Result<()> {
    for (address, tcp, udp) in at {
        let address: IpAddr = address.parse()?;
        let listener = TcpListener::bind((address, *tcp)).context("failed to listen")?;
        let socket = UdpSocket::bind((address, *udp)).context("failed to bind")?;
        thread::spawn(move || listener.incoming().for_each(drop));
        thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let Ok((count, from)) = socket.recv_from(&mut bytes) {
                let _ = socket.send_to(&bytes[..count], from);
            }
        });
    }
    Ok(())
}

/// The key, as the API has it and every gateway serves it.
pub async fn identity(bed: &Bed) -> Result<Identity> {
    let WireGuardKeyStatus {
        public_key,
        addresses,
        ..
    } = bed.key(NAME).await?;
    let identity = Identity {
        public_key: public_key.context("no public key")?,
        addresses,
    };
    ensure!(identity.addresses.len() == 2, "wanted an address of each family");
    bed.secret(Canary::public_key(
        "a public key of the laptop",
        &identity.public_key,
    )?);
    for address in &identity.addresses {
        let address: IpAddr = address.parse()?;
        bed.secret(Canary::tunnel("a tunnel address of the laptop", address));
    }
    Ok(identity)
}

/// The keys there are, by name.
pub async fn keys(bed: &Bed) -> Result<Vec<String>> {
    let keys: Api<WireGuardKey> = Api::default_namespaced(bed.plane.client().await?);
    let list = keys.list(&ListParams::default()).await?;
    Ok(list.into_iter().filter_map(|key| key.metadata.name).collect())
}

/// Makes the pool's overlap short.
pub async fn short_overlap(bed: &Bed) -> Result<()> {
    let overlap = format!("{}s", OVERLAP.as_secs());
    let patch = json!({ "spec": { "keyPolicy": { "overlap": overlap } } }).to_string();
    bed.kubectl(&["patch", "ippools/default", "--type=merge", "-p", &patch])
        .await
        .map(drop)
}

/// A gateway that serves, with a short overlap, and a laptop.
pub async fn start() -> Result<(Bed, Laptop)> {
    let bed = Bed::start().await?;
    short_overlap(&bed).await?;
    let laptop = Laptop::new(&bed)?;
    Ok((bed, laptop))
}

/// Waits until the gateway has no such peer.
pub async fn gone(bed: &Bed, public_key: &str) -> Result<()> {
    wait::until("the old peer to go", OVERLAP + SOON, || async {
        Ok(bed.peer(public_key)?.is_none().then_some(()))
    })
    .await
}

/// What the system's resolver file says.
pub fn resolv_conf() -> String {
    fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}
