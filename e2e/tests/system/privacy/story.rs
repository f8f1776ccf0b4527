//! Two clients and their gateway: they come, one by each family, talk, move, and fall silent.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_e2e::{
    Bed, Client, FaultProxy, Router, Sink,
    client::PORT,
    leaks::Canary,
    netns,
    router::{self, GATEWAY_IPV6, ROUTER},
    sinks, wait,
};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Where the clients are, and where they move.
pub const LAPTOP: [&str; 2] = ["198.51.100.77", "198.51.100.78"];
pub const PHONE: [&str; 2] = ["2001:db8:77::77", "2001:db8:77::78"];

/// Requests and answers of everybody.
const AUDIT: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
";

/// What any node has that runs kube-proxy: a reason to track connections.
const NODE_TABLE: &str = "add table inet node; add chain inet node in { type filter hook input priority 0 ; }; \
                          add rule inet node in ct state established accept; \
                          add chain inet node out { type filter hook output priority 0 ; }; \
                          add rule inet node out ct state established accept";

/// No larger packet gets from the router to a client: less than an IPv6 tunnel of the default size makes.
const NARROW: u16 = 1400;

/// Has the gateway told that its packets to the laptop are too large: WireGuard lets a router cut them, unless somebody
/// on the way says otherwise.
const UNCUT: &str = "add table ip uncut; add chain ip uncut pre { type filter hook prerouting priority -150 ; }; \
                     add rule ip uncut pre ip frag-off & 0x3fff == 0 udp sport 51820 ip frag-off set 0x4000";

/// Where the laptop is connected to, through the tunnel.
const SHOP: u16 = 8443;

/// Between two things of which each is to have a second of its own.
const MOMENT: Duration = Duration::from_secs(3);

/// By then every status says what has happened: a pool's is written at most every 5 s, and whether it is in use has changed
/// at a time of its own. A handshake in that second would be found there.
const SAID: Duration = Duration::from_secs(20);

/// The clients and all that is around them.
pub struct Story {
    pub bed: Bed,
    pub router: Router,
    /// Between operator and apiserver.
    pub proxy: FaultProxy,
    pub laptop: Client,
    pub phone: Client,
    /// Seconds since the epoch, each with the client's name.
    handshakes: Vec<(String, u64)>,
    /// Both ends of the laptop's connections: they stay open.
    connections: Vec<TcpStream>,
}

impl Story {
    /// A gateway on a node like any other, with everything switched on that writes.
    pub async fn begin() -> Result<Self> {
        // Whoever may leave a core does.
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        setrlimit(Resource::Core, unlimited).context("failed to allow cores")?;
        let mut bed = Bed::with(|options| {
            options.audit_policy = Some(AUDIT.to_owned());
            options.flags.push("--v=3".to_owned());
            options.etcd_flags.push("--log-level=debug".to_owned());
        })
        .await?;
        // Nobody else happens to have the port.
        let reserve = format!("echo {PORT} >/proc/sys/net/ipv4/ip_local_reserved_ports");
        netns::run(std::process::Command::new("sh").args(["-c", &reserve]))?;
        bed.gateway.run(&["sh", "-c", &reserve])?;
        let router = Router::new(&bed)?;
        router::forward(&bed.gateway)?;
        bed.gateway.run(&["nft", NODE_TABLE])?;
        router.namespace.run(&["nft", UNCUT])?;

        let proxy = FaultProxy::start(bed.plane.client().await?, &["leases", "events"]).await?;
        bed.operator_kubeconfig(&proxy.kubeconfig());
        let [(_, agent), (_, operator)] = sinks::PROBES;
        bed.agent_flags(&[&format!("--listen={agent}"), "--metrics-plain"]);
        bed.operator_flags(&[&format!("--listen={operator}"), "--metrics-plain"]);
        bed.serve_examples().await?;

        let place = |name: &str, address: &str| -> Result<Client> {
            let address: IpAddr = address.parse()?;
            let namespace = router.place(name, address, Some(NARROW))?;
            Client::placed(&bed, name, namespace, address)
        };
        let (laptop, phone) = (place("laptop", LAPTOP[0])?, place("phone", PHONE[0])?);
        Ok(Self {
            bed,
            router,
            proxy,
            laptop,
            phone,
            handshakes: Vec::new(),
            connections: Vec::new(),
        })
    }

    /// Both clients come, and use the tunnel for what leaves traces in a kernel.
    pub async fn connect(&mut self) -> Result<()> {
        self.laptop.register(&self.bed).await?;
        self.phone.register(&self.bed).await?;
        wait::pass(SAID).await;
        self.laptop.connect(&self.bed).await?;
        let (key, endpoint) = self.bed.gateway_for_clients().await?;
        let (_, port) = endpoint.rsplit_once(':').context("an endpoint has a port")?;
        self.phone.connect_to(&key, &format!("[{GATEWAY_IPV6}]:{port}"))?;
        for client in [&self.laptop, &self.phone] {
            client.ping(5)?;
        }
        self.note_handshakes()?;
        wait::pass(MOMENT).await;
        self.send_too_much()?;
        let ranges = format!("{},{ROUTER}/32", self.laptop.pool.ranges.join(","));
        let laptop = &self.laptop.namespace;
        laptop.run(&["wg", "set", "wg0", "peer", &key, "allowed-ips", &ranges])?;
        laptop.ip(&["route", "add", &ROUTER.to_string(), "dev", "wg0"])?;
        self.shop()
    }

    /// Answers that are too large for the way back, of which the router complains to the gateway.
    fn send_too_much(&self) -> Result<()> {
        for client in [&self.laptop, &self.phone] {
            let inside = client.pool.inside[0];
            // Whether it gets through is another matter.
            let _ = client
                .namespace
                .run(&["ping", "-q", "-c3", "-W2", "-s1372", inside]);
        }
        let complaints = self.router.complaints()?;
        ensure!(
            complaints.iter().all(|count| *count > 0),
            "the router complained {complaints:?} times of IPv4 and IPv6"
        );
        Ok(())
    }

    /// A connection through the tunnel that stays open, and says no more.
    fn shop(&mut self) -> Result<()> {
        let shop = SocketAddr::new(ROUTER.into(), SHOP);
        let listener = self
            .router
            .namespace
            .within(|| Ok(TcpListener::bind(shop)?))
            .context("failed to open a shop")?;
        let here = self
            .laptop
            .namespace
            .within(|| Ok(TcpStream::connect_timeout(&shop, Duration::from_secs(10))?))
            .context("the laptop cannot get out through the gateway")?;
        let (there, _) = listener.accept()?;
        self.connections.extend([here, there]);
        Ok(())
    }

    /// Both move, and are seen where they have got to.
    pub fn roam(&mut self) -> Result<()> {
        for (client, [old, new]) in [(&mut self.laptop, LAPTOP), (&mut self.phone, PHONE)] {
            let (old, new): (IpAddr, IpAddr) = (old.parse()?, new.parse()?);
            self.router.admit(&client.namespace, new, Some(NARROW))?;
            self.router.dismiss(&client.namespace, old)?;
            client.has_moved(&self.bed, new);
            client.ping(5)?;
            let seen = client.endpoint_at(&self.bed)?;
            ensure!(
                seen.as_deref() == Some(&client.expected_endpoint()),
                "{} is seen elsewhere",
                client.name
            );
        }
        Ok(())
    }

    /// The agent crashes in both ways, and is replaced as by an upgrade.
    pub async fn restart_agent(&mut self) -> Result<()> {
        for end in ["abort", "kill", "upgrade"] {
            let (session, _) = self.bed.session().await?;
            match end {
                "abort" => self.bed.crash_agent().await?,
                "kill" => self.bed.kill_agent()?,
                _ => self.bed.terminate_agent().await?,
            }
            self.bed.start_agent()?;
            self.bed.caught_up_after(&session).await?;
        }
        Ok(())
    }

    /// The last that is heard of both.
    pub async fn last_words(&mut self) -> Result<()> {
        wait::pass(SAID).await;
        for client in [&self.laptop, &self.phone] {
            client.ping(5)?;
        }
        // The first connection may have been forgotten with an agent.
        self.shop()?;
        self.known_while_there().await?;
        self.note_handshakes()
    }

    /// Fails unless the kernel knows both now: otherwise nobody has to forget them.
    async fn known_while_there(&self) -> Result<()> {
        let tunnel = self.laptop.addresses[0].to_string();
        for (sink, word) in [
            (Sink::WireGuard, LAPTOP[1]),
            (Sink::WireGuard, PHONE[1]),
            (Sink::Connections, &tunnel),
            (Sink::Nftables, &tunnel),
        ] {
            ensure!(
                holds(&self.bed, sink, word.as_bytes()).await?,
                "{sink:?} does not know who is there"
            );
        }
        Ok(())
    }

    fn note_handshakes(&mut self) -> Result<()> {
        for client in [&self.laptop, &self.phone] {
            let peer = self.bed.peer(&client.public_key)?.context("the peer")?;
            ensure!(peer.latest_handshake > 0, "{} has no session", client.name);
            self.handshakes.push((client.name.clone(), peer.latest_handshake));
        }
        Ok(())
    }

    /// What must not be found, but for times.
    pub fn secrets(&self) -> Result<Vec<Canary>> {
        let mut all = self.bed.secrets();
        all.push(Canary::port("the port of clients", PORT));
        for file in self.bed.key_files()? {
            let key = std::fs::read_to_string(file).context("failed to read the gateway's key")?;
            all.push(Canary::gateway_key("the private key of the gateway", key.trim())?);
        }
        Ok(all)
    }

    /// The times at which clients were there.
    pub fn handshakes(&self) -> Result<Vec<Canary>> {
        let named = |(name, seconds): &(String, u64)| {
            Canary::handshake(&format!("the time of a handshake of {name}"), *seconds)
        };
        self.handshakes.iter().map(named).collect()
    }

    /// Fails unless the sinks show that all of it took place: what writes nothing gives nothing away.
    pub async fn took_place(&self) -> Result<()> {
        let key = STANDARD.decode(&self.laptop.public_key)?;
        let peers = b"/registry/culvert.dev/wireguardpeers/";
        for (sink, bytes) in [
            (Sink::AgentLog, &b"TRACE"[..]),
            (Sink::OperatorLog, b"DEBUG"),
            (Sink::AgentMetrics, b"culvert_agent_forgotten_total"),
            (Sink::OperatorMetrics, b"culvert_operator_"),
            (Sink::AgentMemory, &key),
            (Sink::OperatorMemory, &key),
            (Sink::Claims, b"managedFields"),
            (Sink::OtherObjects, b"kind: GatewayNode"),
            (Sink::Events, b"DuplicateKey"),
            (Sink::Descriptions, self.laptop.public_key.as_bytes()),
            (Sink::AuditLog, b"requestObject"),
            (Sink::ApiserverLog, b"/apis/culvert.dev/v1alpha1/wireguardpeers/"),
            (Sink::EtcdLog, peers),
            (Sink::EtcdFiles, peers),
            (Sink::WireGuard, self.laptop.public_key.as_bytes()),
        ] {
            let held = holds(&self.bed, sink, bytes).await?;
            ensure!(held, "{sink:?} does not hold {}", String::from_utf8_lossy(bytes));
        }
        Ok(())
    }
}

async fn holds(bed: &Bed, sink: Sink, part: &[u8]) -> Result<bool> {
    let bytes = sinks::read(bed, sink).await?;
    Ok(bytes.windows(part.len()).any(|at| at == part))
}
